"""Bayesian convolutions: a factorised posterior over the weights, point estimates elsewhere."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import Precision, products
from dwp.errors import UserError
from dwp.nn.matching import Priors, match_priors
from dwp.nn.modes import evaluating
from dwp.priors.base import KernelPrior
from dwp.priors.kl import DEFAULT, Estimation, kl_divergence
from dwp.priors.posteriors import GaussianCodes, GaussianKernels, MultiplicativeKernels
from dwp.seeds import Source, standard_normal

PosteriorKind = Literal["additive", "multiplicative"]
"""How a Gaussian posterior is parametrised; see `BayesianConv2d`."""
_HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"

_LEAST_VARIANCE = 1e-12  # keeps the gradient of the square root finite where an input is all 0


class BayesianConv2d(nn.Conv2d):
    """A convolution whose weights have a factorised Gaussian posterior.

    `weight` is the posterior's mean, so that whatever initialises a `torch.nn.Conv2d` initialises
    this. The bias is a point estimate. `forward` draws the outputs from their Gaussian given the
    inputs (local reparametrisation, Kingma et al. 2015): each place and each image has its own
    noise. With `sampling = False` it uses the mean weights.

    Args:
        *arguments: as for `torch.nn.Conv2d`.
        prior: over the layer's kernels, for `kl`; it follows the layer to another device or type,
            but is neither trained nor saved with it. None: none, until the attribute is set.
        posterior: "additive" (mean and log-variance) or "multiplicative" (mean and alpha, with
            variance alpha * mean^2 and alpha kept below 1 by a sigmoid); None: the kind that goes
            with the prior.
        log_variance: start of the log-variance, or of the logit of alpha.
        **options: as for `torch.nn.Conv2d`.

    Attributes:
        prior: the prior over the kernels, or None.
        generator: where the noise is drawn from.
        runs: of how many runs the layer holds the filters, one run's after another's (see
            `dwp.nn.stack`).
        sampling: whether to draw outputs or to use the mean weights.
    """

    def __init__(
        self,
        *arguments,
        prior: KernelPrior | None = None,
        posterior: PosteriorKind | None = None,
        log_variance: float = -10.0,
        **options,
    ) -> None:
        super().__init__(*arguments, **options)
        self.prior = prior
        if posterior is None:
            posterior = KernelPrior.posterior_kind if prior is None else prior.posterior_kind
        if posterior not in get_args(PosteriorKind):
            raise UserError(
                f"posterior: expected one of {', '.join(get_args(PosteriorKind))}; found "
                f"'{posterior}'"
            )
        self.posterior_kind = posterior
        self.log_variance = nn.Parameter(torch.full_like(self.weight, log_variance))
        self.generator: Source = None
        self.runs = 1
        self.sampling = True
        self._draws: Draws | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "prior":  # were it a submodule, it would be trained and saved
            self.__dict__["prior"] = value
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BayesianConv2d":
        super()._apply(fn, recurse)
        self._place_prior()
        return self

    def _place_prior(self) -> None:
        # moved, not given to `fn`, which may make new numbers (`to_empty`): a state dict brings
        # those of a layer back, but not a prior's
        if self.prior is not None and not self.weight.is_meta:
            self.prior.to(self.weight.device, self.weight.dtype)

    def start_from(self, plain: nn.Conv2d) -> None:
        """Set mean and bias to the weight and bias of a convolution of the same shape."""
        self.load_state_dict(plain.state_dict(), strict=False)

    @property
    def posterior(self) -> GaussianKernels:
        """The posterior over kernels (out, in / groups, k, k)."""
        if self.posterior_kind == "multiplicative":
            return MultiplicativeKernels(self.weight, F.logsigmoid(self.log_variance))
        return GaussianKernels(self.weight, self.log_variance)

    def moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the outputs given inputs (n, in, h, w)."""
        if self._draws is not None and self._draws.has_seen(self, inputs):
            return self._draws.moments[self]
        mean = self._conv_forward(inputs, self.weight, self.bias)
        variance = self._conv_forward(inputs.square(), self._variances(), None)
        if variance.dtype == torch.float16:  # in which the least variance is 0
            variance = variance.float()
        moments = mean, variance.clamp_min(_LEAST_VARIANCE).sqrt().to(mean.dtype)
        if self._draws is not None:
            self._draws.note(self, inputs)
            self._draws.moments[self] = moments
        return moments

    def _variances(self) -> Tensor:
        """Return the weights' variances, in the layout of the weights."""
        if (
            self._draws is not None
            and not torch.is_grad_enabled()
            and self in self._draws.variances
        ):
            return self._draws.variances[self]
        variances = self.posterior.variance
        if variances.shape[1] == 1:
            # the outputs' layout follows the weights', which of one channel is not clear; were it
            # not that of the mean, all that follows would be slow
            layout = self.weight.size(), self.weight.stride()
            variances = variances.new_empty_strided(*layout).copy_(variances)
        if self._draws is not None and not torch.is_grad_enabled():
            self._draws.variances[self] = variances
        return variances

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a draw of the outputs (n, out, h', w'), or the output of the mean weights."""
        if not self.sampling:
            return super().forward(inputs)
        mean, deviation = self.moments(inputs)
        return torch.addcmul(mean, deviation, self._noise(mean))

    def _noise(self, maps: Tensor) -> Tensor:
        if self._draws is None:
            return self._fresh_noise(maps)
        key = self._draws.place(self)
        known = self._draws.noise.get(key)
        if known is None or len(known) < len(maps) or known.shape[1:] != maps.shape[1:]:
            known = self._draws.noise[key] = self._fresh_noise(maps)
        return known[: len(maps)]

    def _fresh_noise(self, maps: Tensor) -> Tensor:
        # torch fills a channels-last tensor one number at a time: fill a plain one, then permute
        n, channels, *size = maps.shape
        noise = standard_normal((self.runs, n, *size, channels // self.runs), self.generator, maps)
        return noise.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)


class CodeConv2d(BayesianConv2d):
    """A convolution whose kernels are decoder means of codes with a Gaussian posterior.

    Every kernel has a latent code of its own: `weight` holds the codes' means (out, in / groups,
    latent), `log_variance` their log-variances, and a kernel is the decoder's mean for its code, so
    that the layer cannot leave what the VAE makes of codes. `forward` draws every code once, for
    all images of the pass; with `sampling = False` it uses the mean codes. The bias is a point
    estimate.

    Args:
        *arguments: as for `torch.nn.Conv2d`.
        prior: a `dwp.priors.vae.KernelVAE`; see `BayesianConv2d`.
        log_variance: start of the codes' log-variance.
        **options: as for `torch.nn.Conv2d`.

    Raises:
        UserError: another kind of prior, or one of kernels of another size.
    """

    def __init__(
        self, *arguments, prior: KernelPrior, log_variance: float = -10.0, **options
    ) -> None:
        super().__init__(*arguments, prior=prior, **options)
        if prior is None or prior.kind != "vae":
            found = getattr(prior, "kind", "none")
            raise UserError(f"posterior: codes are of priors of kind vae; found '{found}'")
        if self.kernel_size != (prior.kernel_size, prior.kernel_size):
            raise UserError(
                f"prior: expected kernels of {' x '.join(map(str, self.kernel_size))}, found "
                f"{prior.kernel_size} x {prior.kernel_size}"
            )
        means = self.weight.new_zeros((*self.weight.shape[:2], prior.latent))
        self.weight = nn.Parameter(means)
        self.log_variance = nn.Parameter(torch.full_like(means, log_variance))

    @property
    def posterior(self) -> GaussianCodes:
        """The posterior over codes (out, in / groups, latent)."""
        return GaussianCodes(self.weight, self.log_variance)

    @torch.no_grad()
    def start_from(self, plain: nn.Conv2d) -> None:
        """Set the mean codes to those of a convolution's kernels, and the bias to its bias."""
        kernels = plain.weight.flatten(0, 1)
        self.weight.copy_(self.prior.encode(kernels)[0].view_as(self.weight))
        if plain.bias is not None:
            self.bias.copy_(plain.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (n, out, h', w') by kernels of drawn codes, or of the mean codes."""
        if self._draws is None:
            return self._conv_forward(inputs, self._kernels(), self.bias)
        key = self._draws.place(self)
        if key not in self._draws.noise:
            self._draws.noise[key] = self._kernels()
        return self._conv_forward(inputs, self._draws.noise[key], self.bias)

    def _kernels(self) -> Tensor:
        codes = self.posterior.sample(self.generator) if self.sampling else self.weight
        return self.prior.kernel_means(codes)  # (out, in / groups, k, k)


def bayesianize(
    net: nn.Module,
    prior: Priors | None,
    *,
    layers: Iterable[str] | None = None,
    posterior: PosteriorKind | Literal["codes"] | None = None,
    log_variance: float = -10.0,
) -> nn.Module:
    """Turn convolutions of a net Bayesian, in place, keeping their weights as the means.

    Each layer remembers its prior, where `dwp.kl` finds it: a frozen copy, one for all layers that
    share a prior. It goes with the net to another device or type and into copies of the net, but
    is no parameter of it and not in its `state_dict`: to load one, build the net in the same way.
    All else in the net stays a point estimate.

    Args:
        net: any module with `torch.nn.Conv2d` modules. Their strides, padding, dilation, groups
            and biases are kept. A layer that the net has in several places stays one layer.
        prior: one prior for all of the net's convolutions; or priors by the layer's name, as in
            `net.named_modules()`, or by the size k of its k x k kernels. None: no priors, which is
            enough to predict.
        layers: names of the layers to turn Bayesian; None: those that `prior` names, or every
            convolution that is not Bayesian yet if it names none.
        posterior: "additive" or "multiplicative" (see `BayesianConv2d`), or "codes" under VAE
            priors (see `CodeConv2d`); None: the kind that goes with each prior.
        log_variance: where the posterior's log-variance starts. It is part of the model: Adam
            moves it by at most the step size a step, so that the way from -10 takes thousands.

    Returns:
        The net.

    Raises:
        UserError: the net contains no convolution, a name is not one of its convolutions, or a
            layer has no prior over kernels of its size, is of a class derived from
            `torch.nn.Conv2d`, shares its weight or bias with another layer, has a weight that is
            computed from others (weight norm) or has hooks.
    """
    convolutions = {
        name: module
        for name, module in net.named_modules()
        if name and isinstance(module, nn.Conv2d) and not isinstance(module, BayesianConv2d)
    }
    if not convolutions:
        raise UserError("net: expected a module that contains a torch.nn.Conv2d, found none in it")
    matched = match_priors(convolutions, prior, layers)
    bayesian = {}
    for name, own in copy.deepcopy(matched).items():  # what is shared stays so among the copies
        plain = convolutions[name]
        _check_convolution(net, name, plain)
        if own is not None:
            own.requires_grad_(False)
        bayesian[plain] = _bayesian(plain, own, posterior, log_variance)
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if module in bayesian:
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, bayesian[module])
    return net


def _check_convolution(net: nn.Module, name: str, layer: nn.Conv2d) -> None:
    if type(layer) is not nn.Conv2d:
        raise UserError(
            f"layer '{name}': expected a torch.nn.Conv2d itself, found {type(layer).__name__}; "
            "name the layers that are meant by layers="
        )
    own = set(layer.parameters(recurse=False))
    if any(own.intersection(m.parameters(recurse=False)) for m in net.modules() if m is not layer):
        raise UserError(
            f"layer '{name}': shares its weight or bias with another layer; use one layer in both "
            "places, or name the layers that are meant by layers="
        )
    if any(getattr(layer, hooks) for hooks in _HOOKS):
        raise UserError(
            f"layer '{name}': has hooks, which a Bayesian layer in its place would not; remove "
            "them, and register them on the Bayesian layer afterwards"
        )


def _bayesian(
    plain: nn.Conv2d,
    prior: KernelPrior | None,
    posterior: PosteriorKind | Literal["codes"] | None,
    log_variance: float,
) -> BayesianConv2d:
    kind = CodeConv2d if posterior == "codes" else partial(BayesianConv2d, posterior=posterior)
    layer = kind(
        plain.in_channels,
        plain.out_channels,
        plain.kernel_size,
        stride=plain.stride,
        padding=plain.padding,
        dilation=plain.dilation,
        groups=plain.groups,
        bias=plain.bias is not None,
        padding_mode=plain.padding_mode,
        device=plain.weight.device,
        dtype=plain.weight.dtype,
        prior=prior,
        log_variance=log_variance,
    )
    layer.start_from(plain)
    layer._place_prior()
    layer.weight.requires_grad_(plain.weight.requires_grad)
    if plain.bias is not None:
        layer.bias.requires_grad_(plain.bias.requires_grad)
    return layer.train(plain.training)


def bayesian_layers(net: nn.Module) -> dict[str, BayesianConv2d]:
    """Return the Bayesian convolutions of a net by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, BayesianConv2d)}


