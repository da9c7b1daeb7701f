"""The settings of a study, typed once: names, types, defaults, bounds and documentation.

`load_settings` makes a `Study` from a config; `config/README.md` and `config/schema.json` are
generated from these classes by `python docs/build_settings.py`.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dwp.data import registered
from dwp.data.choice import check_ranges, share_images
from dwp.errors import UserError, refusal
from dwp.priors.kinds import KINDS, REQUIRED, Kind
from dwp.priors.pretrained import pretrained, pretrained_kind
from dwp.registry import NETWORKS, class_facts

DETERMINISTIC = "deterministic"
"""The `kind` of an entry of `priors` that stands for a point estimate."""

XAVIER = "xavier"
"""The initialisation that is no prior."""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {value}")
    return value


def _null(value: Any) -> Any:
    return None if value in ("null", "none", "None", "") else value  # as --config passes it on


def _fraction(value: Any) -> Any:
    return float(Fraction(value)) if isinstance(value, str) else _number(value)


NotBool = BeforeValidator(_number)
Int = Annotated[int, NotBool]
Count = Annotated[int, Field(ge=1, le=10**9), NotBool]
Seed = Annotated[int, Field(ge=0), NotBool]
Number = Annotated[float, NotBool]
Positive = Annotated[float, Field(gt=0), NotBool]
NotNegative = Annotated[float, Field(ge=0), NotBool]
Share = Annotated[float, Field(gt=0, lt=1), NotBool]
ShareOrNone = Annotated[float, Field(ge=0, lt=1), NotBool]
Scale = Annotated[float, Field(gt=0), BeforeValidator(_fraction)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
Layer = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$", max_length=64)]
Class = Annotated[str, Field(pattern=r"^([A-Za-z0-9-]+|[^:]+\.py:\w+)$", max_length=200)]
Folder = Annotated[Annotated[str, Field(min_length=1)] | None, BeforeValidator(_null)]
Released = Annotated[str, Field(pattern=r"^[^/.][^\\]*$", max_length=255)]
Precision = Literal["float32", "tfloat32", "bfloat16"]
Filters = Annotated[list[Count], Field(min_length=1)]


def _different(values: list) -> list:
    if len({repr(value) for value in values}) < len(values):
        raise ValueError(f"expected different values, found {values}; remove one")
    return values


Different = AfterValidator(_different)
Names = Annotated[list[Name], Different, Field(min_length=1)]
Seeds = Annotated[list[Seed], Different, Field(min_length=1)]
Counts = Annotated[list[Count], Different, Field(min_length=1)]
Range = tuple[Seed, Seed]


class Settings(BaseModel):
    """A closed group of settings: an unknown name is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def dump(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, as JSON can hold them."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def text(self) -> str:
        """Return `dump` as JSON text that does not depend on the order of the settings."""
        return as_json(self.dump())


def as_json(settings: Any) -> str:
    """Return settings as JSON text that does not depend on their order."""
    import json

    return json.dumps(settings, sort_keys=True)


class DataFolder(Settings):
    """Where the data sets' files lie."""

    folder: Folder = None
    """Folder of the data sets' files; null: `DWP_DATA`, else `data`."""

    download: bool = False
    """Fetch files that are missing."""


class DataChoice(Settings):
    """A data set, or a part of one."""

    dataset: Class
    """Its name, or `FILE.py:CLASS`, a class of your own as in
    [examples/new_data_set.py](../examples/new_data_set.py).
    """

    classes: Annotated[list[Seed], Different, Field(min_length=2)] | None = None
    """Only these classes; the first becomes 0, and so on."""

    train: Range | None = None
    """`[first, end]`: only these of the training images."""

    test: Range | None = None
    """`[first, end]`: test on these of the *training* images; needs `train`."""

    enlarge: Count | None = None
    """Add fixed shifted and warped copies of training images up to this number."""

    label_noise: ShareOrNone = 0.0
    """Fixed share of the training labels that are redrawn at random."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(_null(value), str) else _null(value)


def _choice(value: Any) -> Any:
    return {"dataset": value} if isinstance(value, str) else value


Choice = Annotated[DataChoice, BeforeValidator(_choice)]


class Data(Settings):
    """The two data sets of a domain."""

    source: Choice
    """Kernels are learned from nets trained on this."""

    target: Choice
    """And used for nets trained on a few images of this."""


class SourceNets(Settings):
    """The nets whose kernels the priors are fitted to."""

    count: Annotated[int, Field(ge=1, le=100_000), NotBool] = 100
    """Number of nets, one seed each."""

    runs_per_job: Count = 1
    """Nets that one job trains."""

    filters: Filters
    """Filters of each convolution. Paper: 256, 512 for MNIST."""

    epochs: Count = 100
    """Passes over the training images."""

    batch_size: Count = 256
    """Images a step."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""

    l2: NotNegative = 0.001
    """Times the sum of squares of all convolution weights and biases, added to the mean
    cross-entropy.
    """

    precision: Precision = "float32"
    """Of products: `float32`; `tfloat32` (GPUs); `bfloat16` (CPUs with AVX512-BF16 or AMX;
    elsewhere `float32` is used).
    """


class SourceTraining(SourceNets):
    """Settings of the training of source nets: those of the nets and their network."""

    network: Class

    def dump(self) -> dict[str, Any]:
        """Return what the trained nets depend on."""
        dumped = super().dump()
        return {k: v for k, v in dumped.items() if k not in ("count", "runs_per_job")}


class LayerKernels(Settings):
    """Which kernels of a layer are kept."""

    threshold: NotNegative | None = None
    """Pruning threshold: drop kernels of a smaller Euclidean norm."""

    quantile: ShareOrNone | None = None
    """Or: drop this fraction of the kernels, the smallest."""

    released: Released | None = None
    """Or: take the kernels of this folder of the authors' release."""

    @property
    def known(self) -> bool:
        """Whether the layer has kernels: with none of the settings it has not."""
        return self.collected or self.released is not None

    @property
    def collected(self) -> bool:
        """Whether the kernels are those of our own source nets."""
        return self.threshold is not None or self.quantile is not None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.dump()) > 1:
            found = ", ".join(sorted(self.dump()))
            raise ValueError(f"expected one of threshold, quantile and released, found {found}")
        return self


