"""The settings of a study, typed once: names, types, defaults, bounds and documentation.

`load_settings` makes a `Study` from a config; `config/README.md` and `config/schema.json` are
generated from these classes by `python docs/build_settings.py`.
"""

import contextlib
import functools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dwp.data import registered
from dwp.data.choice import check_ranges, share_images
from dwp.errors import UserError, check_one_of, not_allowed, reading, refusal
from dwp.priors.kinds import KINDS, REQUIRED
from dwp.priors.pretrained import pretrained, pretrained_kind
from dwp.registry import NETWORKS, class_facts

DETERMINISTIC = "deterministic"
"""The `kind` of an entry of `priors` that stands for a point estimate."""

XAVIER = "xavier"
"""The initialisation that is no prior."""

IMAGE_VAE = "dwp.nn.image_vae:ImageVAE"
"""The class of the net of a convergence experiment of kind `image-vae`."""


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {value}")
    return value


def _null(value: Any) -> Any:
    return None if value in ("null", "none", "None", "") else value  # as --config passes it on


def _fraction(value: Any) -> Any:
    return float(Fraction(value)) if isinstance(value, str) else _number(value)


def _different(values: list) -> list:
    if len({repr(value) for value in values}) < len(values):
        raise ValueError(f"expected different values, found {values}; remove one")
    return values


def _kind(value: str) -> str:
    if value not in (*KINDS, DETERMINISTIC):
        raise ValueError(not_allowed(value, [*KINDS, DETERMINISTIC]))
    return value


T = TypeVar("T")
NotBool = BeforeValidator(_number)
Different = AfterValidator(_different)
SomeDifferent = Annotated[list[T], Different, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=10**9), NotBool]
Whole = Annotated[int, Field(ge=0), NotBool]
Seed = Whole
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
Range = tuple[Seed, Seed]
Hyperparameters = dict[str, Annotated[int, NotBool] | Number]


class Settings(BaseModel):
    """A closed group of settings: an unknown name is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name not in cls.model_fields:
                message = f"unknown setting; {not_allowed(str(name), sorted(cls.model_fields))}"
                context = {"name": name, "message": message}
                raise PydanticCustomError("unknown", "{message}", context)
        return values

    def dump(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, as JSON can hold them."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @functools.cached_property
    def text(self) -> str:
        """What `dump` returns, as JSON text that does not depend on the order of the settings."""
        return as_json(self.dump())


def as_json(settings: Any) -> str:
    """Return settings as JSON text that does not depend on their order."""
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

    classes: Annotated[SomeDifferent[Seed], Field(min_length=2)] | None = None
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

    count: Annotated[int, Field(ge=1, le=100_000), NotBool] = Field(100, exclude=True)
    """Number of nets, one seed each."""

    runs_per_job: Count = Field(1, exclude=True)
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

    l2_classifier: NotNegative = 0.0
    """The same for linear layers. Paper: none."""

    precision: Precision = "float32"
    """Of products: `float32`; `tfloat32` (GPUs); `bfloat16` (CPUs with AVX512-BF16 or AMX;
    elsewhere `float32` is used).
    """


class SourceTraining(SourceNets):
    """Settings of the training of source nets: those of the nets and their network.

    Their text leaves out what a trained net does not depend on.
    """

    network: Class


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
        names = LayerKernels.model_fields
        found = [name for name in names if getattr(self, name) is not None]
        if len(found) > 1:
            raise ValueError(f"expected one of {', '.join(names)}; found {', '.join(found)}")
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

    quantile: ShareOrNone = 0.0
    """Leave out this fraction of the kernels, the smallest by norm."""

    kernels: Count | None = None
    """Fit only this many, drawn at random."""

    precision: Precision = "float32"
    """Of products, as for source nets."""


class PriorSettings(Settings):
    """A prior over kernels, or a point estimate."""

    kind: Annotated[Name, AfterValidator(_kind)] = Field(
        description=f"`{DETERMINISTIC}` (a point estimate), or a kind of prior: "
        + ", ".join(f"`{kind}`" for kind in KINDS)
    )
    layers: dict[Layer, Hyperparameters] = {}
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

    def fitted(self, layer: str) -> bool:
        """Return whether a layer's prior is fitted here, neither released nor pretrained."""
        return layer not in {**self.released, **self.pretrained}


class PriorFit(Settings):
    """Settings of the prior of one layer."""

    kind: Name
    kernel_size: Count
    hyperparameters: Hyperparameters = {}
    training: FitTraining | None = None
    released: Released | None = None
    pretrained: Name | None = None