@dataclass
class Draws:
    """What the Bayesian layers of a net share while it predicts; see `prediction`.

    Attributes:
        sample: the number of the weight sample that the pass is one of.
        calls: how often each layer was called in the pass.
        noise: of each layer, call and sample; of a layer with codes, the kernels.
        variances: of each layer's weights.
        inputs: the tensor that each layer was given last, and the number of changes to it.
        moments: of each layer's outputs for that tensor.
    """

    sample: int = 0
    calls: dict[nn.Module, int] = field(default_factory=dict)
    noise: dict[tuple[nn.Module, int, int], Tensor] = field(default_factory=dict)
    variances: dict[nn.Module, Tensor] = field(default_factory=dict)
    inputs: dict[nn.Module, tuple[Tensor, int]] = field(default_factory=dict)
    moments: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def begin(self, sample: int) -> None:
        """Begin a pass of the net that belongs to a weight sample."""
        self.sample = sample
        self.calls.clear()

    def place(self, layer: nn.Module) -> tuple[nn.Module, int, int]:
        """Count a call of a layer in the pass; return the key of its noise."""
        self.calls[layer] = self.calls.get(layer, 0) + 1
        return layer, self.calls[layer], self.sample

    def has_seen(self, layer: nn.Module, inputs: Tensor) -> bool:
        """Tell whether a layer was given this tensor last, unchanged, or a like view of one."""
        known, changes = self.inputs.get(layer, (None, 0))
        if known is None or inputs.is_inference() or inputs._version != changes:
            return False
        return inputs is known or (
            inputs._base is not None
            and inputs._base is known._base
            and inputs.storage_offset() == known.storage_offset()
            and (inputs.shape, inputs.stride()) == (known.shape, known.stride())
        )

    def note(self, layer: nn.Module, inputs: Tensor) -> None:
        """Note what a layer was given; the changes of tensors of inference mode are not counted."""
        if not inputs.is_inference():
            self.inputs[layer] = inputs, inputs._version
        else:
            self.inputs.pop(layer, None)


