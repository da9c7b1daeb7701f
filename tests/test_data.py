"""Data sets and subsets: what is read is what was written, and wrong files are refused."""

import gzip
import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dwp.data import (
    DATASETS,
    _torchvision,
    check_different,
    data_folder,
    load_dataset,
    sources,
    stratified_subset,
    validation_indices,
)
from dwp.data.choice import choose, share_images
from dwp.data.cifar import CIFAR10, CIFAR100
from dwp.data.digits import Digits
from dwp.data.glyphs import Glyphs
from dwp.data.idx import idx_bytes, read_idx
from dwp.data.images import ImageDataset
from dwp.data.mnist import MNIST
from dwp.data.notmnist import ARCHIVE, LETTERS, NotMNIST, read_archive
from dwp.data.tensors import ImageTensors
from dwp.errors import UserError

REAL = os.environ.get("DWP_DATA")


def needs_real(name: str) -> pytest.MarkDecorator:
    there = REAL is not None and len(sources.find_idx(Path(REAL), name)) == 4
    return pytest.mark.skipif(not there, reason=f"needs {name}'s idx files in DWP_DATA")


def make_parts(seed: int, train: int = 40, test: int = 20) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    parts = {}
    for prefix, n in (("train", train), ("t10k", test)):
        parts[f"{prefix}-images-idx3-ubyte"] = torch.randint(
            0, 256, (n, 28, 28), generator=draw, dtype=torch.uint8
        )
        parts[f"{prefix}-labels-idx1-ubyte"] = (torch.arange(n) % 10).to(torch.uint8)
    # Real sets differ in their labels, too.
    parts["train-labels-idx1-ubyte"][0] = seed % 10
    parts["t10k-labels-idx1-ubyte"][0] = seed % 10
    return parts


def write_idx(path: Path, tensor: torch.Tensor) -> None:
    content = idx_bytes(tensor)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_parts(folder: Path, parts: dict[str, torch.Tensor], end: str = ".gz") -> None:
    for file, tensor in parts.items():
        write_idx(folder / f"{file}{end}", tensor)


def digests(parts: dict[str, torch.Tensor]) -> dict[str, str]:
    return {file: hashlib.sha256(idx_bytes(tensor)).hexdigest() for file, tensor in parts.items()}


