"""notMNIST: letters A to J in many typefaces, by Yaroslav Bulatov."""

import functools
import hashlib
import logging
import tarfile
import zlib
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from dwp.data.idx import idx_bytes
from dwp.data.images import ImageDataset
from dwp.data.limits import Bounded, decode
from dwp.data.sources import (
    CHECKSUMS,
    FILES,
    TEST_FILES,
    TRAIN_FILES,
    download,
    find_idx,
    missing_files,
    own_folders,
    read_part,
)
from dwp.errors import UserError

_log = logging.getLogger(__name__)

ARCHIVE = "notMNIST_small.tar.gz"
LETTERS = tuple("ABCDEFGHIJ")
_MOST_MEMBER = 2**20  # bytes; the pictures have some hundreds


class Archive(NamedTuple):
    """The content of the original archive.

    Attributes:
        parts: (images, labels) by "train" and "test"; uint8 of shapes (n, 28, 28) and (n,).
        skipped: number of pictures that could not be read.
    """

    parts: dict[str, tuple[torch.Tensor, torch.Tensor]]
    skipped: int

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of the parts as idx files, in hex, by file name."""
        tensors = self.parts["train"] + self.parts["test"]
        return {
            file: hashlib.sha256(idx_bytes(tensor)).hexdigest()
            for file, tensor in zip(TRAIN_FILES + TEST_FILES, tensors, strict=True)
        }


def read_archive(path: str | Path, test_per_class: int = 200) -> Archive:
    """Read the original archive of PNG files (`notMNIST_small/A/xxx.png`) and split it.

    Copies within a class count once, and pictures found in more than one class are dropped. Of
    each class the `test_per_class` pictures with the smallest SHA-256 of their 784 pixels are the
    test part. Both parts are ordered by the reversed hex text of that digest, which mixes the
    classes. So the result depends on the pictures only, not on file names or order.

    Args:
        path: the archive.
        test_per_class: test images of each class; the others are the train part.

    Raises:
        UserError: not a readable archive, a picture is not 28 x 28, or a class has too few.
    """
    found: dict[bytes, set[int]] = {}
    skipped = 0
    try:
        # A stream: nothing is extracted, and no member is looked for out of order.
        with Bounded(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                parts = member.name.split("/")
                inside = not member.name.startswith("/") and ".." not in parts
                plain = member.isdir() or (member.isfile() and member.size <= _MOST_MEMBER)
                if not (inside and plain):
                    raise UserError(
                        f"{path}: expected folders and files of at most {_MOST_MEMBER} bytes, "
                        f"found {member.name} ({member.size} bytes); get the archive again"
                    )
                # Archives made on a Mac hold a hidden "._name.png" beside each file.
                if (
                    not member.isfile()
                    or not parts[-1].endswith(".png")
                    or parts[-1].startswith(".")
                    or len(parts) < 2
                    or parts[-2] not in LETTERS
                ):
                    continue
                try:
                    pixels = decode(archive.extractfile(member).read(), "PNG", (28, 28), None)
                except LookupError as error:
                    raise UserError(
                        f"{path}: expected pictures of 28x28, found {member.name} of {error}; get "
                        "the archive again"
                    ) from None
                except ValueError:
                    skipped += 1
                    _log.info("%s: %s cannot be read, skipped", path, member.name)
                    continue
                found.setdefault(pixels.tobytes(), set()).add(LETTERS.index(parts[-2]))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path}: not a readable archive ({error}); get it again") from None

    by_class: list[list[tuple[str, bytes]]] = [[] for _ in LETTERS]
    for pixels, labels in found.items():
        if len(labels) == 1:
            by_class[next(iter(labels))].append((hashlib.sha256(pixels).hexdigest(), pixels))
    chosen: dict[str, list[tuple[str, int, bytes]]] = {"train": [], "test": []}
    for label, pictures in enumerate(by_class):
        if len(pictures) <= test_per_class:
            raise UserError(
                f"{path}: expected more than {test_per_class} different pictures of "
                f"{LETTERS[label]}, found {len(pictures)}; get the archive again"
            )
        for rank, (digest, pixels) in enumerate(sorted(pictures)):
            part = "test" if rank < test_per_class else "train"
            chosen[part].append((digest[::-1], label, pixels))
    return Archive({part: _stack(sorted(rows)) for part, rows in chosen.items()}, skipped)


def _stack(rows: list[tuple[str, int, bytes]]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = bytearray(b"".join(row[2] for row in rows))
    images = torch.frombuffer(pixels, dtype=torch.uint8).view(-1, 28, 28)
    return images, torch.tensor([row[1] for row in rows], dtype=torch.uint8)


@functools.lru_cache(maxsize=1)
def _cached(path: Path, modified: int, test_per_class: int) -> Archive:
    # Reading takes seconds, and the train and test parts are mostly asked for one after the other.
    archive = read_archive(path, test_per_class)
    if archive.skipped:
        _log.info("%s: %d pictures cannot be read, skipped", path, archive.skipped)
    if archive.checksums() != CHECKSUMS[NotMNIST.name]:
        _log.warning("%s: not the notMNIST that dwp knows; using it as it is", path)
    return archive


class NotMNIST(ImageDataset):
    """The small notMNIST without its repeated pictures: 16,230 train and 2,000 test images.

    Read from four idx files named as MNIST's or, without them, from the original archive
    `notMNIST_small.tar.gz`; `read_archive` tells how that is split. Another selection of
    notMNIST's letters in idx files is accepted, with a warning in the log.

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

    name: ClassVar[str] = "notMNIST"
    classes = LETTERS
    test_per_class: ClassVar[int] = 200
    mirrors: ClassVar[tuple[str, ...]] = (
        "http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz",
        "https://commondatastorage.googleapis.com/books1000/notMNIST_small.tar.gz",
    )

    def _read(self, train: bool, download: bool) -> None:
        self.skipped = 0
        folder = Path(self.root)
        found = find_idx(folder, self.name)
        archive = self._find_archive(folder)
        if archive is not None and folder in (path.parent for path in found.values()):
            # Idx files directly in the root may be any set's; the archive can only be notMNIST.
            found = {}
        if len(found) == len(FILES):
            self.data, self.targets = read_part(
                found, self.name, train, len(self.classes), strict=False
            )
            return
        if archive is None and found:
            raise missing_files(self.name, found)
        if archive is None and download:
            archive = self._download(folder)
        if archive is None:
            raise UserError(
                f"{folder}: notMNIST not found; put {ARCHIVE} into {folder / self.name}, from "
                f"{self.mirrors[0]}, or idx files named as MNIST's into "
                f"{own_folders(folder, self.name)[0]}, or allow the download"
            )
        content = _cached(archive.resolve(), archive.stat().st_mtime_ns, self.test_per_class)
        images, labels = content.parts["train" if train else "test"]
        self.data, self.targets = images.clone(), labels.long()
        self.skipped = content.skipped

    def _find_archive(self, root: Path) -> Path | None:
        folders = (root, root / self.name, root / self.name / "raw")
        return next((f / ARCHIVE for f in folders if (f / ARCHIVE).is_file()), None)

    def _download(self, root: Path) -> Path:
        def check(path: Path) -> None:
            if read_archive(path, self.test_per_class).checksums() != CHECKSUMS[self.name]:
                raise UserError("not the content of notMNIST_small")

        destination = root / self.name / ARCHIVE
        download(self.mirrors, destination, check)
        return destination
