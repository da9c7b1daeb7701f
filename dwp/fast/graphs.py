"""A training step recorded once as a CUDA graph and replayed: one launch instead of hundreds.

A step of a small net costs the launches of its kernels, some microseconds each, not their
arithmetic. A graph launches them all at once, on the same tensors each time.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]

_log = logging.getLogger(__name__)
_WARM_UPS = 3  # steps of a size before it is recorded: libraries choose their algorithms there


def supported(device: torch.device) -> bool:
    """Return whether steps on a device can be recorded."""
    return device.type == "cuda"


def fused(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a net, on a GPU with what lies between its products compiled into few kernels.

    Compiling takes some seconds in the first process, and is kept on disk. Without a compiler
    (Triton, and one of C), torch says so and the net runs as it is.
    """
    if next(net.parameters()).device.type != "cuda":
        return net
    torch._dynamo.config.suppress_errors = True
    return torch.compile(net, dynamic=False)


class Replayed:
    """A step that is recorded once for each size of batch, then replayed.

    Recording computes nothing and warming up means taking real steps, so that neither parameters
    nor random states differ from those of a run without graphs. The step must not wait for the
    device, nor bring numbers to it: its only input that changes is the batch.

    Args:
        step: takes indices (R, batch) on the device; returns losses (R,) and scalars to record.
        device: where it computes.
        noise: the generators it draws from.
        label: whose step it is, for messages.
    """

    def __init__(
        self, step: Step, device: torch.device, noise: Sequence[torch.Generator], label: str
    ) -> None:
        self._step, self._device, self._noise, self._label = step, device, noise, label
        # CUDA records on a stream of its own, which has done the same work before
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()  # no two graphs run at once: they share memory
        self._seen: Counter[int] = Counter()
        self._recorded: dict[int, tuple[Tensor, Callable[[], None], Any]] = {}
        self._failed = False

    def __call__(self, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Take the step on indices (R, batch); what it returns holds until the next step."""
        size = batch.shape[-1]
        self._seen[size] += 1
        if self._seen[size] == _WARM_UPS + 1 and not self._failed:
            static = batch.to(self._device, copy=True)
            try:
                self._recorded[size] = static, *self.record(static)
            except RuntimeError as error:
                self._failed = True
                reason = str(error).partition("\n")[0]
                _log.warning("%s: no CUDA graph (%s); its steps are launched", self._label, reason)
        if size not in self._recorded:
            return self.launch(batch)
        static, replay, results = self._recorded[size]
        static.copy_(batch)
        replay()
        return results

    def launch(self, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Take the step on the stream that records later."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            result = self._step(batch.to(self._device))
        current.wait_stream(self._stream)
        return result

    def record(self, batch: Tensor) -> tuple[Callable[[], None], Any]:
        """Record the step; return what replays it and the tensors its results will be in."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._noise:
            graph.register_generator_state(generator)
        recording = torch.cuda.graph(graph, pool=self._pool, stream=self._stream)
        with torch.cuda.device(self._device), recording:
            result = self._step(batch)
        return graph.replay, result