@pytest.fixture
def mnist_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Small random parts that dwp takes for MNIST."""
    parts = make_parts(1)
    monkeypatch.setitem(sources.CHECKSUMS, "MNIST", digests(parts))
    return parts


@pytest.fixture
def notmnist_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    parts = make_parts(2)
    monkeypatch.setitem(sources.CHECKSUMS, "notMNIST", digests(parts))
    return parts


# The idx format


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("shape", [(5,), (3, 28, 28), (0, 28, 28)])
def test_idx_round_trip(tmp_path, end, shape):
    tensor = torch.randint(0, 256, shape, dtype=torch.uint8)
    write_idx(tmp_path / f"x{end}", tensor)
    read, digest = read_idx(tmp_path / f"x{end}")
    assert torch.equal(read, tensor)
    assert read.shape == tensor.shape
    assert digest == hashlib.sha256(idx_bytes(tensor)).hexdigest()


def test_idx_has_the_documented_header():
    assert idx_bytes(torch.zeros(2, 3, dtype=torch.uint8)).hex() == (
        "00000802" + "00000002" + "00000003" + "00" * 6
    )


GOOD = idx_bytes(torch.arange(20, dtype=torch.uint8).view(5, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"<html>not found</html>", "not an idx file"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "unsigned bytes"),
        (GOOD[:9], "truncated"),
        (GOOD[:-1], "expected 20 bytes"),
        (GOOD + b"\0", "expected 20 bytes"),
        (gzip.compress(GOOD)[:-9], "cannot be read"),
        (gzip.compress(GOOD)[:12] + b"\xff" * 30, "cannot be read"),
    ],
)
def test_corrupt_idx_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "broken-idx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Finding idx files


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "."])
def test_mnist_is_found(tmp_path, mnist_parts, place, end):
    write_parts(tmp_path / place, mnist_parts, end)
    train, test = MNIST(tmp_path), MNIST(str(tmp_path), train=False)
    assert torch.equal(train.data, mnist_parts["train-images-idx3-ubyte"])
    assert torch.equal(test.targets, mnist_parts["t10k-labels-idx1-ubyte"].long())
    assert train.data.dtype == torch.uint8
    assert train.targets.dtype == torch.int64
    assert (len(train), len(test)) == (40, 20)


def test_items_are_as_torchvision_gives_them(tmp_path, mnist_parts):
    write_parts(tmp_path, mnist_parts)
    image, target = MNIST(tmp_path)[3]
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("L", (28, 28))
    assert type(target) is int
    assert target == 3
    image, target = MNIST(tmp_path, transform=np.asarray, target_transform=str)[3]
    assert np.array_equal(image, mnist_parts["train-images-idx3-ubyte"][3])
    assert target == "3"


def test_files_in_root_are_not_taken_beside_a_data_folder(tmp_path, mnist_parts):
    write_parts(tmp_path, mnist_parts)
    (tmp_path / "notMNIST").mkdir()
    with pytest.raises(UserError, match="MNIST not found"):
        MNIST(tmp_path)


def test_absent_files_say_what_to_do(tmp_path):
    for dataset, hint in ((MNIST, "t10k-labels-idx1-ubyte.gz"), (NotMNIST, ARCHIVE)):
        with pytest.raises(UserError, match=hint) as caught:
            dataset(tmp_path)
        message = str(caught.value)
        assert str(tmp_path) in message
        assert "http" in message
        assert "\n" not in message


@pytest.mark.parametrize("dataset", [MNIST, NotMNIST])
def test_missing_files_are_named(tmp_path, dataset):
    parts = make_parts(3)
    write_parts(tmp_path / dataset.name / "raw", parts)
    (tmp_path / dataset.name / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="missing t10k-labels-idx1-ubyte"):
        dataset(tmp_path)


# Guards


def test_mnist_in_the_place_of_notmnist_is_refused(tmp_path, mnist_parts):
    write_parts(tmp_path / "notMNIST" / "raw", mnist_parts)
    with pytest.raises(UserError, match="holds MNIST's train-images-idx3-ubyte"):
        NotMNIST(tmp_path)


def test_notmnist_in_the_place_of_mnist_is_refused(tmp_path, notmnist_parts):
    write_parts(tmp_path / "MNIST" / "raw", notmnist_parts)
    with pytest.raises(UserError, match="holds notMNIST's t10k-images-idx3-ubyte"):
        MNIST(tmp_path, train=False)


def test_exchanged_parts_are_refused(tmp_path, notmnist_parts):
    write_parts(tmp_path / "notMNIST", notmnist_parts)
    train = tmp_path / "notMNIST" / "train-images-idx3-ubyte.gz"
    train.write_bytes((tmp_path / "notMNIST" / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(UserError, match="holds notMNIST's t10k-images"):
        NotMNIST(tmp_path)


def test_unknown_content_is_refused_for_mnist_and_logged_for_notmnist(tmp_path, caplog):
    parts = make_parts(4)
    write_parts(tmp_path / "MNIST", parts)
    write_parts(tmp_path / "notMNIST", parts)
    with pytest.raises(UserError, match="expected MNIST's train-images"):
        MNIST(tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = NotMNIST(tmp_path)
    assert torch.equal(dataset.data, parts["train-images-idx3-ubyte"])
    assert "not the notMNIST that dwp knows" in caplog.text


@pytest.mark.parametrize(
    ("file", "tensor", "message"),
    [
        ("train-images-idx3-ubyte", torch.zeros(40, 32, 32, dtype=torch.uint8), "28, 28"),
        ("train-labels-idx1-ubyte", torch.zeros(39, dtype=torch.uint8), "expected 40 labels"),
        ("train-labels-idx1-ubyte", torch.full((40,), 10, dtype=torch.uint8), "found 10"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, file, tensor, message):
    write_parts(tmp_path / "notMNIST", {**make_parts(5), file: tensor})
    with pytest.raises(UserError, match=message):
        NotMNIST(tmp_path)


def test_source_equal_to_target_is_refused():
    def tensors(train: int, test: int) -> ImageTensors:
        parts = [make_parts(seed)["train-images-idx3-ubyte"][:, None] for seed in (train, test)]
        targets = torch.zeros(40, dtype=torch.int64)
        return ImageTensors(parts[0], targets, parts[1], targets)

    one = tensors(1, 2)
    check_different(one, tensors(3, 4))
    for other in (one, tensors(2, 1), tensors(3, 2), tensors(1, 4)):
        with pytest.raises(UserError, match="same 40 images"):
            check_different(one, other)


# The archive of notMNIST


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path: Path, members: list[tuple[str, bytes]], level: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=level) as archive:
        for name, content in members:
            member = tarfile.TarInfo(f"notMNIST_small/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def members() -> list[tuple[str, bytes]]:
    """Five different pictures a letter, and everything that must not count."""
    random = np.random.default_rng(0)
    result = [
        (f"{letter}/{i}.png", png(random.integers(0, 256, (28, 28), dtype=np.uint8)))
        for letter in LETTERS
        for i in range(5)
    ]
    shared = png(np.full((28, 28), 255, dtype=np.uint8))
    return [
        *result,
        ("A/copy.png", result[0][1]),
        ("A/empty.png", b""),
        ("F/garbage.png", b"not a picture"),
        ("B/cut.png", result[5][1][:200]),
        ("C/shared.png", shared),
        ("D/shared.png", shared),
        ("A/._0.png", b"hidden"),
        ("readme.txt", b"text"),
    ]


def test_archive_is_cleaned_and_split(tmp_path, members):
    write_archive(tmp_path / ARCHIVE, members)
    content = read_archive(tmp_path / ARCHIVE, test_per_class=2)
    assert content.skipped == 3
    seen = set()
    for part, each in (("train", 3), ("test", 2)):
        images, labels = content.parts[part]
        assert labels.bincount().tolist() == [each] * 10
        rows = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
        assert [row[::-1] for row in rows] == sorted(row[::-1] for row in rows)
        assert not seen & set(rows)
        seen |= set(rows)
    assert len(seen) == 50
    digest = {
        (part, label): sorted(
            hashlib.sha256(image.numpy().tobytes()).hexdigest()
            for image, own in zip(*content.parts[part], strict=True)
            if own == label
        )
        for part in ("train", "test")
        for label in range(10)
    }
    assert all(digest["test", label][-1] < digest["train", label][0] for label in range(10))


def test_labels_of_the_archive_are_those_of_its_folders(tmp_path, members):
    write_archive(tmp_path / ARCHIVE, members)
    images, labels = read_archive(tmp_path / ARCHIVE, test_per_class=2).parts["train"]
    pictures = {content: name for name, content in members[:50]}
    for image, label in zip(images, labels, strict=True):
        assert pictures[png(image.numpy())].startswith(LETTERS[label])


def test_archive_order_does_not_matter(tmp_path, members):
    write_archive(tmp_path / "one", members)
    write_archive(tmp_path / "two", members[::-1])
    one, two = (read_archive(tmp_path / name, 2).checksums() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("place", [".", "notMNIST", "notMNIST/raw"])
def test_archive_is_found(tmp_path, monkeypatch, caplog, members, place):
    monkeypatch.setattr(NotMNIST, "test_per_class", 2)
    write_archive(tmp_path / place / ARCHIVE, members)
    with caplog.at_level(logging.INFO):
        train, test = NotMNIST(tmp_path), NotMNIST(tmp_path, train=False)
    assert (len(train), len(test)) == (30, 20)
    assert train.skipped == test.skipped == 3
    assert "3 pictures" in caplog.text
    train.data.zero_()
    assert NotMNIST(tmp_path).data.any()


def test_archive_beats_files_of_unknown_owner(tmp_path, monkeypatch, members, mnist_parts):
    monkeypatch.setattr(NotMNIST, "test_per_class", 2)
    write_parts(tmp_path, mnist_parts)
    write_archive(tmp_path / ARCHIVE, members)
    assert len(NotMNIST(tmp_path)) == 30
    assert len(MNIST(tmp_path)) == 40


def test_bad_archives_are_refused(tmp_path, members):
    path = tmp_path / ARCHIVE
    write_archive(path, members)
    with pytest.raises(UserError, match="more than 5 different pictures of A"):
        read_archive(path, test_per_class=5)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match="not a readable archive"):
        read_archive(path, test_per_class=2)
    path.write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a readable archive"):
        NotMNIST(tmp_path)
    write_archive(path, [("A/wide.png", png(np.zeros((20, 30), dtype=np.uint8)))])
    with pytest.raises(UserError, match="of 30x20"):
        read_archive(path)


@needs_real("notMNIST")
def test_archive_of_the_real_pictures_gives_the_known_files(tmp_path):
    rows = []
    for train in (True, False):
        part = NotMNIST(REAL, train=train)
        for i, (image, label) in enumerate(zip(part.data.numpy(), part.targets, strict=True)):
            rows.append((f"{LETTERS[label]}/{train}{i}.png", png(image)))
    extra = [(f"{rows[0][0][0]}/copy.png", rows[0][1]), ("F/empty.png", b"")]
    write_archive(tmp_path / ARCHIVE, sorted(rows + extra))
    content = read_archive(tmp_path / ARCHIVE)
    assert content.skipped == 1
    assert content.checksums() == sources.CHECKSUMS["notMNIST"]


# Downloads


def test_mnist_download_tries_mirrors_in_order(tmp_path, monkeypatch, mnist_parts):
    bad, good = tmp_path / "bad", tmp_path / "good"
    write_parts(bad, make_parts(8))
    (bad / "t10k-labels-idx1-ubyte.gz").write_bytes(b"<html>")
    write_parts(good, mnist_parts)
    absent = tmp_path / "absent"
    mirrors = tuple(f"{folder.as_uri()}/" for folder in (absent, bad, good))
    monkeypatch.setattr(MNIST, "mirrors", mirrors)
    root = tmp_path / "data"
    with pytest.raises(UserError, match="allow the download"):
        MNIST(root)
    train = MNIST(root, download=True)
    assert torch.equal(train.data, mnist_parts["train-images-idx3-ubyte"])
    names = sorted(path.name for path in (root / "MNIST" / "raw").iterdir())
    assert names == sorted(f"{file}.gz" for file in sources.FILES)
    assert len(MNIST(root, train=False)) == 20


def test_interrupted_mnist_download_goes_on(tmp_path, monkeypatch, mnist_parts):
    write_parts(tmp_path / "mirror", mnist_parts)
    monkeypatch.setattr(MNIST, "mirrors", ((tmp_path / "mirror").as_uri() + "/",))
    MNIST(tmp_path, download=True)
    kept = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    (kept.parent / "t10k-images-idx3-ubyte.gz").unlink()
    before = kept.stat().st_mtime_ns
    assert len(MNIST(tmp_path, train=False, download=True)) == 20
    assert kept.stat().st_mtime_ns == before


def test_download_from_bad_mirrors_leaves_nothing(tmp_path, monkeypatch, mnist_parts):
    write_parts(tmp_path / "bad", make_parts(8))
    mirrors = tuple((tmp_path / name).as_uri() + "/" for name in ("bad", "absent"))
    monkeypatch.setattr(MNIST, "mirrors", mirrors)
    with pytest.raises(UserError, match="put it there by hand") as caught:
        MNIST(tmp_path / "data", download=True)
    message = str(caught.value)
    assert "\n" not in message
    assert all(mirror in message for mirror in mirrors)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_notmnist_download(tmp_path, monkeypatch, members):
    monkeypatch.setattr(NotMNIST, "test_per_class", 2)
    bad, other, good = (tmp_path / name for name in ("bad", "other", "good"))
    bad.write_bytes(b"<html>")
    write_archive(good, members)
    monkeypatch.setitem(sources.CHECKSUMS, "notMNIST", read_archive(good, 2).checksums())
    write_archive(other, [("A/more.png", png(np.eye(28, dtype=np.uint8))), *members])
    mirrors = [path.as_uri() for path in (bad, other)]
    monkeypatch.setattr(NotMNIST, "mirrors", mirrors)
    with pytest.raises(UserError, match="not the content of notMNIST_small"):
        NotMNIST(tmp_path / "data", download=True)
    monkeypatch.setattr(NotMNIST, "mirrors", [*mirrors, good.as_uri()])
    assert len(NotMNIST(tmp_path / "data", download=True)) == 30
    assert len(NotMNIST(tmp_path / "data", train=False)) == 20


# CIFAR


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, dataset: type = CIFAR10) -> dict:
    """Write small files in torchvision's layout, which dwp then takes for CIFAR; return them."""
    reader, random = dataset.reader, np.random.default_rng(0)
    labels, classes = ("labels", 10) if dataset is CIFAR10 else ("fine_labels", 100)
    contents = {}
    for number, name in enumerate([name for name, _ in reader.train_list + reader.test_list]):
        pixels = random.integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8)
        contents[name] = {"data": pixels, labels: [(number + i) % classes for i in range(20)]}
    meta = {reader.meta["key"]: [f"class {i}" for i in range(classes)]}
    place = folder / reader.base_folder
    place.mkdir(parents=True)
    md5 = {}
    for name, content in {**contents, reader.meta["filename"]: meta}.items():
        (place / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((place / name).read_bytes()).hexdigest()
    for parts in ("train_list", "test_list"):
        known = [[name, md5[name]] for name, _ in getattr(reader, parts)]
        monkeypatch.setattr(reader, parts, known)
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": md5[reader.meta["filename"]]})
    return contents


def write_cifar_archive(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move what `write_cifar` wrote for CIFAR-10 into an archive, which dwp then takes for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(folder / "cifar-10-batches-py")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10.reader, "tgz_md5", md5)
    monkeypatch.setattr(CIFAR10.reader, "url", path.as_uri())


def test_one_process_extracts_cifar_and_the_other_waits(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    write_cifar_archive(tmp_path, tmp_path / CIFAR10.reader.filename, monkeypatch)
    extract, extracted = _torchvision.extract_archive, []

    def slowly(archive, root):
        extracted.append(archive)
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir(exist_ok=True)
        (folder / "data_batch_1").write_bytes(b"half")  # what the other would find
        other = threading.Thread(target=lambda: found.append(len(CIFAR10(tmp_path))))
        other.start()
        other.join(0.3)
        assert not found
        extract(archive, root)
        others.append(other)

    found, others = [], []
    monkeypatch.setattr(_torchvision, "extract_archive", slowly)
    assert len(CIFAR10(tmp_path)) == 100
    others[0].join()
    assert found == [100]
    assert len(extracted) == 1


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(tmp_path, monkeypatch, name):
    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    contents = list(write_cifar(tmp_path, monkeypatch, dataset).values())
    train, test = (load_dataset(name, tmp_path, train=train) for train in (True, False))
    assert train.images.shape == (20 * (len(contents) - 1), 3, 32, 32)
    assert test.images.shape == (20, 3, 32, 32)
    assert torch.equal(test.images.flatten(1), torch.from_numpy(contents[-1]["data"]))
    assert torch.equal(train.images[:20].flatten(1), torch.from_numpy(contents[0]["data"]))
    labels = "labels" if name == "cifar10" else "fine_labels"
    assert test.targets.tolist() == contents[-1][labels]
    assert test.targets.dtype == torch.int64
    assert len(train.classes) == DATASETS[name].classes
    image, target = test[2]
    assert (image.mode, image.size, target) == ("RGB", (32, 32), test.targets[2])
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), test.images[2])


