"""A study: the runs, settings and results that a config asks for, and where its files lie."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dwp.data import registered
from dwp.evaluation.comparison import Comparison
from dwp.priors.kinds import KINDS, Kind
from dwp.priors.pretrained import pretrained_file
from dwp.registry import NETWORKS, class_facts
from dwp.study.fingerprint import fingerprint
from dwp.study.settings import (
    IMAGE_VAE,
    XAVIER,
    CollectedKernels,
    ConvergenceTraining,
    Domain,
    FeatureTraining,
    PriorFit,
    PriorSettings,
    RunSettings,
    S,
    Settings,
    SourceTraining,
    load_settings,
)
from dwp.variants import BAYESIAN_SETTINGS, as_text, combinations, variant_name, variants

JOB_ENVIRONMENT = {
    # Snakemake sets them to what it grants a job, and sums depend on the number of threads
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    # a notebook's backend may not be installed here
    "MPLBACKEND": "agg",
    # glibc otherwise gives large blocks back to the system at every training step
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_ARENA_MAX": "2",
}
"""The environment variables that make a job fast and its results the same everywhere."""

KL_SETTINGS = ("kl_estimator", "kl_bound", "latent_samples")
"""Settings that only some kinds of prior read (`Kind.kl_settings`)."""

PAPER_DATASETS = {
    ("mnist", "mnist"): "mnist",
    ("cifar10", "cifar"): "cifar",
    ("four-shapes", "shapes"): "shapes",
}
"""The authors' data set whose numbers stand with a domain's, by target and network."""

Run = dict[str, int]


class Study:
    """What a config asks for.

    Args:
        config: nested settings, as read from YAML.
        *paths: the files they were read from.
        root: the folder of the checkout, which holds `dwp` and `workflow`.

    Raises:
        UserError: a setting is wrong.
    """

    def __init__(self, config: Mapping[str, Any], *paths: str | Path, root: str | Path) -> None:
        self.settings = load_settings(config, *paths)
        self.root = Path(root)
        self.results = f"results/{self.settings.name}"
        self.logs = f"logs/{self.settings.name}"

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains by name."""
        return self.settings.domains

    def names(self, section: str) -> list[str]:
        """Return the names of layers, priors or convergence experiments over all domains."""
        sections = [
            domain.kernels.layers if section == "layers" else getattr(domain, section)
            for domain in self.domains.values()
        ]
        return sorted(set().union(*sections))

    # Code: what decides, with the settings, whether a stage runs again.

    @cache  # noqa: B019 - one study lives as long as its process
    def code(self, *entries: str) -> str:
        """Return the fingerprint of scripts by name, modules, and classes that settings name."""
        scripts = (f"workflow/scripts/{e}.py" if e.isidentifier() else e for e in entries)
        return fingerprint(*scripts, root=self.root)

    @cache  # noqa: B019
    def paper_digest(self, name: str) -> str:
        """Return a digest of the authors' numbers of an experiment."""
        return _digest(self.root / "workflow" / "resources" / f"paper_{name}.csv")

    def dataset_class(self, domain: str, role: str) -> str:
        """Return the location of the class of a domain's source or target."""
        return registered(getattr(self.domains[domain].data, role).dataset).location

    def network_class(self, domain: str) -> str:
        """Return the location of the class of a domain's network."""
        network = self.domains[domain].network
        return NETWORKS.get(network, network)

    def prior_classes(self, domain: str, *priors: str | None) -> list[str]:
        """Return the locations of the classes of priors, of a point estimate that of its penalty.

        Xavier and point estimates without a penalty have none.
        """
        sections, kinds = self.domains[domain].priors, self.kinds(domain)
        names = [sections[name].penalty or name if name in sections else name for name in priors]
        return [kinds[name].location for name in names if name in kinds]

    @cache  # noqa: B019
    def net_code(self, entry: str, domain: str, *priors: str) -> str:
        """Return the fingerprint of code that uses a domain's network, and priors of it."""
        classes = self.network_class(domain), *self.prior_classes(domain, *priors)
        return self.code(entry, *classes)

    @cache  # noqa: B019
    def prior_code(self, entry: str, domain: str, *priors: str | None) -> str:
        """Return the fingerprint of code that uses priors of a domain."""
        return self.code(entry, *self.prior_classes(domain, *priors))

    # Priors and kernels.

    def prior(self, domain: str, name: str) -> PriorSettings:
        """Return the section of a prior."""
        return self.domains[domain].priors[name]

    def kinds(self, domain: str) -> dict[str, Kind]:
        """Return the kind of every prior of a domain that is a distribution."""
        priors = self.domains[domain].priors
        return {name: KINDS[p.kind] for name, p in priors.items() if not p.deterministic}

    @cache  # noqa: B019
    def kernel_sizes(self, domain: str) -> dict[str, int]:
        """Return the kernel size of each layer of a domain's network."""
        name = self.domains[domain].network
        return class_facts("network", name, NETWORKS, "kernel_sizes")["kernel_sizes"]

    def known_layers(self, domain: str) -> list[str]:
        """Return the layers that have kernels."""
        return [n for n, layer in self.domains[domain].kernels.layers.items() if layer.known]

    def sampled_priors(self, domain: str) -> list[str]:
        """Return the priors that can be sampled: all but the improper ones."""
        kinds = self.kinds(domain).items()
        return [name for name, kind in kinds if kind.density or kind.needs_kernels]

    def dense_priors(self, domain: str) -> list[str]:
        """Return the priors with a density, or a bound of it."""
        return [name for name, kind in self.kinds(domain).items() if kind.density]

    def scored_priors(self, domain: str) -> list[tuple[str, str]]:
        """Return the (prior, layer) pairs with a density and kernels to score."""
        return [*itertools.product(self.dense_priors(domain), self.known_layers(domain))]

    def vaes(self, domain: str) -> list[tuple[str, str]]:
        """Return the (prior, layer) pairs that have a latent space."""
        kinds = self.kinds(domain).items()
        vaes = [name for name, kind in kinds if kind.density == "bound"]
        return [*itertools.product(vaes, self.kernel_sizes(domain))]

    def fitted_to_kernels(self, domain: str, prior: str, layer: str) -> bool:
        """Whether a prior of a layer is fitted here, to kernels."""
        section = self.prior(domain, prior)
        return section.fitted(layer) and KINDS[section.kind].needs_kernels

    # Settings of each stage: its own slice of the config, so that nothing else runs it again.

    @cache  # noqa: B019
    def source_training(self, domain: str) -> SourceTraining:
        """Return the settings of a domain's source nets."""
        section = self.domains[domain]
        return _of(SourceTraining, section.source_nets, network=section.network)

    def collected_kernels(self, domain: str, layer: str) -> CollectedKernels:
        """Return the settings of a layer's kernels."""
        section = self.domains[domain].kernels
        return _of(CollectedKernels, section.layers[layer], test_fraction=section.test_fraction)

    @cache  # noqa: B019
    def prior_fit(self, domain: str, prior: str, layer: str) -> PriorFit:
        """Return the settings of a layer's prior."""
        section = self.prior(domain, prior)
        return PriorFit(
            kind=section.kind,
            kernel_size=self.kernel_sizes(domain)[layer],
            hyperparameters=section.layers.get(layer, {}),
            training=section.training.get(layer),
            released=section.released.get(layer),
            pretrained=section.pretrained.get(layer),
        )

    def pretrained_digest(self, domain: str, prior: str, layer: str) -> str | None:
        """Return a digest of the pretrained prior that a layer takes, if it takes one."""
        name = self.prior(domain, prior).pretrained.get(layer)
        return None if name is None else _digest(pretrained_file(name))

    def importance_samples(self, domain: str, prior: str) -> int:
        """Return the draws of z for a score; of an exact density none is drawn."""
        bound = self.kinds(domain)[prior].density == "bound"
        return self.domains[domain].importance_samples if bound else 1

    def ignored(self, domain: str, prior: str) -> tuple[str, ...]:
        """Return the settings of the classification without a meaning under a prior."""
        section = self.prior(domain, prior)
        if section.deterministic:
            return BAYESIAN_SETTINGS
        return tuple(set(KL_SETTINGS) - set(KINDS[section.kind].kl_settings))

    @cache  # noqa: B019
    def run_variants(self, domain: str, prior: str) -> dict[str, RunSettings]:
        """Return the settings of the runs of every variant under a prior, by its name."""
        section, own = self.domains[domain], self.prior(domain, prior)
        names = ("l2", "members", "dropout", "penalty") if own.deterministic else ("members",)
        of_prior = {name: getattr(own, name) for name in names}
        found = variants(section.classification, self.ignored(domain, prior))
        return {
            name: RunSettings(network=section.network, **dict(net), **of_prior)
            for name, net in found.items()
        }

    def run_settings(self, domain: str, prior: str, variant: str) -> RunSettings:
        """Return the settings of a run."""
        return self.run_variants(domain, prior)[variant]

    @cache  # noqa: B019
    def feature_training(self, domain: str) -> FeatureTraining:
        """Return the settings of the nets on fixed features."""
        section = self.domains[domain]
        return _of(FeatureTraining, section.features, network=section.network)

    @cache  # noqa: B019
    def convergence_training(self, domain: str, experiment: str) -> ConvergenceTraining:
        """Return the settings of a convergence experiment's nets."""
        section, own = self.domains[domain], self.domains[domain].convergence[experiment]
        network = {"network": section.network} if own.kind == "classifier" else {}
        return _of(ConvergenceTraining, own, **network)

    # Runs, and the batches of them that jobs train.

    @cache  # noqa: B019
    def source_batches(self, domain: str) -> list[list[Run]]:
        """Return the batches of a domain's source nets."""
        section = self.domains[domain].source_nets
        if section is None:
            return []
        return _batches(section, [{"seed": seed} for seed in range(section.count)])

    @cache  # noqa: B019
    def run_batches(self, domain: str) -> list[list[Run]]:
        """Return the batches of splits and seeds of every cell of the classification."""
        section = self.domains[domain].classification
        pairs = itertools.product(section.seeds, section.splits)
        return _batches(section, [{"split": split, "seed": seed} for seed, split in pairs])

    @cache  # noqa: B019
    def feature_batches(self, domain: str) -> list[list[Run]]:
        """Return the batches of seeds of every initialisation and scale."""
        section = self.domains[domain].features
        return _batches(section, [{"seed": seed} for seed in section.seeds])

    @cache  # noqa: B019
    def convergence_batches(self, domain: str, experiment: str) -> list[list[Run]]:
        """Return the batches of seeds of every initialisation of an experiment."""
        section = self.domains[domain].convergence[experiment]
        return _batches(section, [{"seed": seed} for seed in section.seeds])

    def cells(self, domain: str) -> Iterator[dict[str, Any]]:
        """Yield the cells of a classification: prior, init, variant and n."""
        section = self.domains[domain].classification
        for prior in section.priors:
            variants = self.run_variants(domain, prior)
            for init, variant, n in itertools.product(section.inits, variants, section.train_sizes):
                yield {"prior": prior, "init": init, "variant": variant, "n": n}

    def shift_cells(self, domain: str) -> list[dict[str, Any]]:
        """Return the cells that are tested under shift: a size, init and variant of each prior."""
        section = self.domains[domain].classification
        of = {"init": section.inits[0], "n": max(section.train_sizes)}
        cells = [cell for cell in self.cells(domain) if of.items() <= cell.items()]
        return list({cell["prior"]: cell for cell in reversed(cells)}.values())[::-1]

    def comparison(self, domain: str) -> Comparison:
        """Return what the tables of a domain's classification compare."""
        section = self.domains[domain].classification
        listed = {name: [as_text(v) for v in values] for name, values in section.listed.items()}
        # combinations that differ in nothing that a prior reads share a variant
        variants = [
            {
                "prior": prior,
                "variant": variant_name(section, values, self.ignored(domain, prior)),
                **{name: as_text(value) for name, value in values.items()},
            }
            for prior in section.priors
            for values in combinations(section)
        ]
        full, reference = self.crossed(domain) or ({}, {})
        return Comparison(
            domain=domain,
            dataset=self.paper_dataset(domain),
            prior=section.priors[0],
            vary={name: listed[name] for name in section.vary},
            tune={name: listed[name] for name in section.tune},
            tune_by=section.tune_by,
            variants=variants if listed else [],
            full=full,
            reference=reference,
        )

    @cache  # noqa: B019
    def start_layers(self, domain: str, experiment: str | None = None) -> list[str]:
        """Return the layers from whose priors a net draws its first kernels."""
        section = self.domains[domain]
        if experiment and section.convergence[experiment].kind == "image-vae":
            return sorted(
                set(class_facts("network", IMAGE_VAE, {}, "kernels_of")["kernels_of"].values())
            )
        return list(self.kernel_sizes(domain))

    def prior_layers(self, domain: str, prior: str, variant: str) -> list[str]:
        """Return the layers that a run is Bayesian in."""
        if self.prior(domain, prior).deterministic:
            return []
        chosen = self.run_settings(domain, prior, variant).bayesian_layers
        return list(self.kernel_sizes(domain)) if chosen is None else chosen

    # What jobs cost.

    def operations(self, rule: str, wildcards: Any) -> int:
        """Return about how many floating-point operations a job does (see `dwp.study.cost`)."""
        from dwp.study import cost

        return cost.work(self, rule, wildcards).operations

    def minutes(self, rule: str, wildcards: Any, attempt: int) -> int:
        """Return the minutes that a job asks a cluster for (see `dwp.study.cost`)."""
        from dwp.study import cost

        return cost.minutes(self, rule, wildcards, attempt)

    # What tables compare.

    def paper_dataset(self, domain: str) -> str:
        """Return the authors' data set whose numbers stand with a domain's, or "none"."""
        target = self.domains[domain].data.target
        known = PAPER_DATASETS.get((target.dataset, self.domains[domain].network), "none")
        return "none" if target.classes else known

    def crossed(self, domain: str) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return the full cell and the reference of a crossed classification, or None.

        Each is a prior and an init. The reference is the standard normal with Xavier (without
        them the next that differs); the full cell the first prior with the first other init.
        """
        section = self.domains[domain].classification
        prior, *priors = section.priors
        if not priors or len(section.inits) < 2:
            return None
        normal = [p for p in priors if self.prior(domain, p).kind == "standard-normal"]
        init, *others = sorted(section.inits, key=lambda name: name == XAVIER)
        full = {"prior": prior, "init": init}
        return full, {"prior": (normal or priors)[0], "init": others[-1]}

    # Results by target.

    def result_files(self, domain: str) -> dict[str, list[str]]:
        """Return the files of every target of a domain."""
        section = self.domains[domain]
        found = {"classification": self._classification_files(domain)}
        if section.features is not None:
            found["random_features"] = ["tables/features_summary.csv", "features_accuracy"]
        for name, experiment in section.convergence.items():
            files = [f"tables/convergence_{name}_steps.csv", f"convergence_{name}"]
            files += [f"images_{name}"] * (experiment.kind == "image-vae")
            found.setdefault("convergence", []).extend(files)
        found["prior_study"] = self._prior_files(domain)
        folder = f"{self.results}/{domain}"
        return {
            target: [
                f"{folder}/{file}" if "/" in file else f"{folder}/figures/{file}.pdf"
                for file in files
            ]
            for target, files in found.items()
        }

    def _classification_files(self, domain: str) -> list[str]:
        section = self.domains[domain].classification
        sizes = section.train_sizes
        files = ["tables/classification_summary.csv", "fewshot_accuracy", "fewshot_nll"]
        by_steps = itertools.product(("accuracy", "nll", "variety"), sizes)
        files += [f"steps_{metric}_n{n}" for metric, n in by_steps]
        files += ["tables/shift.csv", "shift"] * bool(section.rotations)
        return files + ["tables/factorial.csv", "factorial"] * bool(self.crossed(domain))

    def _prior_files(self, domain: str) -> list[str]:
        known, vaes = self.known_layers(domain), self.vaes(domain)
        drawn = self.kernel_sizes(domain) if self.sampled_priors(domain) else known
        files = [f"kernels_{layer}" for layer in drawn]
        files += [f"{name}_{layer}" for name in ("norms", "kl") for layer in known]
        files += [f"latent_{prior}_{layer}" for prior, layer in vaes]
        files += [f"reconstructions_{prior}_{layer}" for prior, layer in vaes if layer in known]
        files += ["tables/priors.csv"] * bool(self.scored_priors(domain))
        return files + ["tables/source_nets.csv"] * bool(self.domains[domain].source_nets)

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """The files of every target over all domains, figures among them."""
        found: dict[str, list[str]] = {}
        for domain in self.domains:
            for target, files in self.result_files(domain).items():
                found.setdefault(target, []).extend(files)
        everything = [file for files in found.values() for file in files]
        return {**found, "figures": [file for file in everything if "/figures/" in file]}


def _of(kind: type[S], section: Settings, **more: Any) -> S:
    """Return settings of a kind, those of a section that it has, and more."""
    own = {name: value for name, value in section if name in kind.model_fields}
    return kind(**own | more)


def _batches(section: Any, runs: list[Run]) -> list[list[Run]]:
    size = section.runs_per_job
    return [runs[first : first + size] for first in range(0, len(runs), size)]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
