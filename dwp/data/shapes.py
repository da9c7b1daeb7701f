"""Four shapes: circles, squares, stars and triangles, drawn large and reduced to 16 x 16."""

from pathlib import Path

import torch

from dwp.data.images import ImageDataset
from dwp.data.npz import check_labels, read_npz


class FourShapes(ImageDataset):
    """The Four Shapes set at 16 x 16, 13,000 train and 1,970 test images, light on dark.

    From the 200 x 200 images of the set (Kaggle's; also github.com/keizerzilla/four-shapes),
    inverted and reduced by averaging areas. The authors of the paper published neither their
    reduction nor their split; the 1,970 test images are as many of each shape as their logged
    accuracies imply.

    One file holds uint8 arrays `train_images` (n, 1, 16, 16) and `train_labels` (n,), and
    `test_images` and `test_labels` alike.

    Args:
        root: folder with `four-shapes/four-shapes-16x16.npz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used; no address gives this file.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """

    classes = ("circle", "square", "star", "triangle")

    def _read(self, train: bool, download: bool) -> None:
        path = Path(self.root) / "four-shapes" / "four-shapes-16x16.npz"
        images, labels = (f"{'train' if train else 'test'}_{what}" for what in ("images", "labels"))
        expected = {images: ("uint8", (None, 1, 16, 16)), labels: ("uint8", (None,))}
        arrays = read_npz(path, expected)
        check_labels(path, arrays[labels], len(arrays[images]), len(self.classes))
        self.data = torch.from_numpy(arrays[images])[:, 0]
        self.targets = torch.from_numpy(arrays[labels]).long()