def test_cifar_from_its_archive_or_a_download(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    away = tmp_path / "away" / CIFAR10.reader.filename
    write_cifar_archive(tmp_path, away, monkeypatch)
    with pytest.raises(UserError, match=r"CIFAR-10 not found; put cifar-10-python.tar.gz into"):
        CIFAR10(tmp_path)
    assert len(CIFAR10(tmp_path / "one", download=True)) == 100
    (tmp_path / "two").mkdir()
    shutil.copy(away, tmp_path / "two")
    away.write_bytes(b"<html>")
    assert len(CIFAR10(tmp_path / "two", train=False)) == 20
    with pytest.raises(UserError, match=r"could not be downloaded.* \(not CIFAR-10's archive\)"):
        CIFAR10(tmp_path / "three", download=True)
    assert not [path for path in (tmp_path / "three").rglob("*") if path.is_file()]


class Harm:
    """Something whose unpickling does what it likes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_foreign_pickles_are_not_read(tmp_path, monkeypatch, name):
    write_cifar(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / name
    path.write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    for train in (True, False):
        with pytest.raises(UserError, match=f"CIFAR-10 {name} missing or damaged; put") as caught:
            CIFAR10(tmp_path, train=train)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "harm").exists()  # it would have been harmful


# npz files


def jpeg(pixels: np.ndarray, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").convert(mode).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def jpeg_arrays(images: list[bytes] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a small part: blocks of one colour, by the format of the JPEG copy."""
    if images is None:
        random = np.random.default_rng(0)
        blocks = random.integers(0, 256, (12, 1, 1, 3), dtype=np.uint8)
        images = [jpeg(np.tile(block, (32, 32, 1))) for block in blocks]
    header = min(images)
    while not all(image.startswith(header) for image in images):
        header = header[:-1]
    rest = [image.removeprefix(header) for image in images]
    return {
        "header": np.frombuffer(header, np.uint8),
        "data": np.frombuffer(b"".join(rest), np.uint8),
        "offsets": np.cumsum([0, *map(len, rest)]).astype(np.uint32),
        "labels": (np.arange(len(images)) % 10).astype(np.uint8),
    }


def shapes_arrays() -> dict[str, np.ndarray]:
    random, arrays = np.random.default_rng(1), {}
    for part, n in (("train", 16), ("test", 8)):
        images = random.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)
        arrays |= {f"{part}_images": images, f"{part}_labels": np.arange(n, dtype=np.uint8) % 4}
    return arrays


