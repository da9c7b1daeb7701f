"""Predictions of a net by samples of its weights, and what its layers share meanwhile.

What they share is kept by the thread, not by the net.
"""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import Precision, Switch, products
from dwp.errors import UserError, check_count
from dwp.fast import faster
from dwp.seeds import Source, seeded

_predictions: ContextVar[tuple["Draws", ...]] = ContextVar("predictions", default=())
_run: ContextVar[int | None] = ContextVar("run", default=None)
_lock = threading.Lock()
_running = 0
_mode = Switch(attrgetter("training"), lambda module, mode: setattr(module, "training", mode))


class Draws:
    """What a net draws in one prediction; see `prediction`.

    Attributes:
        sampling: whether to draw, or to use the means.
        generator: where draws come from.
        modules: those of the net.
        sample: the number of the weight sample that the pass belongs to, if one was begun.
    """

    def __init__(self, sampling: bool, generator: Source, net: nn.Module | None = None) -> None:
        self.sampling, self.generator = sampling, generator
        self.modules = set() if net is None else set(net.modules())
        self.sample: int | None = None
        self._calls: dict[nn.Module, int] = {}
        self._noise: dict[Hashable, Tensor] = {}
        self._images: Tensor | None = None
        self._kept: dict[Hashable, Any] = {}
        self._moments: dict[Hashable, Any] = {}

    def begin(self, sample: int) -> None:
        """Begin a pass of the net that belongs to a weight sample."""
        self.sample = sample
        self._calls.clear()

    def call(self, layer: nn.Module) -> Hashable:
        """Count a call of a layer in the pass; return what identifies it."""
        self._calls[layer] = self._calls.get(layer, 0) + 1
        return layer, self._calls[layer]

    def noise(self, call: Hashable, draw: Callable[[int], Tensor], n: int) -> Tensor:
        """Return the noise (n, ...) of a call in the sample: the same in every pass.

        Args:
            call: as of `call`, and the shape of the noise of an image.
            draw: draws noise for so many images.
            n: images.
        """
        if self.sample is None:  # no pass was begun: each has its own
            return draw(n)
        key = call, self.sample
        if key not in self._noise:
            self._noise[key] = draw(n)
        elif len(self._noise[key]) < n:
            self._noise[key] = torch.cat([self._noise[key], draw(n - len(self._noise[key]))])
        return self._noise[key][:n]

    def see(self, images: Tensor) -> None:
        """Take images that nobody but the net can change: from here on, layers may keep results.

        Weights must not change from here on either.
        """
        self._images, self._moments = images, {}

    def kept(self, key: Hashable, make: Callable[[], Any], inputs: Tensor | None = None) -> Any:
        """Return what `make` returned before, if it may be kept, else what it returns now.

        Args:
            key: of what is kept.
            make: makes it.
            inputs: what it is made of, if not of weights alone; it is kept if these are the images
                or a view of them.
        """
        images, kept = self._images, self._kept
        if images is None or not (inputs is None or inputs is images or inputs._base is images):
            return make()
        if inputs is not None:
            kept = self._moments
            key = key, inputs.storage_offset(), inputs.shape, inputs.stride()
        if key not in kept:
            kept[key] = make()
        return kept[key]


def running() -> bool:
    """Return whether any thread is in a block of this module: then ask `draws_of` and `source_of`.

    Compiled code can do so (these two would break it in parts).
    """
    return _running > 0


def draws_of(layer: Any) -> Draws:
    """Return this thread's innermost prediction with a layer, or what the layer draws by itself."""
    found = (draws for draws in reversed(_predictions.get()) if layer in draws.modules)
    return next(found, None) or Draws(layer.sampling, layer.generator)


def source_of(layer: Any, generator: Source) -> tuple[Source, int]:
    """Return where a layer of a stack draws from for now, and for how many runs.

    Args:
        layer: has the number of its `runs`.
        generator: of all runs.
    """
    run = _run.get() if running() else None
    if run is None:
        return generator, layer.runs
    return generator[run] if isinstance(generator, Sequence) else generator, 1


