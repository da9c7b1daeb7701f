"""The Four Shapes: circles, squares, stars and triangles."""

import numpy as np

from dwp.data.images import ImageDataset
from dwp.errors import UserError, reading


class FourShapes(ImageDataset):
    """The Four Shapes set at 16 x 16, 13,000 train and 1,970 test images, light on dark.

    From the 200 x 200 images of the set (Kaggle's; also github.com/keizerzilla/four-shapes),
    inverted and reduced by averaging areas. The authors of the paper published neither their
    reduction nor their split; the 1,970 test images are as many of each shape as their logged
    accuracies imply.

    One file, which is never unpickled, holds uint8 arrays `train_images` (n, 1, 16, 16) and
    `train_labels` (n,), and `test_images` and `test_labels` alike.

    Args:
        root: folder with `four-shapes/four-shapes-16x16.npz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used; no address gives this file.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """

    image_shape = (1, 16, 16)
    classes = ("circle", "square", "star", "triangle")

    def _read(self, train: bool, download: bool) -> None:
        self._path = path = self.root / "four-shapes" / "four-shapes-16x16.npz"
        if not path.is_file():
            message = "no such file; put it there ('Data' in config/README.md has it)"
            raise UserError(f"{path}: {message}")
        images, labels = (f"{'train' if train else 'test'}_{name}" for name in ("images", "labels"))
        with (
            reading(path, f"an npz file with {images}, {labels}"),
            np.load(path, allow_pickle=False) as file,
        ):
            self.data, self.targets = file[images], file[labels]
