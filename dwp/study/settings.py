"""A workflow's config: how it is read, what its schema cannot check, what each stage takes of it.

Beside it the environment that the jobs run in.
"""

import json
import math
import os
import re
import reprlib
from collections.abc import Collection, Hashable, Iterable, Mapping
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dwp.data import registered
from dwp.data.choice import check_ranges, dataset_of, share_images
from dwp.errors import UserError
from dwp.nn.image_vae import ImageVAE
from dwp.nn.networks import network_class
from dwp.priors import KINDS, KernelPrior, load_prior, prior_class
from dwp.priors.kinds import REQUIRED
from dwp.priors.pretrained import pretrained
from dwp.records import parse_json
from dwp.variants import BAYESIAN_SETTINGS, GRID, combinations, listed

DETERMINISTIC = "deterministic"
"""The `kind` of an entry of `priors` that stands for a point estimate."""

XAVIER = "xavier"
"""The init that is no prior."""

JOB_ENVIRONMENT = {
    # Snakemake sets them to what it grants a job, and sums depend on the number of threads
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    # glibc otherwise gives large blocks back to the system at every training step
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_ARENA_MAX": "2",
}
"""What makes a job of the workflow fast, and its results the same: its environment variables."""


def as_json(settings: Any) -> str:
    """Return settings as JSON text that does not depend on their order."""
    return json.dumps(settings, sort_keys=True)