class Kernels(Settings):
    """Pruning and splitting of the collected kernels."""

    test_fraction: Share = 0.2
    """Share of the kept kernels held out for scores."""

    layers: Annotated[dict[Layer, LayerKernels], Field(min_length=1)]
    """By layer: a pruning `threshold`, a `quantile` or a `released` folder; `{}`: the layer has
    no kernels.
    """


class CollectedKernels(LayerKernels):
    """Settings of one layer's kernels."""

    test_fraction: Share = 0.2


class FitTraining(Settings):
    """How a prior that is trained by gradient steps is fitted."""

    epochs: Count = 300
    """Passes over the kernels."""

    batch_size: Count = 128
    """Kernels a step."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""

    seed: Seed = 0
    """Of weights, batches and noise."""

    kernels: Count | None = None
    """Fit only this many, drawn at random."""

    precision: Precision = "float32"
    """Of products, as for source nets."""


Hyperparameter = Number | bool | str


class PriorSettings(Settings):
    """A prior over kernels, or a point estimate."""

    kind: Name = Field(
        description=f"`{DETERMINISTIC}` (a point estimate), or a kind of prior: "
        + ", ".join(f"`{kind}`" for kind in KINDS)
    )
    layers: dict[Layer, dict[str, Int | Number]] = {}
    """By layer: the kind's hyperparameters (table below)."""

    training: dict[Layer, FitTraining] = {}
    """By layer: how a `vae` or a `flow` is trained."""

    released: dict[Layer, Released] = {}
    """By layer: of a `vae`, take this folder of the authors' release instead."""

    pretrained: dict[Layer, Name] = {}
    """By layer: take this prior that comes with the package instead."""

    reconstructed_by: Name | None = None
    """Of an `empirical`: a `vae`, whose reconstructions of the kernels are taken."""

    members: Count = 1
    """Nets of an ensemble, which differ in initial weights, batches and noise."""

    l2: NotNegative | None = None
    """Of a `deterministic` net: penalty as for the source nets."""

    penalty: Name | None = None
    """Of a `deterministic` net: a prior; 1/n times -log p of all kernels (of a `vae` minus its
    ELBO), in nats, is added to the mean cross-entropy.
    """

    dropout: Share | None = None
    """Of a `deterministic` net: rate of dropout before the classifier."""

    @property
    def deterministic(self) -> bool:
        """Whether the entry stands for a point estimate."""
        return self.kind == DETERMINISTIC

    def source(self, layer: str) -> str:
        """Return where a layer's prior comes from: released, pretrained or fitted."""
        for name in ("released", "pretrained"):
            if layer in getattr(self, name):
                return name
        return "fitted"