class NetSettings(Settings):
    """How one target net is trained and tested."""

    filters: Filters
    """Filters of each convolution. Paper: 32, 128 for MNIST."""

    bayesian_layers: SomeDifferent[Layer] | None = None
    """Layers with a posterior; null: all. The others are point estimates."""

    posterior: Literal["weights", "codes"] = "weights"
    """`weights`, or `codes`: Gaussian over a latent code of every kernel (VAE priors only)."""

    epochs: Count = 10_000
    """One step each while n is at most `batch_size`."""

    batch_size: Count = 256
    """Images a step."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""

    l2_classifier: NotNegative = 0.0
    """Penalty of linear layers, which have no prior: times their sum of squares, added to the mean
    cross-entropy. Paper: none.
    """

    shift: NotNegative = 0.0
    """Random shifts of training images: standard deviation in pixels."""

    warp: NotNegative = 0.0
    """Random linear maps of training images: standard deviation of entries."""

    log_variance: Number | Annotated[list[Number], Field(min_length=1)] = -10.0
    """Start of the posterior's log-variance, or of the logit of alpha; or a list, one for each
    convolution.
    """

    log_variance_rate: Positive = 1.0
    """Factor of the step size for the log-variance."""

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
    samples: Whole = 10
    l2: NotNegative = 0.0
    members: Count = 1
    dropout: Share | None = None
    penalty: Name | None = None


class Classification(NetSettings):
    """Few-shot classification: every prior with every initialisation, size, split and seed."""

    runs_per_job: Count = 1
    """Splits and seeds of one cell (prior, init, variant, n) that one job trains."""

    priors: SomeDifferent[Name]
    """The first is the one the others are tested against."""

    inits: SomeDifferent[Name] = Field(
        description=f"priors to draw the first weights from, or `{XAVIER}`"
    )
    train_sizes: SomeDifferent[Count]
    """Training examples, stratified; smaller subsets are part of larger ones."""

    splits: SomeDifferent[Seed]
    """Seeds of the subsets. Paper: 0 to 9."""

    seeds: SomeDifferent[Seed] = [0]
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
                nets = [NetSettings.model_validate({**self.own, name: each}) for each in values]
                part[name] = _different([getattr(net, name) for net in nets])  # 1e-3: a number
        return self


class FeatureNet(Settings):
    """How a net on fixed features is trained."""

    filters: Filters
    """At scale 1. Paper: those of the source nets."""

    epochs: Count
    """Passes over the target training set. Paper: unknown."""

    batch_size: Count = 256
    """Images a step. Paper: unknown."""

    learning_rate: Positive = 0.001
    """Of Adam, decays linearly to 0."""


class FeatureTraining(FeatureNet):
    """Settings of one net on fixed features, at its scale."""

    network: Class


class Features(FeatureNet):
    """Random features: convolutions stay as initialised, the classifier is trained."""

    runs_per_job: Count = 1
    """Seeds of one init and scale that one job trains."""

    scales: SomeDifferent[Scale]
    """Factors of the numbers of filters, as fractions or numbers. Paper: 1/16 to 1."""

    inits: SomeDifferent[Name]
    """As for the classification."""

    seeds: SomeDifferent[Seed]
    """Of weights and batches."""


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

    inits: SomeDifferent[Name]
    """As for the classification."""

    seeds: SomeDifferent[Seed]
    """Of weights, batches and noise."""

    levels: SomeDifferent[Number]
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

    bound_steps: Whole = 1000
    """Steps for which samples of each prior follow its own bound; 0: not measured."""

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

    only: Annotated[SomeDifferent[Name] | None, BeforeValidator(_listed)] = None
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
        check_one_of("only", settings.only, settings.domains)
        chosen = {name: settings.domains[name] for name in settings.only}
        settings = settings.model_copy(update={"domains": chosen})
    for name, domain in settings.domains.items():
        with _under(f"domains.{name}."):
            _check_domain(domain)
    return settings


S = TypeVar("S", bound=Settings)


def validated(kind: type[S], settings: S | Mapping[str, Any]) -> S:
    """Return settings of a kind, made from themselves or a mapping.

    Raises:
        UserError: they do not fit.
    """
    try:
        return kind.model_validate(dict(settings) if isinstance(settings, Mapping) else settings)
    except ValidationError as error:
        raise refusal("", error) from None


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the settings of a YAML or JSON file.

    Raises:
        UserError: the file is missing, is no YAML mapping, or has a setting twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = []
            for key, _ in node.value:
                line = f"in line {key.start_mark.line + 1}"
                again = f"expected every setting once, found {key.value} again {line}; remove one"
                _check(key.value not in names or key.tag.endswith(":merge"), again)
                names.append(key.value)
            return super().construct_mapping(node, deep)

    with reading(path, "YAML", "correct the file"):
        found = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
        expected = f"expected settings by name, found {type(found).__name__}"
        _check(isinstance(found, dict), expected)
        return found


@contextlib.contextmanager
def _under(path: str) -> Iterator[None]:
    """Within the block, put a path in front of the setting that a `UserError` begins with."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}{error}") from None


