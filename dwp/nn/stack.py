"""Many nets as one: on a GPU, small nets cost the launches of their kernels, not the arithmetic.

The nets of R runs become one net with R times the channels, in R groups that never meet. What
each run sees and draws is the same as alone, so that its results agree up to rounding.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dwp.errors import UserError


class StackedLinear(nn.Linear):
    """The linear layers of R runs: (n, R * inputs) -> (n, R * outputs), as one batched product.

    Its parameters are those of the runs one after another: (R * outputs, inputs), (R * outputs,).
    """

    def __init__(self, runs: int, in_features: int, out_features: int, **options) -> None:
        super().__init__(in_features, runs * out_features, **options)
        self.runs = runs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, R * outputs) for inputs (n, R * inputs)."""
        features = inputs.unflatten(1, (self.runs, -1)).transpose(0, 1)  # (R, n, inputs)
        weight = self.weight.unflatten(0, (self.runs, -1)).transpose(1, 2)  # (R, inputs, outputs)
        outputs = features @ weight
        if self.bias is not None:
            outputs = outputs + self.bias.view(self.runs, 1, -1)
        return outputs.transpose(0, 1).flatten(1)


def stack(nets: Sequence[nn.Module]) -> nn.Module:
    """Return one net that computes what R nets of the same architecture compute.

    Its inputs are (n, R * c, h, w), its outputs (n, R * classes): each run has a block of channels
    of its own. Layers without parameters must treat every channel by itself. The stack holds
    copies; but a single net is returned as it is, unless it is on a GPU.

    Args:
        nets: built of `torch.nn.Conv2d`, Bayesian or not, `torch.nn.Linear`,
            `torch.nn.BatchNorm2d` and layers without parameters and buffers; trained for the same
            number of steps, if they have batch norm.

    Raises:
        UserError: a net contains another layer with parameters or buffers.
    """
    runs = len(nets)
    if runs == 1 and next(nets[0].parameters()).device.type == "cpu":
        return nets[0]
    stacked = copy.deepcopy(nets[0])
    if runs == 1:
        return stacked
    for name, layer in nets[0].named_modules():
        if hasattr(layer, "runs"):  # it draws noise
            stacked.get_submodule(name).runs = runs
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        if not own:
            continue
        parent, _, child = name.rpartition(".")
        if type(layer) is nn.Linear:
            bias = layer.bias is not None
            merged = StackedLinear(runs, layer.in_features, layer.out_features, bias=bias)
            setattr(stacked.get_submodule(parent), child, merged)
        elif isinstance(layer, nn.Conv2d):
            merged = stacked.get_submodule(name)
            merged.in_channels *= runs
            merged.out_channels *= runs
            merged.groups *= runs
        elif type(layer) is nn.BatchNorm2d:
            merged = stacked.get_submodule(name)
            merged.num_features *= runs
        else:
            raise UserError(
                f"layer '{name}': runs can be stacked only of Conv2d, BayesianConv2d, Linear and "
                f"BatchNorm2d layers, found {type(layer).__name__}; train one run at a time"
            )
        for key, value in own:
            if value.dim() == 0:
                continue  # the batches that batch norm has seen: one number for all runs
            joined = torch.cat([getattr(net.get_submodule(name), key).detach() for net in nets])
            if isinstance(value, nn.Parameter):
                joined = nn.Parameter(joined, value.requires_grad)
            setattr(merged, key, joined)
    return stacked


def unstack(stacked: nn.Module, runs: int) -> list[dict[str, Tensor]]:
    """Return the state of each of the nets that a net was stacked of, as their `state_dict`."""
    parts = {
        name: value.chunk(runs) if value.dim() else [value] * runs
        for name, value in stacked.state_dict().items()
    }
    return [{name: values[run] for name, values in parts.items()} for run in range(runs)]