class PriorFit(Settings):
    """Settings of the prior of one layer."""

    kind: Name
    kernel_size: Count
    hyperparameters: dict[str, Int | Number] = {}
    training: FitTraining | None = None
    released: Released | None = None
    pretrained: Name | None = None


class NetSettings(Settings):
    """How one target net is trained and tested."""

    filters: Filters
    """Filters of each convolution. Paper: 32, 128 for MNIST."""

    bayesian_layers: Annotated[list[Layer], Different, Field(min_length=1)] | None = None
    """Layers with a posterior; null: all. The others are point estimates."""

    posterior: Literal["weights", "codes"] = "weights"
    """`weights`, or `codes`: Gaussian over a latent code of every kernel (VAE priors only)."""

    epochs: Count = 10_000
    """One step each while n is at most `batch_size`."""

    batch_size: Count = 256
    """Images a step."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""

    shift: NotNegative = 0.0
    """Random shifts of training images: standard deviation in pixels."""

    warp: NotNegative = 0.0
    """Random linear maps of training images: standard deviation of entries."""

    log_variance: Number = -10.0
    """Start of the posterior's log-variance, or of the logit of alpha."""

    kernels_per_step: Annotated[Count | None, BeforeValidator(_null)] = None
    """Kernels of a layer that a step's KL is estimated from, without bias; null: all."""

    precision: Precision = "float32"
    """Of the products in a VAE prior's KL."""

    kl_temperature: Positive = 1.0
    """Factor of the KL in the loss; reported KLs and ELBOs are those at 1."""

    kl_estimator: Literal["exact", "monte-carlo"] = "exact"
    """Of a KL with a closed form, in training."""

    kl_bound: Literal["elbo", "importance-weighted"] = "elbo"
    """Of the KL from a `vae`."""

    latent_samples: Count = 1
    """Draws of z in that bound."""

    test_precision: Precision = "float32"
    """Of the products of predictions."""

    samples: Count = 10
    """Weight samples of the ensemble."""

    validation: Count = 1000
    """Training images that no subset contains. Paper: unknown."""

    evaluate_every: Count = 100
    """Epochs from one evaluation on the validation images to the next."""


class RunSettings(NetSettings):
    """Settings of one run: those of the net, its network and those of its prior's section."""

    network: Class
    samples: Seed = 10
    l2: NotNegative = 0.0
    members: Count = 1
    dropout: Share | None = None
    penalty: Name | None = None


class Classification(NetSettings):
    """Few-shot classification: every prior with every initialisation, size, split and seed."""

    runs_per_job: Count = 1
    """Splits and seeds of one cell (prior, init, variant, n) that one job trains."""

    priors: Names
    """The first is the one the others are tested against."""

    inits: Names = Field(description=f"priors to draw the first weights from, or `{XAVIER}`")
    train_sizes: Counts
    """Training examples, stratified; smaller subsets are part of larger ones."""

    splits: Seeds
    """Seeds of the subsets. Paper: 0 to 9."""

    seeds: Seeds = [0]
    """Seeds of weights, batches and noise."""

    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Values of settings to compare, by the setting's name (see below)."""

    tune: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Values of settings to choose among, by the setting's name (see below)."""

    tune_by: Literal["validation_nll", "validation_accuracy"] = "validation_nll"
    """Metric by which tuned settings are chosen."""

    rotations: list[Annotated[float, Field(ge=0, le=180), NotBool]] = [0, 30, 60, 90, 120, 150, 180]
    """Angles, in degrees, by which test images are rotated to test nets under shift; []: none."""

    @property
    def listed(self) -> dict[str, list[Any]]:
        """The listed values of every varied and of every tuned setting."""
        return {**self.vary, **self.tune}

    @property
    def own(self) -> dict[str, Any]:
        """The settings of a net, by name."""
        return {name: getattr(self, name) for name in NetSettings.model_fields}

    @model_validator(mode="after")
    def _lists(self) -> Self:
        both = sorted(set(self.vary) & set(self.tune))
        if both:
            raise ValueError(f"expected {', '.join(both)} in one of vary and tune, found both")
        for part in (self.vary, self.tune):
            for name, values in part.items():
                if name not in NetSettings.model_fields:
                    raise ValueError(f"vary, tune: {_unknown(name, NetSettings.model_fields)}")
                read = [
                    getattr(NetSettings.model_validate({**self.own, name: value}), name)
                    for value in values
                ]
                part[name] = _different(read)  # as typed: 1e-3 is a number
        return self


