"""CIFAR-10 and CIFAR-100: small photographs, by Alex Krizhevsky."""

import hashlib
import logging
import tarfile
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pooch

from dwp.data.download import download as fetch
from dwp.data.images import ImageDataset
from dwp.errors import UserError

_log = logging.getLogger(__name__)


class CIFAR10(ImageDataset):
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
    classes = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
    name: ClassVar[str] = "CIFAR-10"
    folder: ClassVar[str] = "cifar-10-batches-bin"
    archive: ClassVar[str] = "cifar-10-binary.tar.gz"
    md5: ClassVar[str] = "c32a1d4ab5d03f1284b67883e8d87530"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/"
    labels: ClassVar[int] = 1  # bytes of a row; the last is the class
    # SHA-1 by file
    train_files: ClassVar[dict[str, str]] = {
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    }
    test_files: ClassVar[dict[str, str]] = {
        "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c"
    }

    def _read(self, train: bool, download: bool) -> None:
        files, parts = self.train_files if train else self.test_files, []
        contents = self._contents(Path(self.root), list(files), download)
        for file, sha1 in files.items():
            content = contents[file]
            if hashlib.sha1(content).hexdigest() != sha1:
                _log.warning(
                    "%s: %s is not the official one; using it as it is", self._path, file
                )
            if len(content) % (self.labels + 3072):
                raise UserError(
                    f"{self._path}: {file}: expected rows of {self.labels} + 3072 bytes, found "
                    f"{len(content)} bytes; get it again"
                )
            parts.append(np.frombuffer(content, np.uint8).reshape(-1, self.labels + 3072))
        rows = np.concatenate(parts)
        self.data = rows[:, self.labels :].reshape(-1, 3, 32, 32)
        self.targets = rows[:, self.labels - 1]

    def _contents(self, root: Path, files: list[str], download: bool) -> dict[str, bytes]:
        """Return the content of files by name, from the folder or else from the archive."""
        self._path, archive = root / self.folder, root / self.archive
        missing = [file for file in files if not (self._path / file).is_file()]
        if not missing:
            return {file: (self._path / file).read_bytes() for file in files}
        if not archive.is_file():
            if not download:
                raise UserError(
                    f"{self._path}: {self.name} not found, missing {', '.join(missing)}; put "
                    f"{self.archive} into {root}, from {self.url}, or allow the download"
                )
            fetch([self.url + self.archive], archive, self._check_archive)
        self._path = archive
        try:
            with tarfile.open(archive, "r|gz") as members:
                found = {
                    Path(member.name).name: members.extractfile(member).read()
                    for member in members
                    if member.isfile() and Path(member.name).name in files
                }
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise UserError(f"{archive}: not a readable archive ({error}); get it again") from None
        if missing := [file for file in files if file not in found]:
            raise UserError(f"{archive}: expected {', '.join(missing)} in it; get it again")
        return found

    def _check_archive(self, path: Path) -> None:
        if pooch.file_hash(str(path), "md5") != self.md5:
            raise UserError(f"not {self.name}'s archive")


class CIFAR100(CIFAR10):
    """CIFAR-100, as `CIFAR10`, from `cifar-100-binary/`; the classes are the 100 fine ones."""

    name = "CIFAR-100"
    folder = "cifar-100-binary"
    archive = "cifar-100-binary.tar.gz"
    md5 = "03b5dce01913d631647c71ecec9e9cb8"
    labels = 2  # the coarse class, then the fine one
    train_files: ClassVar = {"train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"}
    test_files: ClassVar = {"test.bin": "8fb6623e830365ff53cf14adec797474f5478006"}
    classes = tuple(
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
        "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach "
        "couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
        "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree "
        "motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
        "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road "
        "rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
        "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
        "turtle wardrobe whale willow_tree wolf woman worm".split()
    )
