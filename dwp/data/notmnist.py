"""notMNIST: letters A to J in many typefaces, by Yaroslav Bulatov."""

import functools
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from PIL import Image

from dwp.data.files import StoredDataset, check_content, members, path_of
from dwp.data.idx import KINDS, IdxDataset, idx_bytes, read_idx
from dwp.errors import UserError

LETTERS = tuple("ABCDEFGHIJ")

Part = tuple[np.ndarray, np.ndarray]
"""Images (n, 28, 28) and labels (n,), uint8."""


@functools.lru_cache(maxsize=1)  # slow, and the two parts are mostly asked for one after the other
def read_archive(
    path: Path, modified: int, test: int, train: int | None
) -> tuple[dict[bool, Part], int]:
    """Return the split content of an archive of PNG files (`notMNIST_small/A/xxx.png`).

    Copies within a class count once, and pictures found in more than one class are dropped. Each
    picture has a key, the SHA-256 of its 784 pixels in hex: so the result depends on the pictures
    only, not on file names or order. Of each class the `test` pictures with the smallest keys are
    the test part, and the `train` next ones (None: all) the train part. Both parts are ordered by
    the reversed keys, which mixes the classes.

    Args:
        path: the archive.
        modified: when it was, as nothing is read twice.
        test: test images of each class.
        train: train images of each class.

    Returns:
        The train part (True) and the test part (False), and the number of unreadable pictures.

    Raises:
        UserError: not a readable archive, or a class has too few readable pictures of 28 x 28.
    """
    labels, skipped = defaultdict(set), 0
    for name, content in members(path):
        file = PurePosixPath(name)
        letter = file.parent.name
        # Archives made on a Mac hold a hidden "._name.png" for each file.
        if letter in LETTERS and file.suffix == ".png" and not file.name.startswith("."):
            if pixels := _pixels(content):
                labels[pixels].add(LETTERS.index(letter))
            else:
                skipped += 1
    rows = sorted(
        (hashlib.sha256(pixels).hexdigest(), *found, pixels)
        for pixels, found in labels.items()
        if len(found) == 1
    )
    parts = {True: [], False: []}
    for number, letter in enumerate(LETTERS):
        own = [row for row in rows if row[1] == number]
        if len(own) < test + (train or 1):
            raise UserError(
                f"{path}: expected at least {test + (train or 1)} readable pictures, 28x28, of "
                f"{letter}, found {len(own)}; get the archive again"
            )
        parts[True] += own[test:][:train]
        parts[False] += own[:test]
    return {part: _stack(rows) for part, rows in parts.items()}, skipped


def _pixels(content: bytes) -> bytes | None:
    """Return the 784 grey levels of a PNG file, or None if it cannot be read or is larger."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return image.convert("L").tobytes() if image.size == (28, 28) else None
    except Exception:  # a damaged picture can make its reader raise almost anything
        return None


def _stack(rows: list[tuple[str, int, bytes]]) -> Part:
    rows.sort(key=lambda row: row[0][::-1])
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
        download: fetch the archive into `root` if nothing is found.

    Attributes:
        skipped: pictures of the archive that cannot be read (two in the original); 0 when the
            images come from idx files.

    Raises:
        UserError: files are missing, cannot be downloaded, are corrupt or another data set's.
    """

    name = "notMNIST"
    folders = "notMNIST/raw", "notMNIST", "."
    classes = LETTERS
    archive = "notMNIST_small.tar.gz"
    urls = (
        "http://yaroslavvb.com/upload/notMNIST/",
        "https://commondatastorage.googleapis.com/books1000/",
    )
    per_class: ClassVar[tuple[int, int | None]] = (200, None)  # test and train images of an archive
    skipped = 0

    _download = StoredDataset._download

    def _load(self, source: Path, train: bool) -> Iterable[np.ndarray]:
        if source.is_dir():
            return super()._load(source, train)
        return self._check(source, strict=False)[train]

    def _check(self, archive: Path, strict: bool = True) -> dict[bool, Part]:
        modified = archive.stat().st_mtime_ns
        parts, self.skipped = read_archive(archive.resolve(), modified, *self.per_class)
        content = b"".join(map(idx_bytes, parts[True] + parts[False]))
        check_content(archive, self.archive, content, strict=strict)
        return parts


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
            folder = self.root / "notMNIST-extra"
            more = [read_idx(path_of(folder, kind), f"notMNIST-extra/{kind}") for kind in KINDS]
            self.data = np.concatenate([self.data, more[0]])
            self.targets = np.concatenate([self.targets, more[1]])


class NotMNISTLarge(NotMNIST):
    """60,000 train images of the large notMNIST, 6,000 a letter, and 10,000 test images.

    The public selection in MNIST's format (github.com/davidflanagan/notMNIST-to-MNIST), very
    probably what the authors of the paper trained their source nets on. About 6.5 % of the labels
    are wrong, and some images occur several times. Its test images are of the small notMNIST.
    Without its four files, as many are taken from the original archive `notMNIST_large.tar.gz`, as
    `read_archive` says; then the test images are of the large notMNIST, too.

    Args:
        root: folder with the files. The idx files in `notMNIST-large/raw/`, `notMNIST-large/` or
            directly; the archive directly, in `notMNIST-large/` or `notMNIST-large/raw/`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch the four files into `root/notMNIST-large/raw/` if nothing is found.

    Attributes:
        skipped: pictures of the archive that cannot be read.

    Raises:
        UserError: files are missing, cannot be downloaded, are corrupt or another data set's.
    """

    name = "notMNIST-large"
    folders = "notMNIST-large/raw", "notMNIST-large", "."
    archive = "notMNIST_large.tar.gz"
    urls = ("https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/master/",)
    per_class = (1000, 6000)
    _download = IdxDataset._download
