"""MNIST: handwritten digits."""

from pathlib import Path
from typing import ClassVar

from dwp.data.idx import read_idx
from dwp.data.images import ImageDataset
from dwp.data.sources import (
    FILES,
    check_content,
    download,
    find_idx,
    missing_files,
    own_folders,
    read_part,
)
from dwp.errors import UserError


class MNIST(ImageDataset):
    """MNIST, 60,000 train and 10,000 test images, from its four idx files.

    Args:
        root: folder with the files, in `MNIST/raw/`, `MNIST/` or directly; plain or `.gz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch files that are missing into `root/MNIST/raw/`.

    Raises:
        UserError: files are missing, cannot be downloaded, or are not MNIST's.
    """

    name: ClassVar[str] = "MNIST"
    classes = tuple("0123456789")
    mirrors: ClassVar[tuple[str, ...]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )

    def _read(self, train: bool, download: bool) -> None:
        folder = Path(self.root)
        found = find_idx(folder, self.name)
        if download and len(found) < len(FILES):
            self._download(folder, found)
        if not found:
            raise UserError(
                f"{folder}: MNIST not found; put {', '.join(f'{file}.gz' for file in FILES)} "
                f"into {own_folders(folder, self.name)[0]}, from {self.mirrors[0]}, "
                "or allow the download"
            )
        if len(found) < len(FILES):
            raise missing_files(self.name, found)
        self.data, self.targets = read_part(found, self.name, train, len(self.classes), strict=True)

    def _download(self, root: Path, found: dict[str, Path]) -> None:
        """Fetch the files that are not in `found`, beside those that are, and add them to it."""
        folder = own_folders(root, self.name)[0]
        if found:
            folder = next(iter(found.values())).parent
        for file in FILES:
            if file in found:
                continue

            def check(path: Path, file: str = file) -> None:
                if not check_content(self.name, file, read_idx(path)[1], path):
                    raise UserError(f"not the content of MNIST's {file}")

            path = folder / f"{file}.gz"
            download([f"{mirror}{path.name}" for mirror in self.mirrors], path, check)
            found[file] = path
