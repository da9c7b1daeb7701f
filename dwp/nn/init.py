"""Initial weights drawn from a prior over kernels, for any net: in place, like `torch.nn.init`."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

from dwp.nn.bayesian import CodeConv2d
from dwp.nn.matching import Priors, match_priors
from dwp.nn.networks import initialise_xavier
from dwp.priors.base import KernelPrior
from dwp.seeds import seeded


@torch.no_grad()
def from_prior_(
    net: nn.Module,
    prior: Priors,
    generator: torch.Generator | int,
    *,
    layers: Iterable[str] | None = None,
) -> nn.Module:
    """Set the weights of convolutions, in place, to kernels drawn from priors.

    What is drawn is `KernelPrior.initial`: of the Deep Weight Prior decoder means, as in the paper
    (Atanov et al. 2019), of other kinds samples. Biases stay as they are. How a net starts and
    what prior it has are separate choices: of a Bayesian layer the means are set, whatever its
    prior.

    Args:
        net: any module. A layer is a `torch.nn.Conv2d` or a `torch.nn.ConvTranspose2d`, whose
            kernels are what it draws around each pixel.
        prior: one prior for all of the net's convolutions; or priors by the layer's name, as in
            `net.named_modules()`, or by the size k of its k x k kernels. A name or a file stands
            for a prior, and "mnist" for the pretrained priors of all sizes, as in
            `dwp.bayesianize`.
        generator: the source of the draws, on the device of the priors; or a seed.
        layers: names of the layers to set; None: those that `prior` names, or every convolution
            if it names none.

    Returns:
        The net.

    Raises:
        UserError: a name is no convolution of the net, a layer has kernels of another size than
            its prior, a posterior over codes, no weight yet (lazy layers) or one that is computed
            from others (weight norm), or a prior is improper, so that there is nothing to draw.
    """
    convolutions = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        and not isinstance(module, CodeConv2d)
    }
    matched = cast(dict[str, KernelPrior], match_priors(convolutions, prior, layers))
    states = [tensor for each in matched.values() for tensor in each.state_dict().values()]
    generator = seeded(generator, states[0].device if states else "cpu")
    for name, of_layer in matched.items():
        weight = convolutions[name].weight
        kernels = of_layer.initial(weight.shape[:2].numel(), generator)  # (out * in, k, k)
        weight.copy_(kernels.view(weight.shape))
    return net


def initialise(net: nn.Module, init: Priors | None, generator: torch.Generator) -> None:
    """Set all weights of a net Xavier-normal, then kernels to those of `init`, if not None."""
    initialise_xavier(net, generator)
    if init is not None:
        from_prior_(net, init, generator)
