# Files that a rule reads, where they depend on the settings.
def prior_file(domain, prior, layer):
    return f"{PRIOR}.safetensors".format(domain=domain, prior=prior, layer=layer)


def kernel_file(domain, layer):
    return f"{KERNELS}.safetensors".format(domain=domain, layer=layer)


def known_kernels(w):
    known = w.layer in study.known_layers(w.domain)
    return [kernel_file(w.domain, w.layer)] if known else []


def init_files(w):
    """The prior that each layer's first kernels are drawn from, by layer; {} for Xavier."""
    if w.init == XAVIER:
        return {}
    layers = study.start_layers(w.domain, w.get("experiment"))
    return {own: prior_file(w.domain, w.init, like) for own, like in layers.items()}


def pairs(files):
    """Files by layer as options: `conv1=FILE conv2=FILE`."""
    return " ".join(f"{layer}={file}" for layer, file in files.items())


def batch_files(folder, end, batches, **wildcards):
    """The files of all batches of a cell that end in `end`."""
    folder = folder.format(**wildcards)
    return [f"{folder}/batch{number}{end}" for number in range(len(batches))]


def fitted_kernels(w):
    fitted = study.fitted_to_kernels(w.domain, w.prior, w.layer)
    return [kernel_file(w.domain, w.layer)] if fitted else []


def reconstructing_prior(w):
    name = study.prior(w.domain, w.prior).reconstructed_by
    return [prior_file(w.domain, name, w.layer)] if name else []


def scored_layers(w, file):
    """A file of each layer that a prior is scored on, its prior's or its kernels'."""
    layers = [
        layer for prior, layer in study.scored_priors(w.domain) if prior == w.prior
    ]
    names = (w.domain, w.prior) if file is prior_file else (w.domain,)
    return {layer: file(*names, layer) for layer in layers}


def scores_files(w):
    priors = dict(study.scored_priors(w.domain))
    scores = f"{RESULTS}/{w.domain}/priors/{{}}/scores.json"
    return {prior: scores.format(prior) for prior in priors}


def sampled_files(w):
    priors = study.sampled_priors(w.domain)
    return {prior: prior_file(w.domain, prior, w.layer) for prior in priors}


def dense_files(w):
    priors = dict(study.scored_priors(w.domain, w.layer))
    return {prior: prior_file(w.domain, prior, w.layer) for prior in priors}


def run_priors(w):
    """The prior of each Bayesian layer of a run."""
    layers = study.prior_layers(w.domain, w.prior, w.variant)
    return {layer: prior_file(w.domain, w.prior, layer) for layer in layers}


def run_penalty(w):
    """The prior that penalises each layer of a deterministic net, if any does."""
    name = study.prior(w.domain, w.prior).penalty
    layers = study.kernel_sizes(w.domain) if name else ()
    return {layer: prior_file(w.domain, name, layer) for layer in layers}


def run_files(end):
    """The files of all batches of all cells of a domain."""

    def files(w):
        batches = study.run_batches(w.domain)
        cells = study.cells(w.domain)
        return [
            file
            for cell in cells
            for file in batch_files(CELL, end, batches, domain=w.domain, **cell)
        ]

    return files


def shift_files(w):
    """The weights of the nets that are tested under shift."""
    batches = study.run_batches(w.domain)
    return [
        file
        for cell in study.shift_cells(w.domain)
        for file in batch_files(CELL, ".safetensors", batches, domain=w.domain, **cell)
    ]


def shift_priors(w):
    """The prior of each Bayesian layer of these nets, by PRIOR/LAYER."""
    return {
        f"{cell['prior']}/{layer}": prior_file(w.domain, cell["prior"], layer)
        for cell in study.shift_cells(w.domain)
        for layer in study.prior_layers(w.domain, cell["prior"], cell["variant"])
    }


def feature_files(w):
    section = study.domains[w.domain].features
    batches = study.feature_batches(w.domain)
    return [
        file
        for init in section.inits
        for scale in section.scales
        for file in batch_files(
            FEATURES, ".csv", batches, domain=w.domain, init=init, scale=scale
        )
    ]


def experiment_kind(w):
    return study.domains[w.domain].convergence[w.experiment].kind


def convergence_files(w, end):
    batches = study.convergence_batches(w.domain, w.experiment)
    return [
        file
        for init in study.domains[w.domain].convergence[w.experiment].inits
        for file in batch_files(
            CONVERGENCE,
            end,
            batches,
            domain=w.domain,
            experiment=w.experiment,
            init=init,
        )
    ]


def first_batches(w):
    """The first batch of each initialisation."""
    return {
        init: f"{CONVERGENCE}/batch0.safetensors".format(
            domain=w.domain, experiment=w.experiment, init=init
        )
        for init in study.domains[w.domain].convergence[w.experiment].inits
    }


def of_target(name):
    return study.targets.get(name, [])
