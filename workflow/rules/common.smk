import functools
import itertools
import json
import math
import re
import shlex
import sys
from fractions import Fraction
from pathlib import Path

import torch
from jsonschema import ValidationError
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate
from torch.nn import Conv2d, Linear

from dwp.data import registered
from dwp.data.choice import dataset_of
from dwp.errors import UserError
from dwp.files import digest
from dwp.study.fingerprint import fingerprint
from dwp.nn.image_vae import ImageVAE
from dwp.nn.networks import build_network, network_class, network_place, scaled
from dwp.priors import KINDS, prior_class
from dwp.priors.pretrained import pretrained_file
from dwp.study.settings import (
    DETERMINISTIC,
    JOB_ENVIRONMENT,
    XAVIER,
    as_json,
    check_settings,
    check_size,
    describe_refusal,
    ignored_settings,
    kernel_settings,
    prior_place,
    prior_settings,
    read_config,
    settings_of_prior,
    source_settings,
)
from dwp.variants import GRID, as_text, combinations, variant_name, variants

try:
    for path in workflow.configfiles:
        read_config(path)
    check_size(config, "the config")
    validate(config, "../schemas/config.schema.yaml")
    check_settings(config)
except WorkflowError as error:
    if not isinstance(error.__context__, ValidationError):
        raise
    sys.exit(f"error in the config: {describe_refusal(error.__context__)}")
except UserError as error:
    sys.exit(f"error in the config: {error}")

ROOT = Path(workflow.basedir)
RESULTS = f"results/{config['name']}"
LOGS = f"logs/{config['name']}"
RUN_OF = "{domain}/classification/{prior}/{init}/{variant}"
RUN = f"{RESULTS}/{RUN_OF}/n{{n}}/split{{split}}/seed{{seed}}"
SOURCE_NET = f"{RESULTS}/{{domain}}/source/{{seed}}"
RUN_LOG = f"{LOGS}/{RUN_OF}"
TABLES = f"{RESULTS}/{{domain}}/tables"
FIGURES = f"{RESULTS}/{{domain}}/figures"
GPU = 0 if config["device"] == "cpu" else 1


def names_in(*keys):
    """A pattern for the names in a section of any domain: no other name is taken for one."""
    sections = config["domains"].values()
    for key in keys:
        sections = [section[key] for section in sections]
    return "|".join(sorted({re.escape(name) for part in sections for name in part}))


wildcard_constraints:
    domain="|".join(config["domains"]),
    role="source|target",
    layer=names_in("kernels", "layers"),
    prior=names_in("priors"),
    init=f"{XAVIER}|{names_in('priors')}",
    variant="[^/]+",
    n="[0-9]+",
    split="[0-9]+",
    seed="[0-9]+",


# What belongs to this machine goes through the environment, not through the command lines and
# parameters that Snakemake records: moving the folder or the data makes nothing run again.
ENVIRONMENT = {
    "SCRIPTS": ROOT / "workflow" / "scripts",
    "PAPER": ROOT / "workflow" / "resources" / "paper_classification.csv",
    "PAPER_SHAPES": ROOT / "workflow" / "resources" / "paper_shapes.csv",
    "PAPER_FEATURES": ROOT / "workflow" / "resources" / "paper_features.csv",
    "PAPER_CONVERGENCE": ROOT / "workflow" / "resources" / "paper_convergence.csv",
    "DATA_LOCATION": json.dumps(config["data"]),
    "DWP_DEVICE": config["device"],
    "DWP_CHECKPOINT_MINUTES": config.get("checkpoint_minutes", 5),
    **JOB_ENVIRONMENT,
}
if config.get("tensorboard"):
    ENVIRONMENT["DWP_TENSORBOARD"] = f"{LOGS}/tensorboard"
if config["release"]:
    ENVIRONMENT["DWP_RELEASE"] = config["release"]
exports = "".join(f"export {k}={shlex.quote(str(v))}; " for k, v in ENVIRONMENT.items())
exports = exports.replace("{", "{{").replace("}", "}}")
# A prefix replaces Snakemake's own strict mode: without pipefail, `| tee` would hide a failure.
# A variable stays one word, whatever spaces its path has.
binaries = shlex.quote(str(Path(sys.executable).parent))
shell.prefix(f'set -euof pipefail; IFS=; export PATH={binaries}:"$PATH"; {exports}')


# Of the authors' numbers that a rule reads, what stands among its parameters.
PAPER_DIGEST = {
    name: digest([path]) for name, path in ENVIRONMENT.items() if "PAPER" in name
}