# Checks across the settings of a domain: every name stands for something, what belongs together
# fits. Messages begin with the setting, in the domain.


def _check_domain(domain: Domain) -> None:
    with _under("network: "):
        facts = class_facts("network", domain.network, NETWORKS, "image_shape", "kernel_sizes")
    sizes = facts["kernel_sizes"]
    _check_data(domain, facts["image_shape"])
    for stage in ("source_nets", "classification", "features"):
        if (section := getattr(domain, stage)) is not None:
            _check_each(f"{stage}.filters", section.filters, sizes)
    layers, own_nets = domain.kernels.layers, domain.source_nets is not None
    check_one_of("kernels.layers", layers, sizes)
    for layer in sizes:
        _check(layer in layers, f"kernels.layers: expected {layer} as well")
        expected = "kernels of our own need the section source_nets"
        _check(own_nets or not layers[layer].collected, f"kernels.layers.{layer}: {expected}")
    for name in domain.priors:
        _check_prior(name, domain, sizes)
    _check_classification(domain, sizes)
    if domain.features is not None:
        _check_inits("features", domain.features.inits, domain)
    for name in domain.convergence:
        _check_convergence(name, domain, sizes)


def _check_each(setting: str, values: list[Any], layers: Collection[str]) -> None:
    expected = f"expected one number for each of {', '.join(layers)}; found {values}"
    _check(len(values) == len(layers), f"{setting}: {expected}")


def _check_inits(section: str, inits: Iterable[str], domain: Domain) -> None:
    improper = (DETERMINISTIC, "log-uniform")
    proper = [name for name, prior in domain.priors.items() if prior.kind not in improper]
    check_one_of(f"{section}.inits", inits, [XAVIER, *proper])


def _check_data(domain: Domain, shape: Iterable[int]) -> None:
    for role, choice in domain.data:
        name = choice.dataset
        with _under(f"data.{role}: "):
            _, found, classes = registered(name)
            takes, has = ("x".join(map(str, each)) for each in (shape, found))
            network = f"network '{domain.network}' takes images of {takes}"
            remedy = "take another data set or network"
            _check(takes == has, f"{network}, those of '{name}' are {has}; {remedy}")
        with _under(f"data.{role}."):
            largest = max(choice.classes or [0])
            expected = f"expected classes of '{name}', 0 to {classes - 1}; found {largest}"
            _check(largest < classes, f"classes: {expected}")
            check_ranges(choice)
    source, target = domain.data.source, domain.data.target
    shared = f"data: source and target share images of '{target.dataset}'"
    expected = "kernels must come from another data set, or from other images of it"
    _check(not share_images(source, target), f"{shared}; {expected} (classes, train, test)")


def _check_prior(name: str, domain: Domain, sizes: Mapping[str, int]) -> None:
    path, prior, others = f"priors.{name}", domain.priors[name], domain.priors.items()
    _check(name != XAVIER, f"{path}: '{XAVIER}' names an init; call the prior something else")
    kind = KINDS.get(prior.kind)  # of a point estimate None
    allowed = {
        **dict.fromkeys(("kind", "members"), True),
        **dict.fromkeys(("l2", "dropout", "penalty"), kind is None),
        "layers": kind is not None and bool(kind.hyperparameters),
        "training": kind is not None and kind.trained,
        "released": prior.kind == "vae",
        "pretrained": kind is not None,
        "reconstructed_by": prior.kind == "empirical",
    }
    takes = ", ".join(sorted(setting for setting, holds in allowed.items() if holds))
    for setting in prior.model_fields_set:
        refused = f"not of kind '{prior.kind}', which takes {takes}; remove it"
        _check(allowed[setting], f"{path}.{setting}: {refused}")
    if kind is None:
        _check(prior.l2 is not None, f"{path}.l2: missing; expected a number, 0 for no penalty")
        if prior.penalty is not None:
            dense = [n for n, p in others if not p.deterministic and KINDS[p.kind].density]
            check_one_of(f"{path}.penalty", prior.penalty, dense)
        return
    if prior.reconstructed_by is not None:
        vaes = [n for n, p in others if p.kind == "vae"]
        check_one_of(f"{path}.reconstructed_by", prior.reconstructed_by, vaes)
    fitted = [layer for layer in sizes if prior.fitted(layer)]
    for setting in ("layers", "training", "released", "pretrained"):
        layers = fitted if setting in ("layers", "training") else sizes
        check_one_of(f"{path}.{setting}", getattr(prior, setting), layers)
    for layer in fitted:
        known = not kind.needs_kernels or domain.kernels.layers[layer].known
        remedy = "set threshold, quantile or released there"
        _check(known, f"{path}: fitted to kernels, and kernels.layers.{layer} has none; {remedy}")
        trained = not kind.trained or layer in prior.training
        _check(trained, f"{path}.training: expected {layer} as well")
        with _under(f"{path}.layers.{layer}."):
            validated(_hyperparameters(prior.kind), prior.layers.get(layer, {}))
    for layer, chosen in prior.pretrained.items():
        setting, size = f"{path}.pretrained.{layer}", sizes[layer]
        check_one_of(setting, chosen, pretrained())
        found, own = pretrained_kind(chosen)
        expected = f"expected a prior of kind {prior.kind} over {size} x {size} kernels"
        instead = f"'{chosen}' is of kind {found} over {own} x {own}"
        _check((found, own) == (prior.kind, size), f"{setting}: {expected}; {instead}")