class Features(Settings):
    """Random features: convolutions stay as initialised, the classifier is trained."""

    runs_per_job: Count = 1
    """Seeds of one init and scale that one job trains."""

    filters: Filters
    """At scale 1. Paper: those of the source nets."""

    scales: Annotated[list[Scale], Different, Field(min_length=1)]
    """Factors of the numbers of filters, as fractions or numbers. Paper: 1/16 to 1."""

    inits: Names
    """As for the classification."""

    seeds: Seeds
    """Of weights and batches."""

    epochs: Count
    """Passes over the target training set. Paper: unknown."""

    batch_size: Count = 256
    """Images a step. Paper: unknown."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""


class FeatureTraining(Settings):
    """Settings of one net on fixed features."""

    network: Class
    filters: Filters
    epochs: Count
    batch_size: Count = 256
    learning_rate: Positive = 0.001


class ConvergenceTraining(Settings):
    """How one net of a convergence experiment is trained."""

    kind: Literal["classifier", "image-vae"]
    """`classifier`: the domain's network, test accuracy; `image-vae`: a VAE of 28 x 28 grey
    images, its variational lower bound in nats an image.
    """

    filters: Filters
    """Of the convolutions; of an image VAE's encoder."""

    latent: Count | None = None
    """Of an image VAE: dimensions of its code."""

    steps: Count
    """Of training. Paper: 300 and 1000."""

    batch_size: Count = 256
    """Images a step. Paper: unknown."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""

    evaluate_every: Count
    """Steps from one test evaluation to the next."""

    sample_steps: list[Seed] | None = None
    """Of an image VAE: evaluation steps at which images are decoded."""

    network: Class | None = None
    """Set by the domain; leave it out."""


class Convergence(ConvergenceTraining):
    """One convergence experiment: whole nets trained from each initialisation."""

    runs_per_job: Count = 1
    """Seeds of one init that one job trains."""

    inits: Names
    """As for the classification."""

    seeds: Seeds
    """Of weights, batches and noise."""

    levels: Annotated[list[Number], Different, Field(min_length=1)]
    """Accuracies or bounds: the table has the steps at which they are first reached."""


class Domain(Settings):
    """One source, one target and the experiments on them."""

    data: Data
    """Source and target."""

    network: Class = Field(
        description="architecture of source and target nets: "
        + ", ".join(f"`{name}`" for name in NETWORKS)
        + ", or `FILE.py:CLASS` as in [examples/new_network.py](../examples/new_network.py)"
    )
    source_nets: SourceNets | None = None
    """Absent: no source nets of our own."""

    kernels: Kernels
    """Pruning and splitting of the collected kernels."""

    priors: Annotated[dict[Name, PriorSettings], Field(min_length=1)]
    """Priors by name."""

    importance_samples: Count = 1000
    """Draws of z for a VAE's log p(w)."""

    classification: Classification
    """Few-shot classification."""

    features: Features | None = None
    """Random features; absent: not run."""

    convergence: dict[Name, Convergence] = {}
    """Convergence experiments by name."""