@functools.cache
def code(*entries):
    """The fingerprint of a script and of classes that its arguments name by a string."""
    script, *classes = entries
    return fingerprint(f"workflow/scripts/{script}", *classes, root=ROOT)


def without(section, *keys):
    return {key: value for key, value in section.items() if key not in keys}


# Settings: each stage's own slice of the config, so that nothing else makes it run again.


def kernel_layers(domain):
    return config["domains"][domain]["kernels"]["layers"]


def kernel_size(domain, layer):
    return network_class(config["domains"][domain]["network"]).kernel_sizes[layer]


def prior_section(domain, prior):
    return config["domains"][domain]["priors"][prior]


def is_deterministic(domain, prior):
    return prior_section(domain, prior)["kind"] == DETERMINISTIC


def ignored(domain, prior):
    return ignored_settings(prior_section(domain, prior)["kind"])


def run_settings(domain, prior, variant):
    section = config["domains"][domain]
    settings = variants(section["classification"], ignored(domain, prior))[variant]
    settings |= settings_of_prior(section, prior)
    return {"network": section["network"], **settings}


def test_settings(domain, prior, variant):
    settings = run_settings(domain, prior, variant)
    return {
        "samples": settings.get("samples", 0),
        "precision": settings["test_precision"],
    }


def data_code(domain, role):
    """The fingerprint of what reads a data set: a class of dwp, or one of a file of the user's."""
    name = dataset_of(config["domains"][domain]["data"][role])
    return code("prepare_data.py", registered(name).location)


def net_place(domain):
    """The class of a domain's network: of dwp, or of a file of the user's."""
    return network_place(config["domains"][domain]["network"])


def kind_place(domain, prior):
    """The class of a prior's kind."""
    return KINDS[prior_section(domain, prior)["kind"]]


def run_places(w):
    """The classes that a run names by strings."""
    deterministic = is_deterministic(w.domain, w.prior)
    names = penalty_names(w) if deterministic else [w.prior]
    priors = [kind_place(w.domain, name) for name in names]
    return [net_place(w.domain), *priors, *init_places(w)]


def penalty_names(w):
    """The prior, if any, that a deterministic net's weights are penalised by, in a list."""
    section = prior_section(w.domain, w.prior)
    return [section["penalty"]] if "penalty" in section else []


def init_places(w):
    return [kind_place(w.domain, w.init)] if w.init != XAVIER else []


# Files: where a stage's product lies, made here or taken from elsewhere.


def kernel_file(domain, layer):
    place = "released" if "released" in kernel_layers(domain)[layer] else "collected"
    return f"{RESULTS}/{domain}/kernels/{place}/{layer}.safetensors"


def prior_file(domain, prior, layer):
    place = prior_place(prior_section(domain, prior), layer)
    return f"{RESULTS}/{domain}/priors/{place}/{prior}/{layer}.safetensors"


def pretrained_name(w):
    return prior_section(w.domain, w.prior)["pretrained"][w.layer]


def fitted_kernels(w):
    kind = prior_class(prior_section(w.domain, w.prior)["kind"])
    return [kernel_file(w.domain, w.layer)] if kind.needs_kernels else []


def reconstructing_names(w):
    """The prior, if any, that passes on the kernels that another is fitted to, in a list."""
    section = prior_section(w.domain, w.prior)
    return [section["reconstructed_by"]] if "reconstructed_by" in section else []


def reconstructing_prior(w):
    return [prior_file(w.domain, name, w.layer) for name in reconstructing_names(w)]


def fitting_places(w):
    return [kind_place(w.domain, name) for name in [w.prior, *reconstructing_names(w)]]


def run_priors(w):
    if is_deterministic(w.domain, w.prior):
        return []
    layers = run_settings(w.domain, w.prior, w.variant)["bayesian_layers"]
    return [prior_file(w.domain, w.prior, layer) for layer in layers]


def run_init(w):
    if w.init == XAVIER:
        return []
    return [prior_file(w.domain, w.init, layer) for layer in kernel_layers(w.domain)]


def run_penalty(w):
    return [
        prior_file(w.domain, name, layer)
        for name in penalty_names(w)
        for layer in kernel_layers(w.domain)
    ]


def layer_files(paths):
    return " ".join(f"{Path(path).stem}={path}" for path in paths)


# The HTML report sorts the parts of a domain by name: the tables stand first.
ALL_TABLES = "All tables"
CLASSIFICATION = "Classification"
OF_CONVERGENCE = "Convergence"
OF_PRIORS = "Kernels and priors"
RANDOM_FEATURES = "Random features"


