# Files that a rule reads, where they depend on the settings.
def prior_files(w, priors, layers):
    return expand(f"{PRIOR}.safetensors", domain=w.domain, prior=priors, layer=layers)


def kernel_files(w, layers):
    return expand(f"{KERNELS}.safetensors", domain=w.domain, layer=layers)


def batch_files(folder, end, batches, **wildcards):
    """The files of all batches of some cells that end in `end`."""
    numbers = range(len(batches))
    return expand(f"{folder}/batch{{batch}}{end}", **wildcards, batch=numbers)


def known_kernels(w):
    return kernel_files(w, {w.layer}.intersection(study.known_layers(w.domain)))


def init_files(w):
    """The priors that a net draws its first kernels from; none for Xavier."""
    if w.init == XAVIER:
        return []
    return prior_files(w, w.init, study.start_layers(w.domain, w.get("experiment")))


def source_net_files(w, end):
    batches = study.source_batches(w.domain)
    return batch_files(SOURCE_NETS, end, batches, domain=w.domain)


def collected_nets(w):
    collected = study.collected_kernels(w.domain, w.layer).collected
    return source_net_files(w, ".safetensors") if collected else []


def fitted_kernels(w):
    fitted = study.fitted_to_kernels(w.domain, w.prior, w.layer)
    return kernel_files(w, w.layer) if fitted else []


def reconstructing_prior(w):
    name = study.prior(w.domain, w.prior).reconstructed_by
    return prior_files(w, name, w.layer) if name else []


def scores_files(w):
    scores = f"{RESULTS}/{{domain}}/priors/{{prior}}/scores.json"
    return expand(scores, domain=w.domain, prior=study.dense_priors(w.domain))


def run_priors(w):
    """The prior of each Bayesian layer of a run."""
    return prior_files(w, w.prior, study.prior_layers(w.domain, w.prior, w.variant))


def run_penalty(w):
    """The prior that penalises each layer of a deterministic net, if any does."""
    name = study.prior(w.domain, w.prior).penalty
    return prior_files(w, name, study.kernel_sizes(w.domain)) if name else []


def run_files(w, end, cells):
    """The files of all batches of some cells of the classification."""
    batches = study.run_batches(w.domain)
    return [
        file
        for cell in cells(w.domain)
        for file in batch_files(CELL, end, batches, domain=w.domain, **cell)
    ]


def shift_priors(w):
    """The prior of each Bayesian layer of the nets that are tested under shift."""
    return [
        file
        for cell in study.shift_cells(w.domain)
        for file in prior_files(
            w,
            cell["prior"],
            study.prior_layers(w.domain, cell["prior"], cell["variant"]),
        )
    ]


def feature_files(w):
    section, batches = (
        study.domains[w.domain].features,
        study.feature_batches(w.domain),
    )
    of = {"domain": w.domain, "init": section.inits, "scale": section.scales}
    return batch_files(FEATURES, ".csv", batches, **of)


def experiment(w):
    return study.domains[w.domain].convergence[w.experiment]


def convergence_files(w, end, batches):
    of = {"domain": w.domain, "experiment": w.experiment, "init": experiment(w).inits}
    return batch_files(CONVERGENCE, end, batches, **of)


def of_target(name):
    return study.targets.get(name, [])
