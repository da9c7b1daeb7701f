"""CIFAR-10 and CIFAR-100: small photographs, by Alex Krizhevsky."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from dwp.data.files import download as fetch, identify, members, warn_unknown
from dwp.data.images import ImageDataset
from dwp.errors import UserError

_TEN = "airplane automobile bird cat deer dog frog horse ship truck"
_HUNDRED = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach "
    "couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
    "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree "
    "motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road "
    "rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
    "turtle wardrobe whale willow_tree wolf woman worm"
)


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
    classes = tuple(_TEN.split())
    name: ClassVar[str] = "CIFAR-10"
    folder: ClassVar[str] = "cifar-10-batches-bin"
    archive: ClassVar[str] = "cifar-10-binary.tar.gz"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/"
    labels: ClassVar[int] = 1  # bytes of a row; the last is the class
    files: ClassVar[tuple[str, ...]] = (
        *(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
    )

    def _read(self, train: bool, download: bool) -> None:
        root, length = Path(self.root), self.labels + 3072
        archive, self._path = root / self.archive, root / self.folder
        files = self.files[:-1] if train else self.files[-1:]
        missing = [file for file in files if not (self._path / file).is_file()]
        if missing and not archive.is_file():
            if not download:
                raise UserError(
                    f"{self._path}: {self.name} not found, missing {', '.join(missing)}; put "
                    f"{archive.name} into {root}, from {self.url}, or allow the download"
                )
            url = self.url + archive.name
            fetch([url], archive, lambda path: identify(path.read_bytes()) == archive.name)
        if missing:
            self._path = archive
            contents = {Path(name).name: content for name, content in members(archive)}
        else:
            contents = {file: (self._path / file).read_bytes() for file in files}
        rows = []
        for file in files:
            content = contents.get(file, b"")
            if len(content) % length or not content:
                message = f"expected rows of {length} bytes in {file}, found {len(content)} bytes"
                raise UserError(f"{self._path}: {message}; get it again")
            if identify(content) != f"{self.folder}/{file}":
                warn_unknown(self._path / file, f"{self.folder}/{file}")
            rows.append(np.frombuffer(content, np.uint8).reshape(-1, length))
        images = np.concatenate(rows)
        self.data = images[:, self.labels :].reshape(-1, 3, 32, 32)
        self.targets = images[:, self.labels - 1]


class CIFAR100(CIFAR10):
    """CIFAR-100, as `CIFAR10`, from `cifar-100-binary/`; the classes are the 100 fine ones."""

    name = "CIFAR-100"
    folder = "cifar-100-binary"
    archive = "cifar-100-binary.tar.gz"
    labels = 2  # the coarse class, then the fine one
    files = ("train.bin", "test.bin")
    classes = tuple(_HUNDRED.split())
