"""notMNIST: letters A to J in many typefaces, by Yaroslav Bulatov."""

import functools
import hashlib
import io
import logging
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import Image

from dwp.data.download import download
from dwp.data.idx import FILES, KNOWN, IdxDataset, idx_bytes, read_known
from dwp.errors import UserError

_log = logging.getLogger(__name__)

LETTERS = tuple("ABCDEFGHIJ")

Part = tuple[np.ndarray, np.ndarray]
_Row = tuple[str, int, bytes]  # key of the order, class, pixels


class Archive(NamedTuple):
    """The images (n, 28, 28) and labels (n,), uint8, of an archive, and its unreadable pictures."""

    train: Part
    test: Part
    skipped: int

    @property
    def known(self) -> bool:
        """Whether these are the parts of the small notMNIST that dwp knows."""
        digests = [hashlib.sha256(idx_bytes(part)).hexdigest() for part in self.train + self.test]
        return [KNOWN.get(digest) for digest in digests] == [(NotMNIST.name, f) for f in FILES]


def read_small(path: Path, test_per_class: int) -> Archive:
    """Read the archive of the small notMNIST (`notMNIST_small/A/xxx.png`) and split it.

    Copies within a class count once, and pictures found in more than one class are dropped. Of
    each class the `test_per_class` pictures with the smallest SHA-256 of their 784 pixels are the
    test part. Both parts are ordered by the reversed hex text of that digest, which mixes the
    classes. So the result depends on the pictures only, not on file names or order.

    Args:
        path: the archive.
        test_per_class: test images of each class; the others are the train part.

    Raises:
        UserError: not a readable archive, or a class has too few readable pictures of 28 x 28.
    """
    labels: dict[bytes, set[int]] = {}
    skipped = 0
    for name, label, content in _pictures(path):
        pixels = _pixels(content)
        if pixels is None:
            skipped += 1
            _log.info("%s: %s cannot be read, skipped", path, name)
        else:
            labels.setdefault(pixels, set()).add(label)
    parts: tuple[list[_Row], list[_Row]] = [], []
    for label in range(len(LETTERS)):
        rows = sorted(
            (hashlib.sha256(pixels).hexdigest(), label, pixels)
            for pixels, found in labels.items()
            if found == {label}
        )
        _check_number(path, label, len(rows), test_per_class + 1)
        for rank, (digest, _, pixels) in enumerate(rows):
            parts[rank < test_per_class].append((digest[::-1], label, pixels))
    return Archive(*map(_part, parts), skipped)


def draw_large(path: Path, seed: int, train_per_class: int, test_per_class: int) -> Archive:
    """Draw pictures from the archive of the large notMNIST (`notMNIST_large/A/xxx.png`).

    The order of the draw, and of the parts, is that of the SHA-256 of the seed and the name.
    Copies are kept.

    Args:
        path: the archive.
        seed: which draw.
        train_per_class: training images of each class.
        test_per_class: test images of each class.

    Raises:
        UserError: as `read_small`.
    """
    listed: list[list[tuple[str, bytes]]] = [[] for _ in LETTERS]
    for name, label, content in _pictures(path):
        listed[label].append((hashlib.sha256(f"{seed} {name}".encode()).hexdigest(), content))
    parts: tuple[list[_Row], list[_Row]] = [], []
    skipped = 0
    for label, pictures in enumerate(listed):
        rows: list[_Row] = []
        for key, content in sorted(pictures):
            if len(rows) == train_per_class + test_per_class:
                break
            pixels = _pixels(content)
            if pixels is None:
                skipped += 1
            else:
                rows.append((key, label, pixels))
        _check_number(path, label, len(rows), train_per_class + test_per_class)
        parts[0].extend(rows[:train_per_class])
        parts[1].extend(rows[train_per_class:])
    return Archive(*map(_part, parts), skipped)


def _pictures(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield the name, class and content of the PNG files of an archive."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                letter, file = ("", *member.name.split("/"))[-2:]
                # Archives made on a Mac hold a hidden "._name.png" beside each file.
                picture = file.endswith(".png") and not file.startswith(".")
                if letter in LETTERS and picture and member.isfile():
                    content = archive.extractfile(member).read()
                    yield f"{letter}/{file}", LETTERS.index(letter), content
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path}: not a readable archive ({error}); get it again") from None


def _pixels(content: bytes) -> bytes | None:
    """Return the 784 grey levels of a PNG file, or None if it cannot be read or is larger."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return image.convert("L").tobytes() if image.size == (28, 28) else None
    except Exception:  # a damaged picture can make its reader raise almost anything
        return None


def _part(rows: Iterable[_Row]) -> Part:
    rows = sorted(rows)
    images = np.frombuffer(b"".join(row[2] for row in rows), np.uint8).reshape(-1, 28, 28)
    return images, np.array([row[1] for row in rows], np.uint8)


def _check_number(path: Path, label: int, found: int, needed: int) -> None:
    if found < needed:
        raise UserError(
            f"{path}: expected at least {needed} readable pictures, 28x28, of {LETTERS[label]}, "
            f"found {found}; get the archive again"
        )


@functools.lru_cache(maxsize=1)
def _cached(
    read: Callable[..., Archive], path: Path, modified: int, *arguments: int
) -> Archive:
    # Reading takes seconds, and the train and test parts are mostly asked for one after the other.
    return read(path, *arguments)


class NotMNIST(IdxDataset):
    """The small notMNIST without its repeated pictures: 16,230 train and 2,000 test images.

    Read from four idx files named as MNIST's or, without them, from the original archive
    `notMNIST_small.tar.gz`, split as `read_small` says. Another selection of notMNIST's letters in
    idx files is accepted, with a warning in the log.

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

    def _read_archive(self, path: Path, train: bool) -> Part:
        content = self._content(path)
        self.skipped = content.skipped
        return content.train if train else content.test

    def _content(self, path: Path) -> Archive:
        modified = path.stat().st_mtime_ns
        content = _cached(read_small, path.resolve(), modified, self.test_per_class)
        if not content.known:
            _log.warning("%s: not the notMNIST that dwp knows; using it as it is", path)
        return content

    def _download(self, root: Path, folder: Path | None, missing: list[str]) -> None:
        def check(path: Path) -> None:
            if not read_small(path, self.test_per_class).known:
                raise UserError("not the content of notMNIST_small")

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
            images, labels = (
                self._extra(folder, file) for file in ("images-idx3-ubyte", "labels-idx1-ubyte")
            )
            self.data = np.concatenate([self.data, images])
            self.targets = np.concatenate([self.targets, labels])

    def _extra(self, folder: Path, file: str) -> np.ndarray:
        path = folder / file
        path = path if path.is_file() else folder / f"{file}.gz"
        return read_known(path, "notMNIST-extra", file, strict=False)


class NotMNISTLarge(NotMNIST):
    """60,000 train images of the large notMNIST, 6,000 a letter, and 10,000 test images.

    The public selection in MNIST's format (github.com/davidflanagan/notMNIST-to-MNIST), very
    probably what the authors of the paper trained their source nets on. About 6.5 % of the labels
    are wrong, and some images occur several times. Its test images are of the small notMNIST.
    Without its four files, as many are drawn from the original archive `notMNIST_large.tar.gz`, as
    `draw_large` says; then the test images are of the large notMNIST, too.

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
    per_class: ClassVar[tuple[int, int]] = (6000, 1000)
    _download = IdxDataset._download

    def _content(self, path: Path) -> Archive:
        modified = path.stat().st_mtime_ns
        return _cached(draw_large, path.resolve(), modified, self.seed, *self.per_class)