class Config(Settings):
    """A study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
    """Results go to `results/<name>/`, logs to `logs/<name>/`."""

    release: Folder = None
    """Folder of the authors' release (`data/fconv` of
    github.com/SamsungLabs/deep-weight-prior); null: `DWP_RELEASE`.
    """

    data: DataFolder = DataFolder()
    """Where the data sets' files lie."""

    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where nets are trained; see [docs/gpu.md](../docs/gpu.md)."""

    checkpoint_minutes: NotNegative = 5.0
    """Time from one checkpoint of a training to the next."""

    longest_job_minutes: Count = 1440
    """The most time that a job asks a cluster for."""

    tensorboard: bool = False
    """Write event files to `logs/<name>/tensorboard/` as well; needs the package."""

    only: Annotated[Names | None, BeforeValidator(_listed)] = None
    """Run only these domains, a list or a single name."""

    domains: Annotated[dict[Name, Domain], Field(min_length=1)]
    """Studies by name, each with the sections below."""


def load_settings(config: Mapping[str, Any], *paths: str | Path) -> Config:
    """Return the typed settings of a config.

    Args:
        config: nested settings; texts stand for numbers where numbers are expected, as Snakemake
            passes them on from `--config`.
        *paths: files it was read from, which are checked for settings that stand in them twice.

    Raises:
        UserError: one line with the setting, what was expected, what was found, what to do.
    """
    for path in paths:
        read_config(path)
    settings = validated(Config, config)
    if settings.only is not None:
        for name in settings.only:
            check_one_of("only", name, settings.domains)
        chosen = {name: settings.domains[name] for name in settings.only}
        settings = settings.model_copy(update={"domains": chosen})
    for name, domain in settings.domains.items():
        _check_domain(f"domains.{name}", domain)
    return settings


S = TypeVar("S", bound=Settings)


def validated(kind: type[S], settings: S | Mapping[str, Any] | str) -> S:
    """Return settings of a kind, made from themselves, a mapping or JSON text.

    Raises:
        UserError: they do not fit.
    """
    try:
        if isinstance(settings, str):
            return kind.model_validate_json(settings)
        return kind.model_validate(dict(settings) if isinstance(settings, Mapping) else settings)
    except ValidationError as error:
        raise _one_line(kind, error) from None


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the settings of a YAML or JSON file.

    Raises:
        UserError: the file is missing, is no YAML mapping, or has a setting twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.tag.endswith(":merge"):
                    continue
                if key.value in seen:
                    raise UserError(
                        f"{path}: expected every setting once, found {key.value} again in line "
                        f"{key.start_mark.line + 1}; remove one"
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        config = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected YAML, found {reason}; correct the file") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected settings by name, found {type(config).__name__}")
    return config


def _one_line(kind: type[Settings], error: ValidationError) -> UserError:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        *path, name = map(str, first["loc"])
        return UserError(f"{'.'.join([*path, name])}: {_unknown(name, _fields(kind, path))}")
    return refusal("", error)


def _fields(hint: Any, path: list[str]) -> Iterable[str]:
    """Return the names of the settings at a path inside a type of settings."""
    for name in ["", *path]:
        if name:
            own = isinstance(hint, type) and issubclass(hint, BaseModel)
            hint = hint.model_fields[name].annotation if own else get_args(hint)[-1]
        while get_origin(hint) in (Annotated, Union, UnionType):
            hint = get_args(hint)[0]
    return getattr(hint, "model_fields", {})


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown setting '{name}'; expected one of {', '.join(sorted(known))}{hint}"


def check_one_of(setting: str, found: object, allowed: Iterable[str]) -> None:
    """Raise `UserError` with the allowed names if a value is none of them."""
    allowed = list(allowed)
    if found not in allowed:
        near = difflib.get_close_matches(str(found), allowed, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{setting}: expected one of {', '.join(allowed)}; found '{found}'{hint}")


# Checks across settings: every name stands for something, and what belongs together fits.


def _check_domain(path: str, domain: Domain) -> None:
    try:
        network = class_facts("network", domain.network, NETWORKS, "image_shape", "kernel_sizes")
    except UserError as error:
        raise UserError(f"{path}.network: {error}") from None
    shape, sizes = network["image_shape"], network["kernel_sizes"]
    _check_data(f"{path}.data", domain, tuple(shape))
    for stage in ("source_nets", "classification", "features"):
        if (section := getattr(domain, stage)) is not None:
            _check_filters(f"{path}.{stage}", section.filters, sizes)
    layers = domain.kernels.layers
    for layer in sizes:
        if layer not in layers:
            raise UserError(f"{path}.kernels.layers: expected {layer} as well")
    for layer, kernels in layers.items():
        check_one_of(f"{path}.kernels.layers.{layer}", layer, sizes)
        if kernels.collected and domain.source_nets is None:
            raise UserError(
                f"{path}.kernels.layers.{layer}: kernels of our own need the section source_nets"
            )
    for prior, section in domain.priors.items():
        _check_prior(f"{path}.priors.{prior}", section, domain, sizes)
    _check_classification(f"{path}.classification", domain, sizes)
    if domain.features is not None:
        _check_inits(f"{path}.features.inits", domain.features.inits, domain.priors)
    for experiment, section in domain.convergence.items():
        _check_convergence(f"{path}.convergence.{experiment}", section, domain, sizes)


def _check_filters(path: str, filters: list[int], layers: Iterable[str]) -> None:
    layers = list(layers)
    if len(filters) != len(layers):
        raise UserError(
            f"{path}.filters: expected {len(layers)} numbers, one for each of "
            f"{', '.join(layers)}; found {filters}"
        )


def _check_data(path: str, domain: Domain, shape: tuple[int, ...]) -> None:
    source, target = domain.data.source, domain.data.target
    for role, choice in (("source", source), ("target", target)):
        try:
            _, found, classes = registered(choice.dataset)
        except UserError as error:
            raise UserError(f"{path}.{role}: {error}") from None
        if tuple(found) != shape:
            raise UserError(
                f"{path}.{role}: network '{domain.network}' takes images of "
                f"{'x'.join(map(str, shape))}, those of '{choice.dataset}' are "
                f"{'x'.join(map(str, found))}; take another data set or network"
            )
        for label in choice.classes or ():
            if label >= classes:
                raise UserError(
                    f"{path}.{role}.classes: expected classes of '{choice.dataset}', 0 to "
                    f"{classes - 1}; found {label}"
                )
        try:
            check_ranges(choice)
        except UserError as error:
            raise UserError(f"{path}.{role}.{error}") from None
    if share_images(source, target):
        raise UserError(
            f"{path}: source and target share images of '{target.dataset}'; kernels must come from "
            "another data set, or from other images of it (classes, train, test)"
        )


def _check_prior(path: str, prior: PriorSettings, domain: Domain, sizes: Mapping[str, int]) -> None:
    if path.endswith(f".{XAVIER}"):
        raise UserError(f"{path}: '{XAVIER}' names an init; call the prior something else")
    check_one_of(f"{path}.kind", prior.kind, [*KINDS, DETERMINISTIC])
    for name in ("layers", "training", "released", "pretrained"):
        for layer in getattr(prior, name):
            check_one_of(f"{path}.{name}", layer, sizes)
    fitted = [layer for layer in sizes if prior.source(layer) == "fitted"]
    allowed = {"kind", "members"}
    if prior.deterministic:
        allowed |= {"l2", "dropout", "penalty"}
    else:
        kind = KINDS[prior.kind]
        allowed |= {"pretrained"} | ({"released"} if prior.kind == "vae" else set())
        allowed |= {"layers"} if kind.hyperparameters else set()
        allowed |= {"training"} if kind.trained else set()
        allowed |= {"reconstructed_by"} if prior.kind == "empirical" else set()
    for name in prior.model_fields_set:
        if name not in allowed:
            raise UserError(
                f"{path}.{name}: not of kind '{prior.kind}', which takes "
                f"{', '.join(sorted(allowed))}; remove it"
            )
    if prior.deterministic:
        if prior.l2 is None:
            raise UserError(f"{path}.l2: missing; expected a number, 0 for no penalty")
        if prior.penalty is not None:
            dense = [n for n, p in domain.priors.items() if _fact(p, "density")]
            check_one_of(f"{path}.penalty", prior.penalty, dense)
        return
    if prior.reconstructed_by is not None:
        vaes = [name for name, other in domain.priors.items() if other.kind == "vae"]
        check_one_of(f"{path}.reconstructed_by", prior.reconstructed_by, vaes)
    for layer in fitted:
        if kind.needs_kernels and not domain.kernels.layers[layer].known:
            raise UserError(
                f"{path}: fitted to kernels, and kernels.layers.{layer} gives none; set "
                "threshold, quantile or released there"
            )
        if kind.trained and layer not in prior.training:
            raise UserError(f"{path}.training: expected {layer} as well")
        _check_hyperparameters(f"{path}.layers.{layer}", prior.layers.get(layer, {}), kind)
    for name in ("layers", "training"):
        for layer in getattr(prior, name):
            check_one_of(f"{path}.{name}", layer, fitted)
    for layer, name in prior.pretrained.items():
        setting = f"{path}.pretrained.{layer}"
        check_one_of(setting, name, pretrained())
        found = pretrained_kind(name)
        if found != (prior.kind, sizes[layer]):
            raise UserError(
                f"{setting}: expected a prior of kind {prior.kind} over {sizes[layer]} x "
                f"{sizes[layer]} kernels; '{name}' is of kind {found[0]} over {found[1]} x "
                f"{found[1]}"
            )


def _check_hyperparameters(path: str, found: Mapping[str, Any], kind: Kind) -> None:
    known = kind.hyperparameters
    for name, value in found.items():
        if name not in known:
            raise UserError(f"{path}: {_unknown(name, known)}")
        if known[name].type is int and not isinstance(value, int):
            raise UserError(f"{path}.{name}: expected an integer, found {value}")
        if value < 0 or (value == 0 and known[name].positive):
            raise UserError(f"{path}.{name}: expected a number above 0, found {value}")
    for name, parameter in known.items():
        if parameter.default is REQUIRED and name not in found:
            raise UserError(f"{path}: missing {name}; expected {', '.join(known)}")


def _fact(prior: PriorSettings, name: str) -> Any:
    return None if prior.deterministic else getattr(KINDS[prior.kind], name)


def _check_classification(path: str, domain: Domain, sizes: Mapping[str, int]) -> None:
    section, priors = domain.classification, domain.priors
    regularising = [name for name, prior in priors.items() if prior.kind != "empirical"]
    for name in section.priors:
        check_one_of(f"{path}.priors", name, regularising)
    _check_inits(f"{path}.inits", section.inits, priors)
    lists = [section.priors, section.inits, section.train_sizes, section.splits, section.seeds]
    runs = math.prod(map(len, [*lists, *section.listed.values()]))
    if runs > 100_000:
        raise UserError(f"{path}: expected at most 100000 runs, found {runs}")

    def values(name: str) -> list[Any]:
        return section.listed.get(name, [getattr(section, name)])

    for filters in values("filters"):
        _check_filters(path, filters, sizes)
    for layers in values("bayesian_layers"):
        for layer in layers or ():
            check_one_of(f"{path}.bayesian_layers", layer, sizes)
    if "codes" in values("posterior"):
        for name in section.priors:
            if priors[name].kind not in ("vae", DETERMINISTIC):
                raise UserError(
                    f"{path}.posterior: codes are of priors of kind vae; found {name} in priors"
                )
    if max(values("evaluate_every")) > min(values("epochs")):
        raise UserError(
            f"{path}.evaluate_every: expected at most epochs ({min(values('epochs'))}), found "
            f"{max(values('evaluate_every'))}"
        )


def _check_convergence(
    path: str, section: Convergence, domain: Domain, sizes: Mapping[str, int]
) -> None:
    _check_inits(f"{path}.inits", section.inits, domain.priors)
    every, steps = section.evaluate_every, section.steps
    if every > steps:
        raise UserError(f"{path}.evaluate_every: expected at most steps ({steps}), found {every}")
    drawing = section.kind == "image-vae"
    for name in ("latent", "sample_steps"):
        if drawing != (getattr(section, name) is not None):
            expected = "missing; expected a value" if drawing else "only an image-vae has it"
            raise UserError(f"{path}.{name}: {expected}")
    if not drawing:
        _check_filters(path, section.filters, sizes)
        return
    vae = class_facts("network", IMAGE_VAE, {}, "kernel_sizes", "kernels_of")
    _check_filters(path, section.filters, ("encoder1", "encoder2"))
    for step in section.sample_steps or ():
        if step > steps or (step % every and step != steps):
            raise UserError(
                f"{path}.sample_steps: expected multiples of evaluate_every ({every}) up to steps "
                f"({steps}), found {step}"
            )
    for own, layer in vae["kernels_of"].items():
        if sizes.get(layer) != vae["kernel_sizes"][own]:
            raise UserError(
                f"{path}: an image-vae takes the kernels of its {own} from a layer {layer} of "
                f"size {vae['kernel_sizes'][own]}; the network '{domain.network}' has none"
            )


IMAGE_VAE = "dwp.nn.image_vae:ImageVAE"


def _check_inits(path: str, inits: Iterable[str], priors: Mapping[str, PriorSettings]) -> None:
    improper = (DETERMINISTIC, "log-uniform")
    can_start = [name for name, prior in priors.items() if prior.kind not in improper]
    for name in inits:
        check_one_of(path, name, [XAVIER, *can_start])