@functools.cache
def _hyperparameters(kind: str) -> type[Settings]:
    """Return the class of the hyperparameters of a kind of prior."""
    fields: dict[str, Any] = {}
    for name, its in KINDS[kind].hyperparameters.items():
        bound = {"gt": 0} if its.positive else {"ge": 0}
        default = ... if its.default is REQUIRED else its.default
        fields[name] = its.type, Field(default, strict=True, **bound)
    return create_model(kind, __base__=Settings, **fields)


def _check_classification(domain: Domain, sizes: Mapping[str, int]) -> None:
    section, path = domain.classification, "classification"
    regularising = [name for name, prior in domain.priors.items() if prior.kind != "empirical"]
    check_one_of(f"{path}.priors", section.priors, regularising)
    _check_inits(path, section.inits, domain)
    lists = [section.priors, section.inits, section.train_sizes, section.splits, section.seeds]
    runs = math.prod(map(len, [*lists, *section.listed.values()]))
    _check(runs <= 100_000, f"{path}: expected at most 100000 runs, found {runs}")
    values = {name: [value] for name, value in section.own.items()} | section.listed
    for filters in values["filters"]:
        _check_each(f"{path}.filters", filters, sizes)
    for start in values["log_variance"]:
        if isinstance(start, list):
            _check_each(f"{path}.log_variance", start, sizes)
    for layers in values["bayesian_layers"]:
        check_one_of(f"{path}.bayesian_layers", layers or [], sizes)
    if "codes" in values["posterior"]:
        coded = [n for n, p in domain.priors.items() if p.kind in ("vae", DETERMINISTIC)]
        with _under(f"{path}.posterior: codes are of priors of kind vae; "):
            check_one_of("priors", section.priors, coded)
    every, epochs = max(values["evaluate_every"]), min(values["epochs"])
    expected = f"expected at most epochs ({epochs}), found {every}"
    _check(every <= epochs, f"{path}.evaluate_every: {expected}")


def _check_convergence(name: str, domain: Domain, sizes: Mapping[str, int]) -> None:
    section, path = domain.convergence[name], f"convergence.{name}"
    _check_inits(path, section.inits, domain)
    every, steps = section.evaluate_every, section.steps
    expected = f"expected at most steps ({steps}), found {every}"
    _check(every <= steps, f"{path}.evaluate_every: {expected}")
    drawing = section.kind == "image-vae"
    for setting in ("latent", "sample_steps"):
        expected = "missing; expected a value" if drawing else "only an image-vae has it"
        given = getattr(section, setting) is not None
        _check(given == drawing, f"{path}.{setting}: {expected}")
    layers = ("encoder1", "encoder2") if drawing else sizes
    _check_each(f"{path}.filters", section.filters, layers)
    for step in section.sample_steps or ():
        expected = f"expected multiples of evaluate_every ({every}) up to steps ({steps})"
        fits = step == steps or (step < steps and step % every == 0)
        _check(fits, f"{path}.sample_steps: {expected}, found {step}")
    vae = class_facts("network", IMAGE_VAE, {}, "kernel_sizes", "kernels_of")
    for own, layer in vae["kernels_of"].items() if drawing else ():
        size = vae["kernel_sizes"][own]
        expected = f"expected a layer {layer} of size {size}, for the kernels of the VAE's {own}"
        _check(sizes.get(layer) == size, f"{path}: {expected}; '{domain.network}' has none")