NPZ = {
    "cifar10-jpeg": ("CIFAR10-jpeg/train.npz", jpeg_arrays),
    "four-shapes": ("four-shapes/four-shapes-16x16.npz", shapes_arrays),
}


def write_npz(root: Path, name: str, arrays: dict[str, np.ndarray] | None = None) -> Path:
    place, make = NPZ[name]
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **(make() if arrays is None else arrays))
    return path


def refused(root: Path, name: str) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        load_dataset(name, root, train=True)
    message = str(caught.value)
    assert message.startswith(str(root / NPZ[name][0]))
    assert "\n" not in message
    return message


def test_jpeg_copy(tmp_path):
    arrays = jpeg_arrays()
    write_npz(tmp_path, "cifar10-jpeg", arrays)
    dataset = load_dataset("cifar10-jpeg", tmp_path, train=True)
    assert dataset.images.shape == (12, 3, 32, 32)
    assert dataset.targets.tolist() == arrays["labels"].tolist()
    colours = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3), dtype=np.uint8)
    difference = dataset.data.numpy().astype(int) - colours
    assert np.abs(difference).max() <= 6  # the loss of JPEG on one colour
    assert dataset[3][0].mode == "RGB"


def test_four_shapes(tmp_path):
    arrays = shapes_arrays()
    write_npz(tmp_path, "four-shapes", arrays)
    for part in ("train", "test"):
        dataset = load_dataset("four-shapes", tmp_path, train=part == "train")
        assert np.array_equal(dataset.images, arrays[f"{part}_images"])
        assert dataset.targets.tolist() == arrays[f"{part}_labels"].tolist()
        assert dataset[0][0].size == (16, 16)


