"""Dropout whose noise comes from generators that are handed in."""

from statistics import NormalDist

import torch
from torch import Tensor, nn

from dwp.nn.predict import source_of
from dwp.seeds import Source, standard_normal


class Dropout(nn.Module):
    """In training, set each input to 0 with probability `rate`, and divide the others by 1 - rate.

    Srivastava et al. 2014. As `torch.nn.Dropout`, whose noise comes from torch's global generator.

    Args:
        rate: above 0 and below 1.

    Attributes:
        generator: where the noise is drawn from.
        runs: of how many runs the inputs are, one run's after another's (see `dwp.nn.stack`).

    Raises:
        statistics.StatisticsError: a rate out of bounds.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.runs = rate, 1
        self.generator: Source = None
        # a normal number is below it with probability `rate`
        self._bound = NormalDist().inv_cdf(rate)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (n, R * features), in training with noise."""
        if not self.training:
            return inputs
        source, runs = source_of(self, self.generator)
        shape = runs, len(inputs), inputs.shape[1] // runs
        noise = standard_normal(shape, source, inputs)
        kept = noise.transpose(0, 1).flatten(1) > self._bound
        return torch.where(kept, inputs / (1 - self.rate), 0.0)
