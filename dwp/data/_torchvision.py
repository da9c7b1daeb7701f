"""The one place that imports torchvision.

Some torchvision wheels hold operators compiled for another build of torch. They then fail to
load, and `import torchvision` stops at the first operator that it describes but cannot find. The
data sets need no operator, so declaring the two that the import asks for is enough.
"""

import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "operator torchvision::" not in str(error):
        raise
    for _module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[_module]
    # The declarations live as long as this object.
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, _schema.partition("(")[0]):
            _library.define(_schema)

from torchvision.datasets import VisionDataset  # noqa: E402

__all__ = ["VisionDataset"]