BAD = {
    "no labels": ("cifar10-jpeg", {"labels": None}, "'labels is not a file in the archive'"),
    "other type": ("cifar10-jpeg", {"data": np.zeros(9, np.float32)}, "data to be uint8"),
    "signed offsets": ("cifar10-jpeg", {"offsets": np.zeros(13, int)}, "offsets to be uint32"),
    "square offsets": (
        "cifar10-jpeg",
        {"offsets": np.zeros((1, 1), np.uint32)},
        "of shape n, found uint32 of shape 1 x 1",
    ),
    "no offsets": ("cifar10-jpeg", {"offsets": np.zeros(0, np.uint32)}, "offsets that rise"),
    "falling offsets": ("cifar10-jpeg", {"offsets": lambda o: o[[0, 2, 1, *range(3, 13)]]}, "rise"),
    "offsets from 1": ("cifar10-jpeg", {"offsets": lambda o: np.maximum(o, 1)}, "rise from 0"),
    "offsets too far": ("cifar10-jpeg", {"offsets": lambda o: o + (o == o[-1])}, "rise from 0"),
    "too few offsets": ("cifar10-jpeg", {"offsets": lambda o: o[[0, -1]]}, "1 images and 12"),
    "no images": (
        "cifar10-jpeg",
        {"offsets": lambda o: o[:1], "data": lambda d: d[:0], "labels": lambda x: x[:0]},
        "found 0 images and 0 labels",
    ),
    "class 10": ("cifar10-jpeg", {"labels": lambda x: x + 1}, "from 0 to 9 .* up to 10"),
    "shifted offsets": ("cifar10-jpeg", {"offsets": lambda o: o - (o == o[3])}, "image 2: "),
    "an empty image": (
        "cifar10-jpeg",
        {"offsets": lambda o: o[[0, 2, 2, *range(3, 13)]]},
        "image 1",
    ),
    "objects": ("cifar10-jpeg", {"labels": np.array([Harm, None])}, "allow_pickle=False"),
    "other size": (
        "four-shapes",
        {"train_images": np.zeros((16, 1, 28, 28), np.uint8)},
        "uint8 of shape n x 1 x 16 x 16, found uint8 of shape 16 x 1 x 28 x 28",
    ),
    "text": ("four-shapes", {"train_labels": np.array(["a"] * 16)}, "found <U1 of shape 16"),
    "class 4": ("four-shapes", {"train_labels": lambda x: x + 1}, "from 0 to 3 .* up to 4"),
    "too few labels": ("four-shapes", {"train_labels": lambda x: x[:-1]}, "16 images and 15"),
}


