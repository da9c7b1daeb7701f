"""Makes torchvision importable with another build of torch than its own.

Its transforms and models need none of its compiled operators, which then fail to load; the import
asks for the schemas of two of them.
"""

import contextlib

import torch

with contextlib.suppress(ImportError, RuntimeError):
    import torchvision  # noqa: F401

if not hasattr(torch.ops.torchvision, "nms"):
    _library = torch.library.Library("torchvision", "FRAGMENT")  # as long as this object lives
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