@contextlib.contextmanager
def _marked(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    global _running
    with _lock:
        _running += 1
    before = variable.get()
    variable.set(value)
    try:
        yield
    finally:
        variable.set(before)
        with _lock:
            _running -= 1


def one_run(run: int) -> contextlib.AbstractContextManager[None]:
    """Within the block, let the layers of a stack draw what one of its runs draws."""
    return _marked(_run, run)


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within the block, batch norm uses its running statistics and dropout does nothing.

    After it every module is in the mode it was in before, its own; where blocks overlap, as those
    of several threads, after the last of them.
    """
    with contextlib.ExitStack() as modes:
        for module in net.modules():
            modes.enter_context(_mode(False, module))
        net.eval()  # nets may do more there, or refuse
        yield


@contextlib.contextmanager
def prediction(
    net: nn.Module, *, sampling: bool = True, generator: Source = None
) -> Iterator[Draws]:
    """Within the block, let the net's Bayesian layers draw from `generator`, or use their means.

    A seed stands for one generator for the whole block.

    Every layer is in evaluation mode there: batch norm uses its running statistics, dropout does
    nothing. The noise of a sample is drawn once: passes that belong to the same sample (each to be
    begun by `Draws.begin`) share it, the first image of one with the first of another. For every
    image the outputs of the samples are independent draws from their distribution, as ever; what is
    shared makes images of different passes depend on each other, as they do under weights drawn
    once. A pass that was not begun has noise of its own.

    All of this holds for the thread that runs the block. Other threads, and copies of the net, may
    predict at the same time, each in a block of its own.

    Raises:
        UserError: the net is a `torch.nn.DataParallel` over several devices, whose threads are
            outside the block.
    """
    if any(isinstance(m, nn.DataParallel) and len(m.device_ids) > 1 for m in net.modules()):
        raise UserError(
            "net: found a torch.nn.DataParallel over several devices; predict with its `module`"
        )
    device = next((each.device for each in net.parameters()), "cpu")
    draws = Draws(sampling, seeded(generator, device), net)
    with evaluating(net), _marked(_predictions, (*_predictions.get(), draws)):
        yield draws


@torch.no_grad()
def predict(
    net: nn.Module,
    images: Tensor,
    *,
    samples: int,
    generator: Source = None,
    batch_size: int | None = None,
    runs: int = 1,
    members: int = 1,
    precision: Precision = "float32",
) -> Tensor:
    """Return class probabilities (max(samples, 1), n, classes) of images (n, c, h, w).

    The members of an ensemble take the role of samples: (members, n, classes). The single logit of
    a binary classifier gives the probabilities of its two classes: 1 - sigmoid(z), sigmoid(z).

    The draws of a sample are shared between batches (see `prediction`): for each
    image the samples are independent and have the distribution of any others; the images of
    different batches are not independent of each other given the net.

    Those of a stack (see `dwp.nn.stack`) are (max(samples, 1), n, R * classes): every run sees the
    same images.

    Args:
        net: a plain or a Bayesian net, or a stack. It maps (n, c, h, w) to logits (n, classes).
        images: inputs in the range the net was trained on. The net gets copies, in their memory
            format.
        samples: draws of the weights, by local reparametrisation; 0: the mean weights, once.
        generator: where the draws come from, a generator or a seed; for a stack one for each run.
        batch_size: images at once; None: 50 on a CPU, where maps stay in the cache, 1,000 on a GPU.
        runs: the number R of runs in the stack.
        members: the number of nets in a run, if the stack is one of ensembles.
        precision: of the net's products (see `dwp.devices.products`); the softmax is at least in
            float32.

    Raises:
        UserError: a count is not a whole number in its range, or the net's outputs are no logits.
    """
    device = next(net.parameters(), images).device
    if batch_size is None:
        batch_size = 50 if device.type == "cpu" else 1000
    check_count("samples", samples, least=0)
    check_count("batch_size", batch_size)
    nets, parts = runs * members, []
    with (
        faster(),
        products(precision, device),
        prediction(net, sampling=samples > 0, generator=generator) as draws,
    ):
        for batch in images.split(batch_size):
            batch = torch.cat([batch.to(device)] * nets, 1)
            inputs, logits = None, []
            for sample in range(max(samples, 1)):
                if inputs is None or not torch.equal(inputs, batch):  # the net has changed them
                    inputs = batch.clone()
                    draws.see(inputs)
                draws.begin(sample)
                logits.append(_checked(net(inputs), len(batch), nets).cpu())
            parts.append(torch.stack(logits))
    # (samples, n, R, members, classes)
    logits = torch.cat(parts, 1).unflatten(2, (runs, members, -1))
    if logits.shape[4] == 1:
        logits = F.pad(logits, (1, 0))
    return logits.softmax(4).movedim(3, 1).flatten(0, 1).flatten(2)


def _checked(outputs: Any, n: int, nets: int) -> Tensor:
    """Return logits (n, nets * classes) in float32 or float64."""
    shape, found = tuple(getattr(outputs, "shape", ())), type(outputs).__name__
    if len(shape) == 2 and shape[0] == n and shape[1] > 0 and shape[1] % nets == 0:
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    raise UserError(
        f"net: expected logits ({n}, {nets} * classes) of {n} images, found a {found} {shape}; "
        "wrap it in a net that returns a vector an image"
    )