@pytest.mark.parametrize(("name", "changes", "message"), BAD.values(), ids=BAD)
def test_bad_arrays_are_refused(tmp_path, name, changes, message):
    arrays = NPZ[name][1]()
    for key, change in changes.items():
        if change is None:
            del arrays[key]
        else:
            arrays[key] = change(arrays[key]) if callable(change) else change
    write_npz(tmp_path, name, arrays)
    assert re.search(message, refused(tmp_path, name))


@pytest.mark.parametrize(
    "image",
    [
        jpeg(np.zeros((16, 32, 3), np.uint8)),
        jpeg(np.zeros((32, 32, 3), np.uint8), "L"),
        jpeg(np.zeros((32, 32, 3), np.uint8))[:400],
        png(np.zeros((32, 32, 3), np.uint8)),
        b"",
    ],
    ids=["size", "grey", "cut", "png", "empty"],
)
def test_other_images_in_the_jpeg_copy_are_refused(tmp_path, image):
    write_npz(tmp_path, "cifar10-jpeg", jpeg_arrays([jpeg(np.ones((32, 32, 3), np.uint8)), image]))
    assert "image 1: expected a JPEG image, 32x32 RGB" in refused(tmp_path, "cifar10-jpeg")


@pytest.mark.parametrize("name", NPZ)
def test_damaged_npz_files_are_refused(tmp_path, name):
    assert "no such file; put it there" in refused(tmp_path, name)
    path = write_npz(tmp_path, name)
    content = path.read_bytes()
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3, dtype=np.uint8))
    for other in (b"", b"PK", b"<html>", pickle.dumps(Harm(tmp_path / "harm")), buffer.getvalue()):
        path.write_bytes(other)
        refused(tmp_path, name)
    for length in range(1, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        refused(tmp_path, name)
    assert not (tmp_path / "harm").exists()
    # Wrong bytes anywhere: refused in one line, or of no account (a date, say).
    whole = load_dataset_bytes(path, content, tmp_path, name)
    random = np.random.default_rng(2)
    messages = []
    for _ in range(150):
        changed = bytearray(content)
        for place in random.integers(0, len(content), 3):
            changed[place] = random.integers(256)
        try:
            found = load_dataset_bytes(path, bytes(changed), tmp_path, name)
        except UserError as error:
            messages.append(str(error))
        else:
            assert torch.equal(found, whole)
    assert len(messages) > 75
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)


def load_dataset_bytes(path: Path, content: bytes, root: Path, name: str) -> torch.Tensor:
    path.write_bytes(content)
    return load_dataset(name, root, train=True).images


# Parts of a data set


class Numbered(ImageDataset):
    """Images that hold their number, in turn of the classes 0, 1, 2, 3."""

    classes = tuple("abcd")

    def __init__(self, first: int, n: int) -> None:
        self._numbers = torch.arange(first, first + n)
        super().__init__()

    def _read(self, train: bool, download: bool) -> None:
        self.data = self._numbers.to(torch.uint8)[:, None, None]
        self.targets = self._numbers % 4