def source_settings(domain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the source nets of a domain's section depend on."""
    jobs = ("count", "runs_per_job")
    own = {key: value for key, value in domain["source_nets"].items() if key not in jobs}
    return {"network": domain["network"], **own}


def kernel_settings(domain: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """Return what the kernels of one layer depend on beside the source nets."""
    section = domain["kernels"]
    return {"test_fraction": section["test_fraction"], **section["layers"][layer]}


def prior_settings(domain: Mapping[str, Any], prior: str, layer: str) -> dict[str, Any]:
    """Return what the prior of one layer depends on beside its kernels."""
    section = domain["priors"][prior]
    return {
        "kind": section["kind"],
        "arguments": section.get("layers", {}).get(layer, {}),
        "training": section.get("training", {}).get(layer),
    }


def prior_place(section: Mapping[str, Any], layer: str) -> str:
    """Return where a layer's prior comes from: it is "released", "pretrained" or "fitted" here."""
    places = ("released", "pretrained")
    return next((place for place in places if layer in section.get(place, {})), "fitted")


def ignored_settings(kind: str) -> tuple[str, ...]:
    """Return the settings of the classification that mean nothing to nets under a kind of prior."""
    if kind == DETERMINISTIC:
        return BAYESIAN_SETTINGS
    return tuple(set(KernelPrior.kl_settings) - set(prior_class(kind).kl_settings))


def settings_of_prior(domain: Mapping[str, Any], prior: str) -> dict[str, Any]:
    """Return what a prior's section says of the nets' training, beside the settings of all nets."""
    section = domain["priors"][prior]
    of_nets = {"members"} if section["kind"] != DETERMINISTIC else set(section) - {"kind"}
    return {key: value for key, value in section.items() if key in of_nets}


_MOST_VALUES = 100_000
"""In a config, with its anchors filled in: more than any study needs."""

_MOST_RUNS = 100_000
"""Of a domain's source nets, and of its classification."""

_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxdict = 12
_REPR.maxstring = _REPR.maxother = 200


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Read a config of the workflow, YAML or JSON, as data: nothing in it is executed.

    Needs PyYAML, which comes with Snakemake.

    Raises:
        UserError: the file is missing, unreadable, neither YAML nor JSON, or not a mapping; a
            setting stands twice in it; or it asks for code (`__use_yte__`) or grows without
            bounds by its anchors.
    """
    import yaml  # a bare machine may lack it

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            # `<<` takes another mapping's settings, which those beside it may replace
            keys = [key for key, _ in node.value if not key.tag.endswith(":merge")]
            names = [self.construct_object(key, deep=True) for key in keys]
            for name, key in zip(names, keys, strict=True):
                if isinstance(name, Hashable) and names.count(name) > 1:
                    raise UserError(
                        f"{path}: expected every setting once, found {name} again in line "
                        f"{key.start_mark.line + 1}; remove one"
                    )
            return super().construct_mapping(node, deep)

    try:
        text = Path(path).read_text(encoding="utf-8")
        try:
            config = parse_json(text, path) if text.lstrip().startswith("{") else None
        except UserError:
            config = None  # YAML may begin with a brace as well
        config = yaml.load(text, Loader) if config is None else config
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except RecursionError:
        raise UserError(f"{path}: expected YAML, found it nested too deeply") from None
    except (ValueError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected YAML, found {reason}; mend the file") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected settings by name, found {type(config).__name__}")
    if "__use_yte__" in config:
        raise UserError(f"{path}: expected settings, found __use_yte__, which runs code; remove it")
    check_size(config, path)
    return config


def check_size(config: Any, place: str | os.PathLike) -> None:
    """Refuse what grows without bounds by its anchors, before anything walks through it.

    Raises:
        UserError: there are more than 100,000 values.
    """
    todo, found = [config], 0
    while todo:
        value = todo.pop()
        parts = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, (Mapping, list)):
            found += len(value)
            todo += parts
        if found > _MOST_VALUES:
            raise UserError(
                f"{place}: expected at most {_MOST_VALUES} values, found more, or an anchor within "
                "itself; write fewer"
            )


def describe_refusal(error: Any) -> str:
    """Return a schema's refusal in one line: the setting, what was expected, what was found.

    Args:
        error: a `jsonschema.ValidationError`.
    """
    place = ".".join(map(str, error.absolute_path)) or "the config"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = sorted(map(str, set(error.instance) - set(allowed)))
        return f"{place}: unknown {', '.join(unknown)}; expected only {', '.join(allowed)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        return f"{place}: missing {', '.join(missing)}"
    found = _REPR.repr(error.instance)
    return f"{place}: expected {error.validator} {error.validator_value}; found {found}"


def check_settings(config: Mapping[str, Any]) -> None:
    """Check that every name in a config that fits the schema stands for something.

    Raises:
        UserError: one line that names the setting, what was found and what is allowed.
    """
    _check_numbers("", config)
    if config.get("tensorboard") and find_spec("tensorboard") is None:
        raise UserError(
            "tensorboard: expected the package of that name for true, found none; run"
            " pip install tensorboard, or set it to false"
        )
    check_name("name", config["name"])
    for name, domain in config["domains"].items():
        check_name("domains", name)
        for prior in domain["priors"]:
            check_name(f"domains.{name}.priors", prior)
        _check_domain(f"domains.{name}", domain)


def check_config(config: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Check a config that no schema was held against.

    Raises:
        UserError: as `check_settings`, or it does not fit the schema.
    """
    try:
        check_settings(config)
    except (AttributeError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: expected a config that Snakemake accepts, found another ({error}); check it "
            "with snakemake -n"
        ) from None


def check_name(place: str, name: object) -> None:
    """Refuse what would lead out of the results' folder; without Snakemake no schema does.

    Raises:
        UserError: the name is not one of letters, digits, - and _.
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)):
        raise UserError(f"{place}: expected a name of letters, digits, - and _; found {name!r}")


def check_one_of(place: str, found: object, allowed: Iterable[str]) -> None:
    """Raise `UserError`, which tells the allowed names, if what was found is none of them."""
    allowed = list(allowed)
    if found not in allowed:
        raise UserError(f"{place}: expected one of {', '.join(allowed)}; found '{found}'")


_FRACTIONAL = {
    *("learning_rate", "l2", "log_variance", "threshold", "quantile", "test_fraction"),
    *("kl_temperature", "dropout", "shift", "warp", "checkpoint_minutes", "scales", "levels"),
}


def _check_numbers(place: str, value: object) -> None:
    """Refuse NaN, infinity, and 300.0 for 300: to JSON schema that is an integer."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_numbers(f"{place}.{key}".lstrip("."), part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _check_numbers(f"{place}.{number}", part)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{place}: expected a finite number, found {value}")
        names = place.split(".")[-2:]  # a number of a list stands in a place of its own
        if not set(names) & _FRACTIONAL and ".layers." not in place:
            raise UserError(f"{place}: expected an integer, found {value}")


def _check_runs(place: str, domain: Mapping[str, Any]) -> None:
    section = domain["classification"]
    lists = [section[key] for key in GRID.values()] + list(listed(section).values())
    runs = {
        "source_nets.count": domain.get("source_nets", {}).get("count", 0),
        "classification": math.prod(map(len, lists)),
    }
    for name, number in runs.items():
        if number > _MOST_RUNS:
            raise UserError(f"{place}.{name}: expected at most {_MOST_RUNS} runs, found {number}")


def _check_domain(place: str, domain: Mapping[str, Any]) -> None:
    _check_runs(place, domain)
    try:
        network = network_class(domain["network"])
    except UserError as error:
        raise UserError(f"{place}.network: {error}") from None
    _check_data(f"{place}.data", domain, network.image_shape)
    network_layers = network.kernel_sizes
    for stage in ("source_nets", "classification", "features"):
        if stage in domain:
            _check_filters(f"{place}.{stage}", domain[stage]["filters"], network_layers)
    layers = domain["kernels"]["layers"]
    for layer in network_layers:
        if layer not in layers:
            raise UserError(f"{place}.kernels.layers: expected {layer} as well")
    for layer, section in layers.items():
        check_one_of(f"{place}.kernels.layers.{layer}", layer, network_layers)
        collected = "threshold" in section or "quantile" in section
        if collected and not ("source_nets" in domain and "test_fraction" in domain["kernels"]):
            raise UserError(
                f"{place}.kernels.layers.{layer}: kernels of our own need the settings source_nets "
                "and kernels.test_fraction"
            )
    for prior, section in domain["priors"].items():
        _check_prior(f"{place}.priors.{prior}", section, layers, domain["priors"])
        for layer, name in section.get("pretrained", {}).items():
            setting = f"{place}.priors.{prior}.pretrained.{layer}"
            _check_pretrained(setting, name, section["kind"], network_layers[layer])
    _check_classification(f"{place}.classification", domain, network_layers)
    if "features" in domain:
        _check_features(f"{place}.features", domain)
    for experiment, section in domain.get("convergence", {}).items():
        _check_convergence(f"{place}.convergence.{experiment}", section, domain, network_layers)


def _check_filters(place: str, filters: Collection[int], layers: Collection[str]) -> None:
    if len(filters) != len(layers):
        raise UserError(
            f"{place}.filters: expected {len(layers)} numbers, one for each of "
            f"{', '.join(layers)}; found {filters}"
        )


def _check_data(place: str, domain: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    for role, choice in domain["data"].items():
        setting = f"{place}.{role}"
        dataset = dataset_of(choice)
        try:
            _, found, classes = registered(dataset)
        except UserError as error:
            raise UserError(f"{setting}: {error}") from None
        if found != shape:
            raise UserError(
                f"{setting}: network '{domain['network']}' takes images of "
                f"{'x'.join(map(str, shape))}, those of '{dataset}' are {'x'.join(map(str, found))}"
                "; take another data set or network"
            )
        if isinstance(choice, str):
            continue
        for label in choice.get("classes", ()):
            if label >= classes:
                raise UserError(
                    f"{setting}.classes: expected classes of '{dataset}', 0 to {classes - 1}; "
                    f"found {label}"
                )
        try:
            check_ranges(choice)
        except UserError as error:
            raise UserError(f"{setting}.{error}") from None
    if share_images(domain["data"]["source"], domain["data"]["target"]):
        raise UserError(
            f"{place}: source and target share images of '{dataset}'; kernels must come from "
            "another data set, or from other images of it (classes, train, test)"
        )


def _check_prior(
    place: str, section: Mapping[str, Any], layers: Mapping[str, Any], priors: Mapping[str, Any]
) -> None:
    if place.endswith(f".{XAVIER}"):
        raise UserError(f"{place}: '{XAVIER}' names an init; call the prior something else")
    check_one_of(f"{place}.kind", section["kind"], [*KINDS, DETERMINISTIC])
    expected: set[str] = set()
    optional: set[str] = set()
    released = section.get("released", {}) if section["kind"] == "vae" else {}
    pretrained = section.get("pretrained", {}) if section["kind"] != DETERMINISTIC else {}
    fitted = [layer for layer in layers if layer not in {**released, **pretrained}]
    if section["kind"] == DETERMINISTIC:
        expected, optional = {"l2"}, {"members", "dropout", "penalty"}
    else:
        kind = prior_class(section["kind"])
        if fitted:
            expected |= {"layers"} if KINDS[section["kind"]].hyperparameters else set()
            expected |= {"training"} if kind.trained else set()
        expected |= {"released"} if released else set()
        expected |= {"pretrained"} if pretrained else set()
        optional = {"reconstructed_by"} if section["kind"] == "empirical" else {"members"}
    found = set(section) - {"kind"}
    if not expected <= found <= expected | optional:
        raise UserError(
            f"{place}: expected kind{''.join(f', {key}' for key in sorted(expected))}"
            f"{', optionally ' * bool(optional)}{', '.join(sorted(optional))}; found "
            f"{', '.join(sorted(section))}"
        )
    if section["kind"] == DETERMINISTIC:
        if "penalty" in section:
            with_density = [name for name, prior in priors.items() if _has_density(prior["kind"])]
            check_one_of(f"{place}.penalty", section["penalty"], with_density)
        return
    if "reconstructed_by" in section:
        vaes = [name for name, prior in priors.items() if prior["kind"] == "vae"]
        check_one_of(f"{place}.reconstructed_by", section["reconstructed_by"], vaes)
    for layer in released:
        check_one_of(f"{place}.released", layer, layers)
    for layer in pretrained:
        check_one_of(f"{place}.pretrained", layer, [one for one in layers if one not in released])
    for key in sorted(expected & {"layers", "training"}):
        for layer in section[key]:
            check_one_of(f"{place}.{key}", layer, fitted)
        for layer in fitted:
            if layer not in section[key]:
                raise UserError(f"{place}.{key}: expected {layer} as well")
    choices = KINDS[section["kind"]].hyperparameters
    needed = {name for name, choice in choices.items() if choice.default is REQUIRED}
    optional = "".join(f", optionally {name}" for name in sorted(set(choices) - needed))
    for layer, arguments in section.get("layers", {}).items():
        if not needed <= set(arguments) <= set(choices):
            raise UserError(
                f"{place}.layers.{layer}: expected {', '.join(sorted(needed))}{optional}; found "
                f"{', '.join(sorted(arguments)) or 'nothing'}"
            )
        for name, value in arguments.items():
            setting = f"{place}.layers.{layer}.{name}"
            if choices[name].type is int and not isinstance(value, int):
                raise UserError(f"{setting}: expected an integer, found {value}")
            if value == 0 and choices[name].positive:
                raise UserError(f"{setting}: expected a number above 0, found {value}")
    if kind.needs_kernels:
        for layer in fitted:
            if not layers[layer]:
                raise UserError(
                    f"{place}: fitted to kernels, and kernels.layers.{layer} gives none; set "
                    "threshold, quantile or released there"
                )


def _check_pretrained(place: str, name: str, kind: str, kernel_size: int) -> None:
    check_one_of(place, name, pretrained())
    prior = load_prior(name)
    if (prior.kind, prior.kernel_size) != (kind, kernel_size):
        raise UserError(
            f"{place}: expected a prior of kind {kind} over {kernel_size} x {kernel_size} kernels; "
            f"'{name}' is of kind {prior.kind} over {prior.kernel_size} x {prior.kernel_size}"
        )


def _has_density(kind: str) -> bool:
    return kind in KINDS and prior_class(kind).density is not None


def _check_classification(
    place: str, domain: Mapping[str, Any], network_layers: Iterable[str]
) -> None:
    section, priors = domain["classification"], domain["priors"]
    can_regularise = [name for name, prior in priors.items() if prior["kind"] != "empirical"]
    for name in section["priors"]:
        check_one_of(f"{place}.priors", name, can_regularise)
    _check_inits(f"{place}.inits", section["inits"], priors)
    both = sorted(set(section.get("vary", {})) & set(section.get("tune", {})))
    if both:
        raise UserError(f"{place}: {', '.join(both)} in both vary and tune; expected one of them")
    for values in combinations(section):
        run = {**section, **values}
        _check_filters(place, run["filters"], network_layers)
        for layer in run["bayesian_layers"]:
            check_one_of(f"{place}.bayesian_layers", layer, network_layers)
        for name in section["priors"] if run.get("posterior") == "codes" else ():
            if priors[name]["kind"] not in ("vae", DETERMINISTIC):
                raise UserError(
                    f"{place}.posterior: codes are of priors of kind vae; found {name} under priors"
                )
        _at_most(place, run, "evaluate_every", "epochs")


def _check_features(place: str, domain: Mapping[str, Any]) -> None:
    section = domain["features"]
    _check_inits(f"{place}.inits", section["inits"], domain["priors"])
    if len({float(Fraction(scale)) for scale in section["scales"]}) < len(section["scales"]):
        raise UserError(f"{place}.scales: expected different numbers, found {section['scales']}")


def _check_convergence(
    place: str,
    section: Mapping[str, Any],
    domain: Mapping[str, Any],
    network_layers: Mapping[str, int],
) -> None:
    _check_inits(f"{place}.inits", section["inits"], domain["priors"])
    _at_most(place, section, "evaluate_every", "steps")
    drawing = section["kind"] == "image-vae"
    layers = ("encoder1", "encoder2") if drawing else network_layers
    _check_filters(place, section["filters"], layers)
    for name in ("latent", "sample_steps"):
        if drawing != (name in section):
            expected = "expected as well" if drawing else "only an image-vae has it"
            raise UserError(f"{place}.{name}: {expected}")
    if not drawing:
        return
    every, steps = section["evaluate_every"], section["steps"]
    for step in section["sample_steps"]:
        if step > steps or (step % every and step != steps):
            raise UserError(
                f"{place}.sample_steps: expected multiples of evaluate_every ({every}) up to steps "
                f"({steps}), found {step}"
            )
    for own, layer in ImageVAE.kernels_of.items():
        if network_layers.get(layer) != ImageVAE.kernel_sizes[own]:
            raise UserError(
                f"{place}: an image-vae takes the kernels of its {own} from a layer {layer} of "
                f"size {ImageVAE.kernel_sizes[own]}; the network '{domain['network']}' has none"
            )


def _check_inits(place: str, inits: Iterable[str], priors: Mapping[str, Any]) -> None:
    improper = (DETERMINISTIC, "log-uniform")
    can_start = [name for name, prior in priors.items() if prior["kind"] not in improper]
    for name in inits:
        check_one_of(place, name, [XAVIER, *can_start])


def _at_most(place: str, section: Mapping[str, Any], name: str, limit: str) -> None:
    if section[name] > section[limit]:
        raise UserError(
            f"{place}.{name}: expected at most {limit} ({section[limit]}), found {section[name]}"
        )
