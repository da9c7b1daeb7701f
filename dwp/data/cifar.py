"""CIFAR-10 and CIFAR-100: small photographs, by Alex Krizhevsky."""

from pathlib import Path
from typing import ClassVar

import torch

from dwp.data import _torchvision
from dwp.data.images import ImageDataset
from dwp.data.sources import download as fetch
from dwp.data.sources import locked
from dwp.errors import UserError


class CIFAR10(ImageDataset):
    """CIFAR-10, 50,000 train and 10,000 test images of 32 x 32 in colour, read by torchvision.

    The files are pickles, which could run any code. torchvision reads none whose MD5 is not the one
    it knows, and nobody can make another file of a given MD5: what is known to be broken about MD5
    is that two files can be made together to have the same, whatever it is. So what is unpickled is
    what the author of CIFAR wrote.

    Args:
        root: folder with `cifar-10-batches-py/`, or with the archive that holds it.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch the archive into `root` if neither is there.

    Raises:
        UserError: files are missing, cannot be downloaded, or are not the author's.
    """

    name: ClassVar[str] = "CIFAR-10"
    reader: ClassVar[type] = _torchvision.CIFAR10

    def _read(self, train: bool, download: bool) -> None:
        self._provide(Path(self.root), download)
        read = self.reader(self.root, train=train)
        self.data = torch.from_numpy(read.data.copy())  # (n, 32, 32, 3)
        self.targets = torch.tensor(read.targets)
        self.classes = tuple(read.classes)

    def _provide(self, root: Path, download: bool) -> None:
        """See to it that the files are there and right, from the archive if need be."""
        folder, archive = root / self.reader.base_folder, root / self.reader.filename
        meta = self.reader.meta["filename"], self.reader.meta["md5"]
        known = (*self.reader.train_list, *self.reader.test_list, meta)

        def wrong() -> list[str]:
            return [
                file for file, md5 in known if not _torchvision.check_integrity(folder / file, md5)
            ]

        if not (bad := wrong()):
            return
        if not _torchvision.check_integrity(archive, self.reader.tgz_md5):
            if not download:
                found = f"{', '.join(bad)} missing or damaged" if folder.exists() else "not found"
                raise UserError(
                    f"{folder}: {self.name} {found}; put {archive.name} into {root}, from "
                    f"{self.reader.url}, or allow the download"
                )
            fetch([self.reader.url], archive, self._check_archive)
        with locked(root / f".{self.reader.base_folder}.lock"):
            if wrong():  # no other process has extracted it meanwhile
                _torchvision.extract_archive(str(archive), str(root))

    def _check_archive(self, path: Path) -> None:
        if not _torchvision.check_integrity(path, self.reader.tgz_md5):
            raise UserError(f"not {self.name}'s archive")


class CIFAR100(CIFAR10):
    """CIFAR-100, as `CIFAR10`, from `cifar-100-python/`; the classes are the 100 fine ones."""

    name = "CIFAR-100"
    reader = _torchvision.CIFAR100