def chosen(**choice) -> list[list[int]]:
    """Numbers and targets of the training part, then of the test part, of 40 and 8 images."""
    images = choose({"dataset": "numbered", **choice}, Numbered(0, 40), Numbered(100, 8))
    return [tensor.flatten().tolist() for tensor in vars(images).values()]


def test_choices():
    whole = [*range(40)], [i % 4 for i in range(40)], [*range(100, 108)], [0, 1, 2, 3] * 2
    assert chosen() == list(whole)
    images = choose("numbered", Numbered(0, 40), Numbered(100, 8))
    assert images.train_images.shape == (40, 1, 1, 1)
    train, targets, test, test_targets = chosen(classes=[3, 1])
    assert train == [i for i in range(40) if i % 4 in (1, 3)]
    assert targets == [{3: 0, 1: 1}[i % 4] for i in train]
    assert test == [101, 103, 105, 107]
    assert test_targets == [1, 0, 1, 0]
    assert chosen(train=[10, 12]) == [[10, 11], [2, 3], *whole[2:]]
    assert chosen(train=[0, 4], test=[36, 40])[2:] == [[36, 37, 38, 39], [0, 1, 2, 3]]
    assert chosen(train=[4, 9], classes=[0, 1])[:2] == [[4, 5, 8], [0, 1, 0]]
    for choice, message in (
        ({"train": [30, 41]}, "numbered, train 30 41: expected train to end at 40"),
        ({"train": [0, 2], "test": [39, 50]}, "expected test to end at 40"),
        ({"train": [0, 2], "classes": [0, 3]}, r"no train images of the classes \[3\]"),
    ):
        with pytest.raises(UserError, match=message):
            chosen(**choice)


def test_disjoint_choices_share_nothing_and_others_may():
    choices = [
        {},
        *({"classes": c} for c in ([0, 1], [2, 3], [1, 2])),
        {"train": [0, 10], "test": [10, 20]},
        {"train": [20, 40]},
        {"train": [10, 20], "test": [0, 10]},
        {"train": [0, 10]},
        {"train": [0, 10], "test": [10, 20], "classes": [0, 1]},
    ]
    outcomes = set()
    for first in choices:
        for second in choices:
            numbers = [{*train, *test} for train, _, test, _ in (chosen(**first), chosen(**second))]
            shared = share_images({"dataset": "a", **first}, {"dataset": "a", **second})
            assert shared is bool(numbers[0] & numbers[1])
            assert not share_images({"dataset": "a", **first}, {"dataset": "b", **second})
            outcomes.add(shared)
    assert outcomes == {True, False}
    assert share_images("a", {"dataset": "a"})
    assert not share_images("a", "b")


def test_parts_of_one_set_differ_as_sets_do():
    source = choose({"dataset": "x", "classes": [0, 1]}, Numbered(0, 40), Numbered(100, 8))
    target = choose({"dataset": "x", "classes": [2, 3]}, Numbered(0, 40), Numbered(100, 8))
    check_different(source, target)
    with pytest.raises(UserError, match="same 20 images"):
        check_different(source, source)


# The real files


def needs_file(name: str) -> pytest.MarkDecorator:
    place = NPZ[name][0]
    there = REAL is not None and (Path(REAL) / place).is_file()
    return pytest.mark.skipif(not there, reason=f"needs {place} in DWP_DATA")


@needs_file("cifar10-jpeg")
def test_real_jpeg_copy():
    test = load_dataset("cifar10-jpeg", REAL, train=False)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert test.targets.bincount().tolist() == [1000] * 10
    # Known of CIFAR-10: means of red, green and blue
    means = test.images.float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.494, 0.485, 0.450]), atol=3e-3, rtol=0)
    # The sky is blue: airplanes are bluer than frogs.
    blueness = test.images[:, 2].float().mean((1, 2)) - test.images[:, 0].float().mean((1, 2))
    assert blueness[test.targets == 0].mean() > blueness[test.targets == 6].mean() + 10


@needs_file("four-shapes")
def test_real_four_shapes():
    train, test = (load_dataset("four-shapes", REAL, train=train) for train in (True, False))
    assert (len(train), len(test)) == (13_000, 1_970)
    assert test.targets.bincount().tolist() == [490, 495, 495, 490]
    # Light shapes on a dark ground, a circle the fullest of them, a star the sparest
    assert train.data[:, 0].float().mean() < 30
    ink = [train.data[train.targets == label].float().mean() for label in range(4)]
    assert ink[2] == min(ink)


# The registry


@pytest.mark.parametrize("name", ["glyphs", "digits"])
def test_embedded_sets_are_as_registered(name):
    dataset = load_dataset(name, "", train=False)
    assert dataset.images.shape[1:] == DATASETS[name].image_shape
    assert len(dataset.classes) == DATASETS[name].classes


@needs_real("MNIST")
def test_real_mnist():
    train, test = (load_dataset("mnist", REAL, train=train) for train in (True, False))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert abs(train.data.float().mean() / 255 - 0.1307) < 1e-4