@contextlib.contextmanager
def prediction(
    net: nn.Module, *, sampling: bool = True, generator: Source = None
) -> Iterator[Draws]:
    """Within the block, let the net's Bayesian layers draw from `generator`, or use their means.

    Every layer is in evaluation mode there: batch norm uses its running statistics, dropout does
    nothing. The noise of a sample is drawn once: passes that belong to the same sample (each to be
    begun by `Draws.begin`) share it, the first image of one with the first of another. For every
    image the outputs of the samples are independent draws from their distribution, as ever; what is
    shared makes images of different passes depend on each other, as they do under weights drawn
    once.

    A Bayesian layer that is given the same input again, the tensor itself or a view of the same
    part of it, reuses the moments of its outputs: the first layer's do not depend on the weight
    sample. Weights must not change within the block.
    """
    layers = bayesian_layers(net).values()
    before = [(layer.sampling, layer.generator) for layer in layers]
    draws = Draws()
    for layer in layers:
        layer.sampling, layer.generator, layer._draws = sampling, generator, draws
    try:
        with evaluating(net):
            yield draws
    finally:
        for layer, (sampled, source) in zip(layers, before, strict=True):
            layer.sampling, layer.generator, layer._draws = sampled, source, None


def kl(
    net: nn.Module,
    generator: Source = None,
    *,
    reduction: Literal["sum", "layer", "kernel"] = "sum",
    kernels_per_step: int | None = None,
    precision: Precision = "float32",
    estimation: Estimation = DEFAULT,
) -> Tensor | dict[str, Tensor]:
    """Return the KL of a net's posterior from the priors of its Bayesian layers, in nats.

    It is summed over kernels, not averaged: add it to N/B times the summed cross-entropy of a
    batch, N training examples, B of them in the batch. Under the Deep Weight Prior it is an
    unbiased estimate of the upper bound of Atanov et al. 2019; `dwp.priors.kl_nature` tells what
    it is of other pairs of posterior and prior.

    Args:
        net: a net with Bayesian layers (see `bayesianize`), or a stack of R of them (see
            `dwp.nn.stack`).
        generator: for KLs that are estimated, and for the choice of kernels; for a stack one for
            each run, each of which is used as for the run alone.
        reduction: "sum": of the whole net, () or (R,); "layer": of each Bayesian layer, by its
            name; "kernel": of each kernel (out, in / groups), by the layer's name.
        kernels_per_step: estimate a layer's KL, without bias, from this many of its kernels, drawn
            without replacement (None: from all). Cheaper, and the gradient is noisier.
        precision: of the products inside priors that are nets (see `dwp.devices.products`).
        estimation: how a KL is computed where there is a choice.

    Raises:
        UserError: the net has no Bayesian layer, or a layer no prior or weights in float16; an
            option is unknown or out of range.
        NotImplementedError: no KL is registered for a pair of posterior and prior.
    """
    layers = bayesian_layers(net)
    if not layers:
        raise UserError("net: expected Bayesian layers, found none; see dwp.bayesianize")
    if reduction not in ("sum", "layer", "kernel"):
        raise UserError(f"reduction: expected sum, layer or kernel; found '{reduction}'")
    if reduction == "kernel" and kernels_per_step is not None:
        raise UserError("kernels_per_step: expected none with reduction 'kernel'")
    if kernels_per_step is not None and kernels_per_step < 1:
        raise UserError(f"kernels_per_step: expected at least 1 or none, found {kernels_per_step}")
    found = {}
    for name, layer in layers.items():
        if layer.prior is None:
            raise UserError(f"layer '{name}': expected a prior, found none; set its `prior`")
        if layer.weight.dtype == torch.float16:
            raise UserError(
                f"layer '{name}': expected weights of at least bfloat16's range, found float16; "
                "keep the net in float32 and train it under torch.autocast"
            )
        posterior, runs = layer.posterior, layer.runs
        kernels = layer.weight.shape[0] * layer.weight.shape[1] // runs
        scale = 1.0
        if kernels_per_step is not None and kernels_per_step < kernels:
            # The places of the largest of random numbers: a choice without replacement
            numbers = standard_normal((runs, kernels), generator, layer.weight)
            chosen = numbers.topk(kernels_per_step).indices  # (R, kernels_per_step)
            first = kernels * torch.arange(runs, device=chosen.device)  # kernel of each run
            posterior = posterior.select((first[:, None] + chosen).flatten())
            scale = kernels / kernels_per_step
        with products(precision if layer.prior.trained else "float32", layer.weight.device.type):
            values = kl_divergence(posterior, layer.prior, generator, estimation)
        if reduction == "kernel":
            found[name] = values
        else:
            found[name] = scale * values.view(runs, -1).sum(1).squeeze(0)
    return sum(found.values()) if reduction == "sum" else found
