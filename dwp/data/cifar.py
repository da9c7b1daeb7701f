"""CIFAR-10 and CIFAR-100: small photographs, by Alex Krizhevsky."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from dwp.data.files import StoredDataset, check_content, members, path_of
from dwp.errors import UserError

_TEN = "airplane automobile bird cat deer dog frog horse ship truck"


class CIFAR10(StoredDataset):
    """CIFAR-10, 50,000 train and 10,000 test images of 32 x 32 in colour.

    Read from the binary version: a row is a label and 3,072 bytes, the red plane first. A file of
    this form that is not the official one is accepted, with a warning in the log.

    Args:
        root: folder with `cifar-10-batches-bin/`, or with the archive that holds it.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch the archive into `root` if neither is there.

    Raises:
        UserError: files are missing, cannot be downloaded, or have another form.
    """

    image_shape = (3, 32, 32)
    classes = tuple(_TEN.split())
    name = "CIFAR-10"
    folders = ("cifar-10-batches-bin",)
    files = *(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"
    archive = "cifar-10-binary.tar.gz"
    urls = ("https://www.cs.toronto.edu/~kriz/",)
    labels: ClassVar[int] = 1  # bytes of a row; the last is the class

    def _load(self, source: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
        files = self.files[:-1] if train else self.files[-1:]
        if source.is_dir():
            contents = {file: path_of(source, file).read_bytes() for file in files}
        else:
            contents = {Path(name).name: content for name, content in members(source)}
        rows, length, classes = [], self.labels + 3072, len(self.classes)
        for file in files:
            path, content = source / file, contents.get(file, b"")
            highest = max(content[self.labels - 1 :: length], default=0)
            if not content or len(content) % length or highest >= classes:
                expected = f"rows of {length} bytes, byte {self.labels} a class below {classes}"
                found = f"{len(content)} bytes, classes up to {highest}"
                raise UserError(f"{path}: expected {expected}, found {found}; get it again")
            check_content(path, f"{self.folders[0]}/{file}", content)
            rows.append(np.frombuffer(content, np.uint8).reshape(-1, length))
        images = np.concatenate(rows)
        return images[:, self.labels :].reshape(-1, 3, 32, 32), images[:, self.labels - 1]


class CIFAR100(CIFAR10):
    """CIFAR-100, as `CIFAR10`, from `cifar-100-binary/`; the classes are the 100 fine ones."""

    name = "CIFAR-100"
    folders = ("cifar-100-binary",)
    archive = "cifar-100-binary.tar.gz"
    labels = 2  # the coarse class, then the fine one
    files = ("train.bin", "test.bin")
    classes = tuple(Path(__file__).with_name("cifar100.txt").read_text("utf-8").split())