@needs_real("notMNIST")
def test_real_notmnist(caplog):
    train, test = (load_dataset("notmnist", REAL, train=train) for train in (True, False))
    assert (len(train), len(test)) == (16_230, 2_000)
    assert test.targets.bincount().tolist() == [200] * 10
    assert not caplog.records


def test_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(UserError, match=r"one of mnist, notmnist, glyphs, .* found 'mnits'"):
        load_dataset("mnits", tmp_path, train=True)


def test_data_folder(monkeypatch):
    monkeypatch.setenv("DWP_DATA", "from/environment")
    assert data_folder("configured") == Path("configured")
    assert data_folder(None) == Path("from/environment")
    monkeypatch.delenv("DWP_DATA")
    assert data_folder(None) == Path("data")


def test_importing_the_package_leaves_torchvision_alone():
    code = "import sys, dwp.data; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# The embedded sets


@pytest.mark.parametrize(
    ("name", "train_size", "test_size"), [("glyphs", 4000, 1000), ("digits", 1297, 500)]
)
def test_embedded_sets(tmp_path, name, train_size, test_size):
    torch.manual_seed(0)
    train, test = (load_dataset(name, tmp_path, train=train) for train in (True, False))
    torch.manual_seed(1)
    again = load_dataset(name, tmp_path, train=True)
    assert torch.equal(train.data, again.data)
    assert torch.equal(train.targets, again.targets)
    assert train.data.shape == (train_size, 28, 28)
    assert train.data.dtype == torch.uint8
    assert test.data.shape == (test_size, 28, 28)
    assert test.targets.dtype == torch.int64
    assert test.targets.bincount().tolist() == [test_size // 10] * 10
    assert set(train.targets.tolist()) == set(range(len(train.classes))) == set(range(10))
    rows = [{image.numpy().tobytes() for image in part.data} for part in (train, test)]
    assert not rows[0] & rows[1]
    # Light on dark: the corners are ground, and there is ink in every picture.
    assert train.data[:, ::27, ::27].float().mean() < 60
    assert train.data.flatten(1).amax(1).min() > 150


def test_embedded_sets_need_no_root():
    assert len(Digits()) == 1297
    assert len(Glyphs(size=37)) == 37
    assert not torch.equal(Glyphs(size=20).data, Glyphs(size=20, seed=1).data)


# Subsets

TARGETS = torch.arange(1000).remainder(10)[torch.randperm(1000, generator=torch.Generator())]


@pytest.mark.parametrize("n", [1, 7, 10, 50, 55, 100, 999, 1000])
def test_subsets_are_balanced_and_without_repetition(n):
    chosen = stratified_subset(TARGETS, n, 0)
    assert chosen.shape == (n,)
    assert chosen.dtype == torch.int64
    assert len(chosen.unique()) == n
    counts = TARGETS[chosen].bincount(minlength=10)
    assert counts.max() - counts.min() <= 1


def test_subsets_are_nested():
    exclude = validation_indices(TARGETS, 200, 0)
    largest = stratified_subset(TARGETS, 800, 3, exclude)
    for n in (5, 50, 55, 100):
        assert torch.equal(stratified_subset(TARGETS, n, 3, exclude), largest[:n])


def test_subsets_leave_the_validation_part_out():
    exclude = validation_indices(TARGETS, 300, 0)
    assert TARGETS[exclude].bincount().tolist() == [30] * 10
    chosen = stratified_subset(TARGETS, 700, 0, exclude)
    assert not set(chosen.tolist()) & set(exclude.tolist())


def test_draws_depend_on_their_arguments_only():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = stratified_subset(TARGETS, 50, 0), validation_indices(TARGETS, 50, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    second = stratified_subset(TARGETS, 50, 0), validation_indices(TARGETS, 50, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    splits = {tuple(stratified_subset(TARGETS, 50, split).tolist()) for split in range(5)}
    seeds = {tuple(validation_indices(TARGETS, 50, seed).tolist()) for seed in range(5)}
    assert len(splits | seeds) == 10


def test_first_class_of_a_subset_varies_with_the_split():
    assert len({int(TARGETS[stratified_subset(TARGETS, 1, split)]) for split in range(30)}) > 3


def test_too_large_subsets_are_refused():
    exclude = (TARGETS == 4).nonzero().flatten()[:60]
    assert len(stratified_subset(TARGETS, 400, 0, exclude)) == 400
    with pytest.raises(UserError, match="of class 4, but only 40"):
        stratified_subset(TARGETS, 410, 0, exclude)
    with pytest.raises(UserError, match="but only 100"):
        validation_indices(TARGETS, 1001, 0)
    with pytest.raises(UserError, match="found none"):
        stratified_subset(TARGETS[:0], 1, 0)
    for n in (0, -1):
        with pytest.raises(UserError, match="at least 1"):
            stratified_subset(TARGETS, n, 0)
