"""notMNIST: letters A to J in many typefaces, by Yaroslav Bulatov."""

import functools
import hashlib
import io
from collections import defaultdict
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import Image

from dwp.data.files import download, identify, members, warn_unknown
from dwp.data.idx import FILES, IdxDataset, idx_bytes, read_idx
from dwp.errors import UserError

LETTERS = tuple("ABCDEFGHIJ")

Part = tuple[np.ndarray, np.ndarray]
"""Images (n, 28, 28) and labels (n,), uint8."""


class Archive(NamedTuple):
    """The parts that an archive is split into, and its number of unreadable pictures."""

    train: Part
    test: Part
    skipped: int

    @property
    def known(self) -> bool:
        """Whether these are the parts of the small notMNIST that dwp knows."""
        found = [identify(idx_bytes(array)) for array in self.train + self.test]
        return found == [f"notMNIST/{file}" for file in FILES]


@functools.lru_cache(maxsize=1)  # slow, and the two parts are mostly asked for one after the other
def read_archive(
    path: Path, modified: int, test: int, train: int | None = None, seed: int | None = None
) -> Archive:
    """Return the split content of an archive of PNG files (`notMNIST_small/A/xxx.png`).

    Each picture has a key. Of each class the `test` pictures with the smallest keys are the test
    part, and the `train` next ones (None: all) the train part. Both parts are ordered by the
    reversed keys, which mixes the classes.

    Without a seed the key is the SHA-256 of the 784 pixels, in hex, copies within a class count
    once, and pictures found in more than one class are dropped: so the result depends on the
    pictures only, not on file names or order. With one it is that of the seed and the name, and
    all pictures count.

    Args:
        path: the archive.
        modified: when it was, as nothing is read twice.
        test: test images of each class.
        train: train images of each class.
        seed: which draw.

    Raises:
        UserError: not a readable archive, or a class has too few readable pictures of 28 x 28.
    """
    pictures, skipped = _pictures(path)
    if seed is None:
        labels = defaultdict(set)
        for _, label, pixels in pictures:
            labels[pixels].add(label)
        single = ((pixels, *found) for pixels, found in labels.items() if len(found) == 1)
        rows = [(_digest(pixels), label, pixels) for pixels, label in single]
    else:
        rows = [(_digest(f"{seed} {name}".encode()), *rest) for name, *rest in pictures]
    parts: tuple[list, list] = [], []
    for number, letter in enumerate(LETTERS):
        own = sorted(row for row in rows if row[1] == number)
        if len(own) < test + (train or 1):
            raise UserError(
                f"{path}: expected at least {test + (train or 1)} readable pictures, 28x28, of "
                f"{letter}, found {len(own)}; get the archive again"
            )
        parts[0].extend(own[test:][:train])
        parts[1].extend(own[:test])
    return Archive(_stack(parts[0]), _stack(parts[1]), skipped)


def _pictures(path: Path) -> tuple[list[tuple[str, int, bytes]], int]:
    """Return the name, class and pixels of an archive's pictures, and how many are unreadable."""
    pictures, skipped = [], 0
    for name, content in members(path):
        letter, file = ("", *name.split("/"))[-2:]
        # Archives made on a Mac hold a hidden "._name.png" beside each file.
        if letter in LETTERS and file.endswith(".png") and not file.startswith("."):
            if pixels := _pixels(content):
                pictures.append((f"{letter}/{file}", LETTERS.index(letter), pixels))
            else:
                skipped += 1
    return pictures, skipped