def reported(path, caption, part, **labels):
    """A file for the HTML report, labelled also by the wildcards of its name."""
    places = re.findall(r"{(\w+)}", Path(path).name)

    def all_labels(wildcards):
        found = {place: wildcards[place] for place in places}
        # sorted as text: figure spaces, which come before digits, put 50 before 100
        padded = {
            k: v.rjust(6, "\u2007") if v.isdigit() else v for k, v in found.items()
        }
        return labels | padded

    return report(
        path,
        caption=f"../report/{caption}.rst",
        category="{domain}",
        subcategory=part,
        labels=all_labels,
    )


def figure(name, caption, part, title, *, lines=True):
    """A figure's files; into the HTML report goes the SVG of lines, the PNG of pictures."""
    files = {end: f"{FIGURES}/{name}.{end}" for end in ("svg", "png", "pdf")}
    if not lines:
        del files["svg"]
    shown = next(iter(files))
    return files | {shown: reported(files[shown], caption, part, figure=title)}


def table(name, caption, title):
    """A table to be read, as Markdown and as HTML, which goes into the HTML report."""
    page = reported(f"{TABLES}/{name}.html", caption, ALL_TABLES, table=title)
    return [f"{TABLES}/{name}.md", page]


# Jobs: one rule for every job's worth of runs, since the outputs of one rule must all have the same
# wildcards. The priors, the inits and the variants of the settings stay wildcards; a job is called
# after its first run.


