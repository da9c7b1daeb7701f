"""Where the files of a data set are, whether they are the right ones, and how to get them."""

import contextlib
import fcntl
import http.client
import logging
import shutil
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch

from dwp.data.idx import read_idx
from dwp.errors import UserError
from dwp.files import atomic

_log = logging.getLogger(__name__)

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = TRAIN_FILES + TEST_FILES

# SHA-256 of the decompressed files, by data set and file. Together, because the files of all sets
# have the same names: one that lies in the wrong folder is told by its content.
CHECKSUMS: dict[str, dict[str, str]] = {
    "MNIST": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "notMNIST": {
        "train-images-idx3-ubyte": (
            "b29a7071a493b85387834d67a02faef0375089f75b443f03f7dff0eb00ecee70"
        ),
        "train-labels-idx1-ubyte": (
            "fa9b7112c73957961a591b8d9edee20f0a67ae48579b87d0bf210491846e362c"
        ),
        "t10k-images-idx3-ubyte": (
            "32b5c096eb25b2e6435c5e047b54503c147a7283a5aa1795e2c1d378c5001930"
        ),
        "t10k-labels-idx1-ubyte": (
            "769daa18eb2ac29872d11cbef6f4be30ea2106a503984c2c3128a47088e3af88"
        ),
    },
}


def own_folders(root: Path, name: str) -> tuple[Path, ...]:
    """Return the folders under `root` that belong to the data set `name` alone."""
    return root / name / "raw", root / name


def find_idx(root: Path, name: str) -> dict[str, Path]:
    """Find the four idx files of a data set, plain or `.gz`, in one folder.

    The folder is `root/<name>/raw`, `root/<name>`, or `root` itself. The last only if `root` has
    no folder of a known data set: beside one, nobody can tell whose the files in `root` are.

    Returns:
        Paths by file name: all four from the first folder that has them all; otherwise those
        of the first folder that has some; otherwise none.
    """
    folders = own_folders(root, name)
    if not any((root / known).is_dir() for known in CHECKSUMS):
        folders += (root,)
    partial: dict[str, Path] = {}
    for folder in folders:
        found = {}
        for file in FILES:
            # Some archives write "train-images.idx3-ubyte".
            names = (file, file.replace("-idx", ".idx"))
            paths = [folder / f"{known}{end}" for end in ("", ".gz") for known in names]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                found[file] = path
        if len(found) == len(FILES):
            return found
        partial = partial or found
    return partial


def check_content(name: str, file: str, digest: str, path: Path) -> bool:
    """Tell whether `digest` is that of the known `file` of the data set `name`.

    Args:
        name: the data set that is wanted.
        file: which of its files.
        digest: SHA-256 of the decompressed content found, in hex.
        path: where it was found, for the message.

    Returns:
        True if it is, False if the content is unknown.

    Raises:
        UserError: the content is known, but is another file or another data set's.
    """
    for other, checksums in CHECKSUMS.items():
        for other_file, known in checksums.items():
            if digest == known and (other, other_file) != (name, file):
                raise UserError(
                    f"{path}: holds {other}'s {other_file}, expected {name}'s {file}; "
                    f"replace it by {name}'s"
                )
    return digest == CHECKSUMS[name][file]


def read_part(
    paths: Mapping[str, Path], name: str, train: bool, classes: int, strict: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the train or test part from idx files.

    Args:
        paths: paths by file name, as `find_idx` returns them, all four.
        name: the data set.
        train: which part.
        classes: the number of classes.
        strict: refuse unknown content; otherwise log a warning and accept it.

    Returns:
        Images, uint8 (n, 28, 28), and targets, int64 (n,).

    Raises:
        UserError: a file is corrupt, holds another set's or part's content, or (if `strict`)
            unknown content; shapes or labels do not fit.
    """
    files = TRAIN_FILES if train else TEST_FILES
    (images, images_digest), (labels, labels_digest) = (read_idx(paths[file]) for file in files)
    for file, digest in zip(files, (images_digest, labels_digest), strict=True):
        if check_content(name, file, digest, paths[file]):
            continue
        if strict:
            raise UserError(
                f"{paths[file]}: expected {name}'s {file} with SHA-256 "
                f"{CHECKSUMS[name][file]} (decompressed), found {digest}; get it again"
            )
        _log.warning("%s: not the %s that dwp knows; using it as it is", paths[file], name)
    images_path, labels_path = (paths[file] for file in files)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or len(images) == 0:
        raise UserError(
            f"{images_path}: expected images of shape (n, 28, 28), found {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"{labels_path}: expected {len(images)} labels, one for each image of "
            f"{images_path.name}, found shape {tuple(labels.shape)}"
        )
    if int(labels.max()) >= classes:
        raise UserError(
            f"{labels_path}: expected labels from 0 to {classes - 1}, found {int(labels.max())}"
        )
    return images, labels.long()


def missing_files(name: str, found: Mapping[str, Path]) -> UserError:
    """Return the error for a data set of which only some idx files were found."""
    missing = ", ".join(file for file in FILES if file not in found)
    folder = next(iter(found.values())).parent
    return UserError(
        f"{folder}: {name} is incomplete, missing {missing} (plain or .gz); add them there"
    )


def download(urls: Iterable[str], destination: Path, check: Callable[[Path], None]) -> None:
    """Fetch a file from the first of several addresses that gives the right content.

    Args:
        urls: addresses, tried in order.
        destination: where the file goes; nothing is left there if every address fails.
        check: is given the downloaded file under a temporary name; raises `UserError` to refuse.

    Raises:
        UserError: every address failed.
    """
    failures = []
    for url in urls:
        _log.info("downloading %s", url)
        temporary = destination
        try:
            with atomic(destination) as temporary:
                with (
                    urllib.request.urlopen(url, timeout=30) as response,
                    temporary.open("wb") as file,
                ):
                    shutil.copyfileobj(response, file)
                check(temporary)
            return
        except (OSError, http.client.HTTPException, UserError) as error:
            reason = " ".join(str(error).replace(f"{temporary}: ", "").split())
            failures.append(f"{url} ({reason})")
    raise UserError(
        f"{destination}: could not be downloaded; put it there by hand; tried {', '.join(failures)}"
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within the block, keep other processes that ask for the same lock waiting.

    Args:
        path: a file that stands for the lock, made with its folder if need be; it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, however the process ends
        yield