def _pixels(content: bytes) -> bytes | None:
    """Return the 784 grey levels of a PNG file, or None if it cannot be read or is larger."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return image.convert("L").tobytes() if image.size == (28, 28) else None
    except Exception:  # a damaged picture can make its reader raise almost anything
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stack(rows: list[tuple[str, int, bytes]]) -> Part:
    rows = sorted(rows, key=lambda row: (row[0][::-1], *row[1:]))
    images = np.frombuffer(b"".join(row[2] for row in rows), np.uint8).reshape(-1, 28, 28)
    return images, np.array([row[1] for row in rows], np.uint8)


class NotMNIST(IdxDataset):
    """The small notMNIST without its repeated pictures: 16,230 train and 2,000 test images.

    Read from four idx files named as MNIST's or, without them, from the original archive
    `notMNIST_small.tar.gz`, split as `read_archive` says. Another selection of notMNIST's letters
    in idx files is accepted, with a warning in the log.

    Args:
        root: folder with the files. The idx files in `notMNIST/raw/`, `notMNIST/` or directly,
            plain or `.gz`; the archive directly, in `notMNIST/` or `notMNIST/raw/`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch the archive into `root/notMNIST/` if nothing is found.

    Attributes:
        skipped: pictures of the archive that cannot be read (two in the original); 0 when the
            images come from idx files.

    Raises:
        UserError: files are missing, cannot be downloaded, are corrupt or another data set's.
    """

    name = "notMNIST"
    classes = LETTERS
    archive = "notMNIST_small.tar.gz"
    urls = (
        "http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz",
        "https://commondatastorage.googleapis.com/books1000/notMNIST_small.tar.gz",
    )
    test_per_class: ClassVar[int] = 200
    skipped = 0

    def _archive(self, path: Path) -> Archive:
        content = read_archive(path.resolve(), path.stat().st_mtime_ns, self.test_per_class)
        if not content.known:
            warn_unknown(path, self.archive)
        return content

    def _read_archive(self, path: Path, train: bool) -> Part:
        content = self._archive(path)
        self.skipped = content.skipped
        return content.train if train else content.test

    def _download(self, root: Path, folder: Path, missing: list[str]) -> None:
        def check(path: Path) -> bool:
            return read_archive(path, 0, self.test_per_class).known

        download(self.urls, root / self.name / self.archive, check)


class NotMNISTExtra(NotMNIST):
    """The small notMNIST and, for training, 3,413 letters more, very probably of the large one.

    Args:
        root: as for `NotMNIST`; the others in `notMNIST-extra/{images-idx3,labels-idx1}-ubyte`,
            plain or `.gz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: as for `NotMNIST`; no address gives the other letters.

    Raises:
        UserError: files are missing, cannot be downloaded, are corrupt or another data set's.
    """

    def _read(self, train: bool, download: bool) -> None:
        super()._read(train, download)
        if train:
            folder = Path(self.root) / "notMNIST-extra"
            for attribute, file in (
                ("data", "images-idx3-ubyte"),
                ("targets", "labels-idx1-ubyte"),
            ):
                path = folder / file if (folder / file).is_file() else folder / f"{file}.gz"
                extra = read_idx(path, f"notMNIST-extra/{file}")
                setattr(self, attribute, np.concatenate([getattr(self, attribute), extra]))


class NotMNISTLarge(NotMNIST):
    """60,000 train images of the large notMNIST, 6,000 a letter, and 10,000 test images.

    The public selection in MNIST's format (github.com/davidflanagan/notMNIST-to-MNIST), very
    probably what the authors of the paper trained their source nets on. About 6.5 % of the labels
    are wrong, and some images occur several times. Its test images are of the small notMNIST.
    Without its four files, as many are drawn from the original archive `notMNIST_large.tar.gz`, as
    `read_archive` says; then the test images are of the large notMNIST, too.

    Args:
        root: folder with the files. The idx files in `notMNIST-large/raw/`, `notMNIST-large/` or
            directly; the archive directly, in `notMNIST-large/` or `notMNIST-large/raw/`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch the four files into `root/notMNIST-large/raw/` if nothing is found.

    Attributes:
        skipped: pictures of the archive that were drawn and cannot be read.

    Raises:
        UserError: files are missing, cannot be downloaded, are corrupt or another data set's.
    """

    name = "notMNIST-large"
    archive = "notMNIST_large.tar.gz"
    urls = ("https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/master/",)
    seed: ClassVar[int] = 0
    per_class: ClassVar[tuple[int, int]] = (1000, 6000)  # test and train
    _download = IdxDataset._download

    def _archive(self, path: Path) -> Archive:
        return read_archive(path.resolve(), path.stat().st_mtime_ns, *self.per_class, self.seed)
