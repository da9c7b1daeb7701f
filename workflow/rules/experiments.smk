# What the rules of random features and of convergence share: files, settings, jobs, results.
FEATURES = f"{RESULTS}/{{domain}}/features/{{init}}/scale{{scale}}/seed{{seed}}"


def feature_settings(domain):
    section = config["domains"][domain]
    varied = ("inits", "scales", "seeds", "runs_per_job")
    return {"network": section["network"], **without(section["features"], *varied)}


def feature_grid(domain):
    section = config["domains"][domain]["features"]
    scales = [float(Fraction(scale)) for scale in section["scales"]]
    return {"init": section["inits"], "scale": scales, "seed": section["seeds"]}


def feature_jobs():
    """The domain, the name and the places (scale, seed) of every job's runs of one init."""
    for domain in domains_with("features"):
        grid = feature_grid(domain)
        places = [{"scale": k, "seed": s} for k in grid["scale"] for s in grid["seed"]]
        size = config["domains"][domain]["features"]["runs_per_job"]
        for runs in chunks(places, size):
            first = "_".join(f"{k}{v}" for k, v in runs[0].items()).replace(".", "_")
            yield domain, first, runs


def feature_results(domain):
    tables, figures = f"{RESULTS}/{domain}/tables", f"{RESULTS}/{domain}/figures"
    return [f"{tables}/features_summary.csv", f"{figures}/features_accuracy.pdf"]


CONVERGENCE = f"{RESULTS}/{{domain}}/convergence/{{experiment}}/{{init}}/seed{{seed}}"
METRIC = {"classifier": "test_accuracy", "image-vae": "test_elbo"}


wildcard_constraints:
    experiment="[^/_]+",


def experiments(domain):
    return config["domains"][domain].get("convergence", {})


def convergence_settings(w):
    section = experiments(w.domain)[w.experiment]
    settings = without(section, "inits", "seeds", "levels", "runs_per_job")
    if section["kind"] == "image-vae":
        return settings
    return {"network": config["domains"][w.domain]["network"], **settings}


def trained_places(w):
    """The class of the net that an experiment trains, in a list, if the config names it."""
    named = "network" in convergence_settings(w)
    return [net_place(w.domain)] if named else []


def convergence_grid(w):
    section = experiments(w.domain)[w.experiment]
    return {"init": section["inits"], "seed": section["seeds"]}


def convergence_init(w):
    """The file of the prior of each layer of an experiment's net."""
    if w.init == XAVIER:
        return {}
    if experiments(w.domain)[w.experiment]["kind"] == "image-vae":
        layers = ImageVAE.kernels_of
    else:
        layers = {layer: layer for layer in kernel_layers(w.domain)}
    return {own: prior_file(w.domain, w.init, like) for own, like in layers.items()}


def convergence_jobs():
    """The domain, the experiment, its kind, the name and the places (seed) of every job's runs of one init."""
    for domain in domains_with("convergence"):
        for experiment, section in experiments(domain).items():
            for seeds in chunks(section["seeds"], section["runs_per_job"]):
                runs = [{"seed": seed} for seed in seeds]
                yield domain, experiment, section["kind"], seeds[0], runs


def convergence_results(domain):
    files = []
    for experiment, section in experiments(domain).items():
        name = f"convergence_{experiment}"
        files += [f"{RESULTS}/{domain}/tables/{name}_steps.csv"]
        files += [f"{RESULTS}/{domain}/figures/{name}.pdf"]
        if section["kind"] == "image-vae":
            files += [f"{RESULTS}/{domain}/figures/images_{experiment}.pdf"]
    return files
