"""Many nets as one: on a GPU, small nets cost the launches of their kernels, not the arithmetic.

The nets of R runs become one net with R times the channels, in R groups that never meet. What
each run sees and draws is the same as alone, so that its results agree up to rounding.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dwp.errors import UserError
from dwp.nn.predict import one_run
from dwp.seeds import derive_seed, generator as make_generator

_lock = threading.Lock()  # `functional_call` exchanges parameters in the net itself


class StackedLinear(nn.Linear):
    """The linear layers of R runs: (n, R * inputs) -> (n, R * outputs), as one batched product.

    Its parameters are those of the runs one after another: (R * outputs, inputs), (R * outputs,).
    It is made of a `torch.nn.Linear` that has them.

    Attributes:
        runs: R.
    """

    runs: int

    def forward(self, input: Tensor) -> Tensor:
        """Return (n, R * outputs) for inputs (n, R * inputs)."""
        features = input.unflatten(1, (self.runs, -1)).transpose(0, 1)  # (R, n, inputs)
        weight = self.weight.unflatten(0, (self.runs, -1)).transpose(1, 2)  # (R, inputs, outputs)
        outputs = features @ weight
        if self.bias is not None:
            outputs = outputs + self.bias.view(self.runs, 1, -1)
        return outputs.transpose(0, 1).flatten(1)


class OneAfterAnother(nn.Module):
    """R nets whose layers would mix the channels of a stack: it runs one of them after another.

    Its parameters and buffers have the names and shapes of a stack's. Noise from torch's global
    generator, as of `torch.nn.Dropout`, is for the first net what it is alone; the noise of the
    others follows from it.

    Args:
        net: of the architecture of all, with the parameters of a stack.
        runs: R.
    """

    def __init__(self, net: nn.Module, runs: int) -> None:
        super().__init__()
        self._modules.update(net._modules)
        self.__dict__["net"] = net  # no submodule: the names stay those of a stack
        self.runs = runs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, R * outputs) for inputs (n, R * c, h, w)."""
        net, states = self.__dict__["net"], _by_run(_tensors(self), self.runs)

        def outputs(run: int) -> Tensor:
            with one_run(run):
                return functional_call(net, states[run], (inputs.chunk(self.runs, 1)[run],))

        with _lock:
            net.training = self.training
            first = outputs(0)
            seed = derive_seed(torch.get_rng_state().numpy().tobytes())
            with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
                torch.manual_seed(seed)
                return torch.cat([first, *map(outputs, range(1, self.runs))], 1)


def stack(nets: Sequence[nn.Module], images: Tensor | None = None) -> nn.Module:
    """Return one net that computes what R nets of the same architecture compute.

    Its inputs are (n, R * c, h, w), its outputs (n, R * classes): each run has a block of channels
    of its own. If layers of the nets do not treat every channel by itself, as
    `local_response_norm`, or draw from torch's global generator, it runs one net after another (see
    `stacks_exactly`). The stack holds copies; but a single net is returned as it is, unless it is
    on a GPU.

    Args:
        nets: built of `torch.nn.Conv2d`, Bayesian or not, `torch.nn.Linear`,
            `torch.nn.BatchNorm2d` and layers without parameters and buffers; trained for the same
            number of steps, if they have batch norm.
        images: (n, c, h, w), at least 2, to compare the stack with its nets; None: noise of their
            `image_shape`, without which nothing is compared.

    Raises:
        UserError: a net contains another layer with parameters or buffers.
    """
    first = next(nets[0].parameters())
    if len(nets) == 1:
        return nets[0] if first.device.type == "cpu" else copy.deepcopy(nets[0])
    stacked = _merged(nets, side_by_side=True)
    shape = getattr(nets[0], "image_shape", None)
    if images is None and shape is not None:
        images = torch.rand((4, *shape), generator=make_generator("stack"))
    if images is None or first.is_meta or stacks_exactly(nets, images):
        return stacked
    return OneAfterAnother(_merged(nets, side_by_side=False), len(nets))


def stacks_exactly(nets: Sequence[nn.Module], images: Tensor) -> bool:
    """Return whether nets side by side compute what they compute alone, in either mode.

    Copies of them are compared in double precision, each on other images and with noise of its own.

    Args:
        nets: see `stack`.
        images: (n, c, h, w), n at least 2.
    """
    images = images.to(next(nets[0].parameters()).device, torch.float64)
    inputs = [images.roll(run, 0) for run in range(len(nets))]
    try:
        for training in (False, True):
            alone = [copy.deepcopy(net).double().train(training) for net in nets]
            together = _merged(alone, side_by_side=True)
            expected = torch.cat([_outputs(net, inputs[r], [r]) for r, net in enumerate(alone)], 1)
            found = _outputs(together, torch.cat(inputs, 1), range(len(nets)))
            atol = 1e-9 * float(expected.abs().max())
            if not torch.allclose(found, expected, rtol=1e-6, atol=atol, equal_nan=True):
                return False
    except RuntimeError:  # the nets cannot compute in double precision
        return False
    return True


@torch.no_grad()
def _outputs(net: nn.Module, inputs: Tensor, runs: Sequence[int]) -> Tensor:
    layer: Any
    for layer in net.modules():
        if hasattr(layer, "generator"):
            layer.generator = [make_generator(run, device=str(inputs.device)) for run in runs]
    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
        torch.manual_seed(0)
        return net(inputs)


def _tensors(net: nn.Module, recurse: bool = True) -> dict[str, Tensor]:
    return dict([*net.named_parameters(recurse=recurse), *net.named_buffers(recurse=recurse)])


@torch.no_grad()
def _merged(nets: Sequence[nn.Module], *, side_by_side: bool) -> nn.Module:
    """Return a copy of the first net with the parameters of all, one net's after another's.

    Args:
        nets: see `stack`.
        side_by_side: whether its layers are to compute with all of them at once.
    """
    runs, merged = len(nets), copy.deepcopy(nets[0])
    layer: Any
    for name, layer in merged.named_modules():
        kind = type(layer)
        if hasattr(layer, "runs"):  # it draws noise
            layer.runs = runs
        if isinstance(layer, nn.Conv2d):
            if side_by_side:
                layer.in_channels *= runs
                layer.out_channels *= runs
                layer.groups *= runs
        elif kind is nn.Linear:
            if side_by_side:
                layer.__class__, layer.runs = StackedLinear, runs
                layer.out_features *= runs
        elif kind is not nn.BatchNorm2d and _tensors(layer, recurse=False):
            raise UserError(
                f"layer '{name}': runs can be stacked only of Conv2d, BayesianConv2d, Linear and "
                f"BatchNorm2d layers, found {kind.__name__}; train one run at a time"
            )
    states = [_tensors(net) for net in nets]
    for name, value in _tensors(merged).items():
        if value.dim():  # not the batches that batch norm has seen: one number for all runs
            value.data = torch.cat([state[name] for state in states])
    return merged


def unstack(stacked: nn.Module, runs: int) -> list[dict[str, Tensor]]:
    """Return the state of each of the nets that a net was stacked of, as their `state_dict`."""
    return _by_run(stacked.state_dict(), runs)


def _by_run(state: Mapping[str, Tensor], runs: int) -> list[dict[str, Tensor]]:
    """Return the parts of a stack's tensors that belong to each run."""
    states: list[dict[str, Tensor]] = [{} for _ in range(runs)]
    for name, value in state.items():
        for run, own in enumerate(value.chunk(runs) if value.dim() else [value] * runs):
            # the batches that batch norm has seen are one number, which the first run counts
            states[run][name] = own.clone() if run and not own.dim() else own
    return states
