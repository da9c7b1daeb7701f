"""Bayesian convolutions: a factorised posterior over the weights, point estimates elsewhere."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import Precision, products
from dwp.errors import UserError, check_count, check_one_of
from dwp.nn.matching import Priors, match_priors
from dwp.nn.predict import Draws, draws_of, prediction, running, source_of
from dwp.priors.base import KernelPrior
from dwp.priors.kl import DEFAULT, Estimation, kl_divergence
from dwp.priors.posteriors import GaussianCodes, GaussianKernels, Gaussians, MultiplicativeKernels
from dwp.seeds import Source, seeded, standard_normal

__all__ = ["BayesianConv2d", "CodeConv2d", "bayesian_layers", "bayesianize", "kl", "prediction"]

PosteriorKind = Literal["additive", "multiplicative"]
"""How a Gaussian posterior is parametrised; see `BayesianConv2d`."""

_BEFORE_PRUNING = "weight_orig", "codes_orig", "log_variance_orig"
_LEAST_VARIANCE = 1e-12  # keeps the gradient of the square root finite where an input is all 0


class BayesianConv2d(nn.Conv2d):
    """A convolution whose weights have a factorised Gaussian posterior.

    `weight` is the posterior's mean, so that whatever initialises a `torch.nn.Conv2d` initialises
    this. The bias is a point estimate. `forward` draws the outputs from their Gaussian given the
    inputs (local reparametrisation, Kingma et al. 2015): each pixel and each image has its own
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
        posterior_kind: "additive" or "multiplicative".
        generator: where the noise is drawn from; None: from torch's global generator. Set to a
            seed it becomes a generator of that seed.
        runs: of how many runs the layer holds the filters, one run's after another's (see
            `dwp.nn.stack`).
        sampling: whether to draw outputs or to use the mean weights.

    Raises:
        UserError: an unknown kind of posterior; later, what leaves the variance behind: another
            parameter as the weight of an additive posterior, pruning, `torch.jit.script`.
    """

    generator: Source = None
    runs = 1
    sampling = True
    posterior_kind: str | None = None
    _loading = False

    def __init__(
        self,
        *arguments: Any,
        prior: KernelPrior | None = None,
        posterior: PosteriorKind | None = None,
        log_variance: float = -10.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._start(prior, posterior, log_variance)

    def _start(self, prior: KernelPrior | None, posterior: str | None, log_variance: float) -> None:
        """Add a posterior to a convolution, around the weights that it has."""
        self.prior = prior
        posterior = self.posterior_kind or posterior
        self.posterior_kind = _posterior_kind(self.kernel_size, prior, posterior)
        self._move_prior()
        self._add_parameters(log_variance)

    def _add_parameters(self, log_variance: float) -> None:
        self.log_variance = nn.Parameter(torch.full_like(self.weight.detach(), log_variance))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "prior":  # were it a submodule, it would be trained and saved
            self.__dict__[name] = value
        elif name == "generator":  # one for all passes, which move it on
            super().__setattr__(name, seeded(value, self.weight.device))
        else:
            super().__setattr__(name, value)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter; see `torch.nn.Module.register_parameter`.

        Raise `UserError` for another weight, or for one to be pruned: both would leave the variance
        behind.
        """
        own, known = self._parameters, self._parameters.get(name, param)
        follows = self._loading or self.posterior_kind in (None, "multiplicative")
        if name == "weight" and known is not param and not follows:
            raise UserError(
                "weight: found another parameter; fuse before dwp.bayesianize, or use weight.copy_"
            )
        # as `torch.nn.utils.prune` calls the parameter that it is about to mask
        if name in _BEFORE_PRUNING and name.removesuffix("_orig") in own:
            raise UserError("pruning: prune and prune.remove before dwp.bayesianize, not after")
        super().register_parameter(name, param)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._loading = True  # by assign=True the weight is another parameter, and so the variance
        super()._load_from_state_dict(*arguments, **options)
        self._loading = False

    def __prepare_scriptable__(self) -> None:
        raise UserError("torch.jit.script: no Bayesian layers; use torch.export or torch.compile")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BayesianConv2d":
        super()._apply(fn, recurse)
        self._move_prior()
        return self

    def _move_prior(self) -> None:
        # moved, not given to `fn`, which may make new numbers (`to_empty`): a state dict brings
        # those of a layer back, but not a prior's
        if self.prior is not None and not self.weight.is_meta:
            self.prior.to(self.weight.device, self.weight.dtype)

    @property
    def posterior(self) -> Gaussians:
        """The posterior over kernels (out, in / groups, k, k)."""
        if self.posterior_kind == "multiplicative":
            return MultiplicativeKernels(self.weight, F.logsigmoid(self.log_variance))
        return GaussianKernels(self.weight, self.log_variance)

    def forward(self, input: Any) -> Tensor:  # the name is that of torch.nn.Conv2d
        """Return a draw of the outputs (n, out, h', w'), or the output of the mean weights."""
        if isinstance(input, torch.fx.Proxy):  # a leaf to every tracer, as torch's own layers are
            tracer: Any = input.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), {})
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # also what a bound `forward` calls that was taken before the layer turned Bayesian
        if input.dim() == 3:  # one image (in, h, w)
            return self._conv_forward(input[None], weight, bias)[0]
        if running():
            return self._predict(input)  # pyright: ignore
        return self._outputs(input, Draws(self.sampling, self.generator))

    @torch.compiler.disable
    def _predict(self, inputs: Tensor) -> Tensor:
        return self._outputs(inputs, draws_of(self))

    def _outputs(self, inputs: Tensor, draws: Draws) -> Tensor:
        if not draws.sampling:
            return self._convolution(inputs, self.weight, self.bias)
        call, (source, runs) = draws.call(self), source_of(self, draws.generator)
        mean, deviation = draws.kept(call, lambda: self.moments(inputs), inputs)
        channels, *size = mean.shape[1:]

        def draw(n: int) -> Tensor:  # (n, out, h', w')
            # torch fills a channels-last tensor one number at a time: fill a plain one, permute it
            numbers = standard_normal((runs, n, *size, channels // runs), source, mean)
            return numbers.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)

        noise = draws.noise((call, mean.shape[1:]), draw, len(mean))
        return torch.addcmul(mean, deviation, noise)

    def _convolution(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(inputs, weight, bias)

    def moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the outputs given inputs (n, in, h, w)."""
        mean = self._convolution(inputs, self.weight, self.bias)
        variances = self.posterior.variance
        if variances.stride() != self.weight.stride():
            # the outputs' layout follows the weights'; were it not that of the mean, all that
            # follows would be slow
            variances = torch.empty_like(self.weight).copy_(variances)
        variance = self._convolution(inputs.square(), variances, None)
        if variance.dtype == torch.float16:  # in which the least variance is 0
            variance = variance.float()
        return mean, variance.clamp_min(_LEAST_VARIANCE).sqrt().to(mean.dtype)


class CodeConv2d(BayesianConv2d):
    """A convolution whose kernels are decoder means of codes with a Gaussian posterior.

    Every kernel has a latent code of its own: `codes` holds their means (out, in / groups, latent),
    `log_variance` their log-variances, and a kernel is the decoder's mean for its code, so that the
    layer cannot leave what the VAE makes of codes. `forward` draws every code once, for all images
    of the pass; with `sampling = False` it uses the mean codes. The bias is a point estimate.
    `weight` holds the kernels whose mean codes the layer starts from; nothing else depends on it,
    and it is not trained.

    Args:
        *arguments: as for `torch.nn.Conv2d`.
        prior: a `dwp.priors.vae.KernelVAE`; see `BayesianConv2d`.
        log_variance: start of the codes' log-variance.
        **options: as for `torch.nn.Conv2d`.

    Raises:
        UserError: another kind of prior, or one of kernels of another size.
    """

    posterior_kind = "codes"

    @torch.no_grad()
    def _add_parameters(self, log_variance: float) -> None:
        weight, vae = self.weight, cast(Any, self.prior)
        codes = weight.new_empty(*weight.shape[:2], vae.latent)
        if not weight.is_meta:
            codes.copy_(vae.encode(weight.flatten(0, 1))[0].view_as(codes))
        self.codes = nn.Parameter(codes, weight.requires_grad)
        self.log_variance = nn.Parameter(torch.full_like(codes, log_variance))
        weight.requires_grad_(False)

    @property
    def posterior(self) -> GaussianCodes:
        """The posterior over codes (out, in / groups, latent)."""
        return GaussianCodes(self.codes, self.log_variance)

    def _outputs(self, inputs: Tensor, draws: Draws) -> Tensor:
        if "weight" not in self._parameters and not hasattr(self, "_is_replica"):
            raise UserError("weight: a layer over codes does not use it; parametrise its `codes`")
        call, (source, _) = draws.call(self), source_of(self, draws.generator)
        codes, vae = self.codes, cast(Any, self.prior)

        def kernels() -> Tensor:  # (out, in / groups, k, k)
            if not draws.sampling:
                return vae.kernel_means(codes)
            shape = codes.shape
            noise = draws.noise(call, lambda _: standard_normal(shape, source, codes), len(codes))
            return vae.kernel_means(self.posterior.at(noise))

        weight = draws.kept((call, draws.sample), kernels)
        return self._convolution(inputs, weight, self.bias)


def _posterior_kind(
    kernel_size: tuple[int, ...], prior: KernelPrior | None, posterior: str | None
) -> str:
    """Return the kind of a layer's posterior, if it can have it."""
    if posterior is None:
        return (prior or KernelPrior).posterior_kind
    if posterior == "codes":
        kind = getattr(prior, "kind", "none")
        if kind != "vae":
            raise UserError(f"posterior: codes are of priors of kind vae; found '{kind}'")
        size = cast(KernelPrior, prior).kernel_size
        if kernel_size != (size, size):
            raise UserError(f"prior: expected kernels of {kernel_size}, found {size} x {size}")
    else:
        check_one_of("posterior", posterior, get_args(PosteriorKind))
    return posterior


def bayesianize(
    net: nn.Module,
    prior: Priors | None,
    *,
    layers: Iterable[str] | None = None,
    posterior: PosteriorKind | Literal["codes"] | None = None,
    log_variance: float | Mapping[str, float] = -10.0,
) -> nn.Module:
    """Turn convolutions of a net Bayesian, in place, keeping their weights as the means.

    A layer stays the same object, and so do its weight and bias: whatever holds them (lists,
    hooks, optimisers, averages) goes on holding the right ones. What is added is a parameter,
    `log_variance` (under codes also `codes`, which the layer then computes with in place of its
    weight): an optimiser that was made before does not train it.

    Each layer remembers its prior, where `dwp.kl` finds it: a frozen copy, one for all layers that
    share a prior. It goes with the net to another device or type and into copies of the net, but
    is no parameter of it and not in its `state_dict`: to load one, build the net in the same way.
    All else in the net stays a point estimate. docs/tools.md says which of PyTorch's tools take a
    Bayesian net.

    Args:
        net: any module with `torch.nn.Conv2d` modules. Their strides, padding, dilation, groups
            and biases are kept. A layer that the net uses twice stays one layer.
        prior: one prior for all of the net's convolutions; or priors by the layer's name, as in
            `net.named_modules()`, or by the size k of its k x k kernels. In place of a prior, what
            `dwp.load_prior` takes. "mnist" stands for the pretrained priors of that name by their
            size, `mnist-7x7` and `mnist-5x5`. None: no priors, which is enough to predict.
        layers: names of the layers to turn Bayesian; None: those that `prior` names, or every
            convolution that is not Bayesian yet if it names none.
        posterior: "additive" or "multiplicative" (see `BayesianConv2d`), or "codes" under VAE
            priors (see `CodeConv2d`); None: the kind that goes with each prior.
        log_variance: where the posterior's log-variance starts, for all layers or by the layer's
            name. It is part of the model: Adam moves it by at most the step size a step, so that
            the way from -10 takes thousands. A narrow posterior feels only the prior's density,
            whose modes draw kernels; a VAE's decoder has a variance of about exp(-5) to exp(-8).

    Returns:
        The net.

    Raises:
        UserError: the net contains no convolution, a name is not one of its convolutions, or a
            layer has no prior over kernels of its size, has no weight yet (lazy layers), is of a
            class derived from `torch.nn.Conv2d`, shares its weight or bias with another layer, has
            a weight that is computed from others (weight norm) or a `forward` of its own.
    """
    convolutions = {
        name: module
        for name, module in net.named_modules()
        if name and isinstance(module, nn.Conv2d) and not isinstance(module, BayesianConv2d)
    }
    if not convolutions:
        raise UserError("net: expected a module that contains a torch.nn.Conv2d, found none in it")
    matched = match_priors(convolutions, prior, layers)
    for name, own in matched.items():
        _check_convolution(net, name, convolutions[name])
        _posterior_kind(convolutions[name].kernel_size, own, posterior)
    for name, own in copy.deepcopy(matched).items():  # what is shared stays so among the copies
        if own is not None:
            own.requires_grad_(False)
        layer: Any = convolutions[name]
        # as torch's own lazy and parametrised layers do: only so the object stays the same
        layer.__class__ = CodeConv2d if posterior == "codes" else BayesianConv2d
        start = log_variance[name] if isinstance(log_variance, Mapping) else log_variance
        layer._start(own, posterior, start)
    return net


def _check_convolution(net: nn.Module, name: str, layer: nn.Conv2d) -> None:
    changed, found = "forward" in vars(layer), type(layer).__name__
    if changed or type(layer) is not nn.Conv2d:
        found = f"{found} with a forward of its own" if changed else found
        raise UserError(f"layer '{name}': expected a plain Conv2d, found {found}; use layers=")
    own = set(layer.parameters(recurse=False))
    if any(own.intersection(m.parameters(recurse=False)) for m in net.modules() if m is not layer):
        raise UserError(f"layer '{name}': shares parameters with another; use one layer twice")


def bayesian_layers(net: nn.Module) -> dict[str, BayesianConv2d]:
    """Return the Bayesian convolutions of a net by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, BayesianConv2d)}


@torch.compiler.disable  # priors take shortcuts that a compiler cannot follow
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

    It is summed over kernels, not averaged: `dwp.negative_elbo` adds it to the cross-entropy of all
    training examples. Under the Deep Weight Prior it is an unbiased estimate of the upper bound of
    Atanov et al. 2019; for other pairs of posterior and prior see `dwp.priors.kl_nature`.

    Args:
        net: a net with Bayesian layers (see `bayesianize`), or a stack of R of them (see
            `dwp.nn.stack`).
        generator: for KLs that are estimated, and for the choice of kernels: a generator or a seed
            (which gives the same draws in every call: in a training loop, make one generator before
            it); for a stack one for each run, each of which is used as for the run alone.
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
    check_one_of("reduction", reduction, ("sum", "layer", "kernel"))
    if kernels_per_step is not None:
        check_count("kernels_per_step", kernels_per_step)
        if reduction == "kernel":
            raise UserError("kernels_per_step: expected none with reduction 'kernel'")
    found: dict[str, Tensor] = {}
    generator = seeded(generator, next(iter(layers.values())).weight.device)
    for name, layer in layers.items():
        if layer.prior is None:
            raise UserError(f"layer '{name}': expected a prior, found none; set its `prior`")
        posterior, runs = cast(Any, layer.posterior), layer.runs
        if posterior.mean.dtype == torch.float16:
            raise UserError(f"layer '{name}': found float16; use float32, with torch.autocast")
        kernels, scale = posterior.mean.shape[:2].numel() // runs, 1.0
        if kernels_per_step is not None and kernels_per_step < kernels:
            # the indices of the largest of random numbers: a choice without replacement
            numbers = standard_normal((runs, kernels), generator, posterior.mean)
            chosen = numbers.topk(kernels_per_step).indices  # (R, kernels_per_step)
            first = kernels * torch.arange(runs, device=chosen.device)  # kernel of each run
            posterior = posterior.select((first[:, None] + chosen).flatten())
            scale = kernels / kernels_per_step
        with products(precision if layer.prior.trained else "float32", posterior.mean.device.type):
            values = kl_divergence(posterior, layer.prior, generator, estimation)
        total = scale * values.view(runs, -1).sum(1).squeeze(0)
        found[name] = values if reduction == "kernel" else total
    return torch.stack(list(found.values())).sum(0) if reduction == "sum" else found