def chunks(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def source_jobs():
    """The domain, the name and the places (seed) of every job's source nets."""
    for domain, section in config["domains"].items():
        section = section.get("source_nets", {"count": 0, "runs_per_job": 1})
        for seeds in chunks(range(section["count"]), section["runs_per_job"]):
            yield domain, seeds[0], [{"seed": seed} for seed in seeds]


def source_grid(w):
    return {"seed": list(range(config["domains"][w.domain]["source_nets"]["count"]))}


def run_jobs():
    """The domain and the places (n, split, seed) of every job's runs of one prior, init and variant."""
    for domain, section in config["domains"].items():
        section = section["classification"]
        axes = {place: section[GRID[place]] for place in ("n", "split", "seed")}
        places = [dict(zip(axes, p)) for p in itertools.product(*axes.values())]
        for runs in chunks(places, section["runs_per_job"]):
            yield domain, "_".join(f"{k}{v}" for k, v in runs[0].items()), runs


def fill(pattern, **places):
    """A pattern with some places filled; the others stay in braces."""
    for place, value in places.items():
        pattern = pattern.replace(f"{{{place}}}", str(value))
    return pattern


def files_of(folder, name, runs):
    """A file of every run of a job, whatever the runs' places; the others stay wildcards."""
    return [fill(f"{folder}/{name}", **run) for run in runs]


# Whose numbers stand beside a domain's: those of the same target and network.
PAPER_DATASETS = {
    ("mnist", "mnist"): "mnist",
    ("cifar10", "cifar"): "cifar",
    ("four-shapes", "shapes"): "shapes",
}


def paper_dataset(domain):
    section = config["domains"][domain]
    target = section["data"]["target"]
    part = isinstance(target, dict) and "classes" in target
    ours = dataset_of(target), section["network"]
    return "none" if part else PAPER_DATASETS.get(ours, "none")


# Results: which tables and figures a config asks for.


def run_grid(domain):
    section = config["domains"][domain]["classification"]
    return {place: section[key] for place, key in GRID.items()}


def run_variants(domain):
    """Of every prior, the variants of its runs, each with the listed values that it stands for."""
    section = config["domains"][domain]["classification"]
    return {
        prior: [
            [
                variant_name(section, values, ignored(domain, prior)),
                {name: as_text(value) for name, value in values.items()},
            ]
            for values in combinations(section)
        ]
        for prior in section["priors"]
    }


def tune_by(domain):
    """The metric that tuned settings are chosen by."""
    section = config["domains"][domain]["classification"]
    return section.get("tune_by", "validation_nll")


def all_runs(domain, name):
    """A file of every run of a domain."""
    grid = run_grid(domain)
    return [
        path
        for prior in grid.pop("prior")
        for which in dict(run_variants(domain)[prior])
        for path in expand(
            f"{RUN}/{name}", domain=domain, prior=prior, variant=which, **grid
        )
    ]


def listed_values(domain, key):
    """The values of the settings of `vary` or `tune`, as they stand in tables."""
    section = config["domains"][domain]["classification"].get(key, {})
    return {
        name: [as_text(value) for value in values] for name, values in section.items()
    }


def has_kernels(domain, layer):
    return bool(kernel_layers(domain)[layer])


def known_kernels(w):
    return [kernel_file(w.domain, w.layer)] if has_kernels(w.domain, w.layer) else []


def kinds(domain):
    """The class of every prior of a domain that is a distribution."""
    return {
        name: prior_class(section["kind"])
        for name, section in config["domains"][domain]["priors"].items()
        if not is_deterministic(domain, name)
    }


def scored_priors(domain):
    return [
        (name, layer)
        for name, kind in kinds(domain).items()
        for layer in kernel_layers(domain)
        if kind.density and has_kernels(domain, layer)
    ]


def sampled_priors(domain):
    """All but the improper ones, which have neither a density nor kernels to draw from."""
    return [
        name
        for name, kind in kinds(domain).items()
        if kind.density or kind.needs_kernels
    ]


def vaes(domain):
    """The (prior, layer) pairs that have a latent space."""
    return [
        (name, layer)
        for name, kind in kinds(domain).items()
        for layer in kernel_layers(domain)
        if kind.density == "bound"
    ]


def reference_prior(domain):
    """The prior that others are tested against: the first of the classification."""
    return config["domains"][domain]["classification"]["priors"][0]


def crossed(domain):
    """The full cell and the reference, each with its prior and init, of a crossed classification.

    None unless it has several priors and inits. The reference is the standard normal with Xavier
    (without them the next that differs); the full cell the first prior with the first other init.
    """
    section = config["domains"][domain]["classification"]
    prior, *priors = section["priors"]
    if not priors or len(section["inits"]) < 2:
        return None
    normal = [
        name
        for name in priors
        if prior_section(domain, name)["kind"] == "standard-normal"
    ]
    init, *others = sorted(section["inits"], key=lambda name: name == XAVIER)
    full = {"prior": prior, "init": init}
    return full, {"prior": (normal or priors)[0], "init": others[-1]}


def domains_with(section):
    return [domain for domain, found in config["domains"].items() if section in found]


def classification_results(domain):
    sizes = config["domains"][domain]["classification"]["train_sizes"]
    names = ["fewshot_accuracy", "fewshot_nll"]
    names += [f"steps_{metric}_n{n}" for metric in ("accuracy", "nll") for n in sizes]
    tables = ["classification_summary"]
    if crossed(domain):
        names.append("factorial")
        tables.append("factorial")
    figures = [f"{RESULTS}/{domain}/figures/{name}.pdf" for name in names]
    return [f"{RESULTS}/{domain}/tables/{name}.csv" for name in tables] + figures


def study_results(domain):
    """Of the priors themselves."""
    known = [layer for layer in kernel_layers(domain) if has_kernels(domain, layer)]
    drawn = kernel_layers(domain) if sampled_priors(domain) else known
    names = [f"kernels_{layer}" for layer in drawn]
    names += [f"norms_{layer}" for layer in known]
    names += [f"kl_{layer}" for layer in known if scored_priors(domain)]
    for prior, layer in vaes(domain):
        names += [f"latent_{prior}_{layer}"]
        names += [f"reconstructions_{prior}_{layer}"] * (layer in known)
    figures = [f"{RESULTS}/{domain}/figures/{name}.pdf" for name in names]
    tables = ["priors"] if scored_priors(domain) else []
    tables += ["source_nets"] if "source_nets" in config["domains"][domain] else []
    return [*(f"{RESULTS}/{domain}/tables/{name}.csv" for name in tables), *figures]


def domain_results():
    """The files of every target and of the domains that have it."""
    domains = list(config["domains"])
    results = {
        "classification": {d: classification_results(d) for d in domains},
        "random_features": {d: feature_results(d) for d in domains_with("features")},
        "convergence": {d: convergence_results(d) for d in domains_with("convergence")},
        "prior_study": {d: study_results(d) for d in domains},
    }
    everything = {d: [p[d] for p in results.values() if d in p] for d in domains}
    figures = {
        d: [file for part in parts for file in part if "/figures/" in file]
        for d, parts in everything.items()
    }
    return {name: parts for name, parts in results.items() if parts} | {
        "figures": figures
    }


def results_of(domain):
    return [parts[domain] for parts in domain_results().values() if domain in parts]


def all_results():
    return [results_of(domain) for domain in config["domains"]]
