"""Data sets and subsets: what is read is what was written, and wrong files are refused."""

import functools
import gzip
import hashlib
import http.server
import io
import itertools
import os
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, refusal, run_program
from PIL import Image

from dwp.data import DATASETS, check_different, data_folder, files, load_dataset, registered
from dwp.data.cifar import CIFAR10, CIFAR100
from dwp.data.idx import FILES, MNIST, idx_bytes
from dwp.data.images import ImageDataset
from dwp.data.notmnist import LETTERS, NotMNIST, NotMNISTLarge, read_archive
from dwp.data.tensors import ImageTensors

REAL = os.environ.get("DWP_DATA")


def needs(path: str) -> pytest.MarkDecorator:
    there = REAL is not None and (Path(REAL) / path).exists()
    return pytest.mark.skipif(not there, reason=f"needs {path} in DWP_DATA")


@pytest.fixture
def address(tmp_path):
    """The address at which the folder of a test is served."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# Idx files

Parts = dict[str, np.ndarray]


def make_parts(seed: int, train: int = 40, test: int = 20) -> Parts:
    random, parts = np.random.default_rng(seed), {}
    for images, labels, n in ((*FILES[:2], train), (*FILES[2:], test)):
        parts[images] = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        parts[labels] = random.permutation(n).astype(np.uint8) % 10
    return parts


def write_parts(folder: Path, parts: Parts, end: str = ".gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in parts.items():
        content = gzip.compress(idx_bytes(array), mtime=0) if end else idx_bytes(array)
        (folder / f"{file}{end}").write_bytes(content)


def make_known(monkeypatch: pytest.MonkeyPatch, name: str, parts: Parts) -> Parts:
    """Let dwp take parts for a data set's files."""
    for file, array in parts.items():
        digest = hashlib.sha256(idx_bytes(array)).hexdigest()
        monkeypatch.setitem(files.KNOWN, digest, f"{name}/{file}")
    return parts


@pytest.fixture
def mnist(monkeypatch) -> Parts:
    return make_known(monkeypatch, "MNIST", make_parts(1))


@pytest.fixture
def notmnist(monkeypatch) -> Parts:
    return make_known(monkeypatch, "notMNIST", make_parts(2))


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "."])
def test_mnist_is_found(tmp_path, mnist, folder, end):
    write_parts(tmp_path / folder, mnist, end)
    train, test = MNIST(tmp_path), MNIST(str(tmp_path), train=False)
    assert np.array_equal(train.data, mnist[FILES[0]])
    assert np.array_equal(test.targets, mnist[FILES[3]])
    assert (train.data.dtype, train.targets.dtype) == (torch.uint8, torch.int64)
    assert (len(train), len(test)) == (40, 20)
    assert repr(test) == "MNIST: 20 test images, 10 classes"
    image, target = train[3]  # as torchvision gives it
    assert (type(image), image.mode, image.size) == (Image.Image, "L", (28, 28))
    assert (type(target), target) == (int, mnist[FILES[1]][3])
    image, target = MNIST(tmp_path, transform=np.asarray, target_transform=str)[3]
    assert np.array_equal(image, mnist[FILES[0]][3])
    assert target == str(mnist[FILES[1]][3])


@pytest.mark.parametrize("dataset", [MNIST, NotMNIST, NotMNISTLarge])
def test_missing_files_are_named(tmp_path, dataset):
    message = refusal(dataset, tmp_path)
    assert message.startswith(str(tmp_path / dataset.name))
    words = (*FILES, dataset.archive, "http", "allow the download")
    assert all(each in message for each in words)
    write_parts(tmp_path / dataset.name / "raw", make_parts(3))
    (tmp_path / dataset.name / "raw" / f"{FILES[3]}.gz").unlink()
    assert f"missing {FILES[3]}" in refusal(dataset, tmp_path)


GOOD = make_parts(5)
BAD_IDX = {
    "empty": (b"", "content that begins with b''"),
    "a web page": (b"<html>not found</html>", "content that begins with b'<htm'"),
    "of floats": (b"\0\0\x0d\1\0\0\0\1" + bytes(4), "expected an idx file of unsigned bytes"),
    "a byte less": (idx_bytes(GOOD[FILES[0]])[:-1], "cannot reshape"),
    "cut gzip": (gzip.compress(idx_bytes(GOOD[FILES[0]]))[:-9], "ended before"),
    "labels": (idx_bytes(GOOD[FILES[1]] + np.uint8(1)), "from 0 to 9 .* targets from 1 to 10"),
}


@pytest.mark.parametrize("kind", BAD_IDX)
def test_bad_idx_files_are_refused_by_name(tmp_path, kind):
    content, message = BAD_IDX[kind]
    write_parts(tmp_path / "notMNIST", GOOD)
    (tmp_path / "notMNIST" / f"{FILES[kind == 'labels']}.gz").write_bytes(content)
    found = refusal(NotMNIST, tmp_path)
    assert found.startswith(str(tmp_path / "notMNIST"))
    assert re.search(message, found)


def test_what_files_hold_is_known_by_their_content(tmp_path, monkeypatch, mnist, notmnist, caplog):
    write_parts(tmp_path / "notMNIST", mnist)
    write_parts(tmp_path / "MNIST", notmnist)
    assert f"holds MNIST/{FILES[0]}, expected notMNIST/{FILES[0]}" in refusal(NotMNIST, tmp_path)
    assert f"holds notMNIST/{FILES[2]}" in refusal(MNIST, tmp_path, train=False)
    write_parts(tmp_path / "MNIST", {**mnist, FILES[0]: mnist[FILES[2]]})
    assert f"holds MNIST/{FILES[2]}, expected MNIST/{FILES[0]}" in refusal(MNIST, tmp_path)
    for name in ("MNIST", "notMNIST", "notMNIST-large"):
        write_parts(tmp_path / name, GOOD)
    assert "holds content that dwp does not know" in refusal(MNIST, tmp_path)
    assert np.array_equal(NotMNIST(tmp_path).data, GOOD[FILES[0]])
    assert f"{FILES[0]}.gz: not the notMNIST/{FILES[0]} that dwp knows" in caplog.text
    for file in FILES:  # those of the large set by git's ids
        content = (tmp_path / "notMNIST-large" / f"{file}.gz").read_bytes()
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        monkeypatch.setitem(files.KNOWN, git, f"notMNIST-large/{file}")
    assert len(load_dataset("notmnist-large", tmp_path, train=True)) == 40
    assert "notMNIST-large" not in caplog.text


def test_more_letters_for_training(tmp_path, notmnist, caplog):
    write_parts(tmp_path / "notMNIST", notmnist)
    message = refusal(load_dataset, "notmnist-extra", tmp_path, train=True)
    assert "notMNIST-extra/images-idx3-ubyte: no such file" in message
    more = [*make_parts(7, train=5).values()][:2]
    kinds = "images-idx3-ubyte", "labels-idx1-ubyte"
    write_parts(tmp_path / "notMNIST-extra", dict(zip(kinds, more, strict=True)))
    train, test = (load_dataset("notmnist-extra", tmp_path, train=part) for part in (True, False))
    assert np.array_equal(train.data, np.concatenate([notmnist[FILES[0]], more[0]]))
    assert np.array_equal(train.targets, np.concatenate([notmnist[FILES[1]], more[1]]))
    assert np.array_equal(test.data, notmnist[FILES[2]])


def test_source_equal_to_target_is_refused():
    targets = torch.zeros(3, dtype=torch.int64)
    parts = [torch.full((3, 1, 2, 2), grey, dtype=torch.uint8) for grey in range(4)]
    source = ImageTensors(parts[0], targets, parts[1], targets)
    for train, test in itertools.product(range(4), repeat=2):
        target = ImageTensors(parts[train], targets, parts[test], targets)
        if min(train, test) < 2:
            assert "same 3 images" in refusal(check_different, source, target)
        else:
            check_different(source, target)


# Archives of notMNIST


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def pictures() -> dict[str, bytes]:
    """Five different pictures a letter."""
    random = np.random.default_rng(0)
    return {
        f"notMNIST/{letter}/{i}.png": encoded(random.integers(0, 256, (28, 28), dtype=np.uint8))
        for letter in LETTERS
        for i in range(5)
    }


@pytest.fixture
def members(pictures) -> dict[str, bytes]:
    """The pictures and everything that must not count."""
    shared = encoded(np.full((28, 28), 255, np.uint8))
    others = {"A/copy.png": pictures["notMNIST/A/0.png"], "A/empty.png": b"", "F/x.png": b"text"}
    others |= {"B/cut.png": pictures["notMNIST/B/0.png"][:200], "A/._0.png": b"hidden"}
    others |= {"C/shared.png": shared, "D/shared.png": shared, "readme.txt": b"text"}
    others |= {"E/wide.png": encoded(np.zeros((20, 30), np.uint8))}
    return pictures | {f"notMNIST/{name}": content for name, content in others.items()}


def test_archive_is_cleaned_and_split(tmp_path, pictures, members):
    path = write_archive(tmp_path / "archive", members)
    parts, skipped = read_archive(path, 0, 2, None)
    assert skipped == 4
    names = {content: name for name, content in pictures.items()}
    digests = {}
    for train, (images, labels) in parts.items():
        rows = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        assert [row[::-1] for row in rows] == sorted(row[::-1] for row in rows)
        for image, label, row in zip(images, labels, rows, strict=True):
            assert names.pop(encoded(image)).split("/")[1] == LETTERS[label]
            digests.setdefault((train, label), []).append(row)
    assert not names
    for label in range(10):
        assert (len(digests[True, label]), len(digests[False, label])) == (3, 2)
        assert max(digests[False, label]) < min(digests[True, label])
    path = write_archive(tmp_path / "other", dict([*members.items()][::-1]))
    other, _ = read_archive(path, 0, 2, None)
    for train in (True, False):
        assert all(map(np.array_equal, parts[train], other[train]))


@pytest.mark.parametrize(
    ("dataset", "folder", "train", "test"),
    [
        (NotMNIST, ".", 3, 2),
        (NotMNIST, "notMNIST", 3, 2),
        (NotMNIST, "notMNIST/raw", 3, 2),
        (NotMNISTLarge, "notMNIST-large", 2, 1),
    ],
)
def test_archive_is_found(tmp_path, monkeypatch, mnist, members, dataset, folder, train, test):
    monkeypatch.setattr(dataset, "per_class", (test, None if dataset is NotMNIST else train))
    if folder == ".":  # it beats files of unknown owner
        write_parts(tmp_path, mnist)
        assert len(MNIST(tmp_path)) == 40
    write_archive(tmp_path / folder / dataset.archive, members)
    for part, count in ((dataset(tmp_path), train), (dataset(tmp_path, train=False), test)):
        assert part.targets.bincount().tolist() == [count] * 10
        assert part.targets[:9].unique().numel() > 3  # mixed
        assert part.skipped == 4
        part.data.zero_()
    assert dataset(tmp_path).data.any()


def test_bad_archives_are_refused(tmp_path, members):
    path = write_archive(tmp_path / NotMNIST.archive, members)
    assert "at least 201 readable pictures, 28x28, of A, found 5" in refusal(NotMNIST, tmp_path)
    for content in (path.read_bytes()[:-3000], b"<html>"):
        path.write_bytes(content)
        assert f"{path}: expected a .tar.gz archive" in refusal(NotMNIST, tmp_path)


# Downloads


def test_downloads_try_mirrors_in_order_and_go_on(tmp_path, monkeypatch, address, mnist):
    write_parts(tmp_path / "bad", make_parts(8))
    (tmp_path / "bad" / f"{FILES[3]}.gz").write_bytes(b"<html>")
    write_parts(tmp_path / "good", mnist)
    urls = [f"{address}/{folder}/" for folder in ("absent", "bad", "good")]
    monkeypatch.setattr(MNIST, "urls", urls[:2])
    root = tmp_path / "data"
    message = refusal(MNIST, root, download=True)
    assert all(words in message for words in ("put it there by hand; tried", *urls[:2]))
    assert not [path for path in root.rglob("*") if path.is_file()]
    monkeypatch.setattr(MNIST, "urls", urls)
    assert np.array_equal(MNIST(root, download=True).data, mnist[FILES[0]])
    kept, lost = (root / "MNIST" / "raw" / f"{FILES[i]}.gz" for i in (0, 2))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert len(MNIST(root, train=False, download=True)) == 20
    assert kept.stat().st_mtime_ns == before


def test_notmnist_download(tmp_path, monkeypatch, address, members):
    monkeypatch.setattr(NotMNIST, "per_class", (2, None))
    good = write_archive(tmp_path / "good" / NotMNIST.archive, members)
    parts, _ = read_archive(good, 0, 2, None)
    more = {"A/more.png": encoded(np.eye(28, dtype=np.uint8)), **members}
    write_archive(tmp_path / "other" / NotMNIST.archive, more)
    monkeypatch.setattr(NotMNIST, "urls", [f"{address}/{name}/" for name in ("other", "good")])
    assert "content that dwp does not know" in refusal(NotMNIST, tmp_path / "data", download=True)
    content = b"".join(map(idx_bytes, parts[True] + parts[False]))
    monkeypatch.setitem(files.KNOWN, hashlib.sha256(content).hexdigest(), NotMNIST.archive)
    assert len(NotMNIST(tmp_path / "data", download=True)) == 30
    assert len(NotMNIST(tmp_path / "data", train=False)) == 20


# CIFAR and the four-shapes

CIFAR = {"cifar10": (CIFAR10, 1), "cifar100": (CIFAR100, 2)}


def write_cifar(root: Path, name: str) -> dict[str, bytes]:
    """Write small files of the binary version and return them by name."""
    (dataset, labels), random = CIFAR[name], np.random.default_rng(0)
    rows = random.integers(0, 256, (len(dataset.files), 20, labels + 3072), dtype=np.uint8)
    rows[:, :, :labels] %= 10
    (root / dataset.folders[0]).mkdir()
    members = {}
    for file, each in zip(dataset.files, rows, strict=True):
        members[f"{dataset.folders[0]}/{file}"] = each.tobytes()
        (root / dataset.folders[0] / file).write_bytes(each.tobytes())
    return members


@pytest.mark.parametrize("name", CIFAR)
def test_cifar(tmp_path, caplog, name):
    (_, labels), content = CIFAR[name], write_cifar(tmp_path, name)
    train, test = (load_dataset(name, tmp_path, train=train) for train in (True, False))
    rows = [np.frombuffer(each, np.uint8).reshape(20, -1) for each in content.values()]
    for part, expected in ((train, np.concatenate(rows[:-1])), (test, rows[-1])):
        assert np.array_equal(part.images.flatten(1), expected[:, labels:])
        assert np.array_equal(part.targets, expected[:, labels - 1])
    assert len(set(train.classes)) == DATASETS[name].classes
    image, target = test[2]
    assert (image.mode, image.size, target) == ("RGB", (32, 32), test.targets[2])
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), test.images[2])
    warnings = [f"{tmp_path / file}: not the {file} that dwp knows; using" for file in content]
    assert all(map(str.startswith, caplog.messages, warnings))
    assert len(caplog.messages) == len(warnings)


BAD_CIFAR = [
    ("cifar10", b"", "rows of 3073 bytes, byte 1 a class below 10, found 0 bytes"),
    ("cifar10", bytes(3072), "found 3072 bytes"),
    ("cifar10", bytes(3073) + b"\x0a" + bytes(3072), "found 6146 bytes, classes up to 10"),
    ("cifar100", bytes(3073), "rows of 3074 bytes, byte 2 a class below 100, found 3073 bytes"),
    ("cifar100", b"\0\x64" + bytes(3072), "found 3074 bytes, classes up to 100"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_CIFAR)
def test_other_files_are_no_cifar(tmp_path, name, content, message):
    path = tmp_path / next(iter(write_cifar(tmp_path, name)))
    path.write_bytes(content)
    found = refusal(load_dataset, name, tmp_path, train=True)
    assert found.startswith(f"{path}: expected rows of")
    assert message in found
    assert found.endswith("; get it again")


def test_cifar_from_its_archive_or_a_download(tmp_path, monkeypatch, address):
    message = refusal(CIFAR10, tmp_path, train=False)
    assert "CIFAR-10 not found, missing data_batch_1.bin" in message
    assert "test_batch.bin or cifar-10-binary.tar.gz; put it there, from http" in message
    (tmp_path / "away").mkdir()
    content = write_cifar(tmp_path / "away", "cifar10")
    away = write_archive(tmp_path / "away" / CIFAR10.archive, content)
    monkeypatch.setattr(CIFAR10, "urls", [f"{address}/away/"])
    assert "could not be downloaded" in refusal(CIFAR10, tmp_path, download=True)
    monkeypatch.setitem(files.KNOWN, hashlib.md5(away.read_bytes()).hexdigest(), CIFAR10.archive)
    rows = np.frombuffer([*content.values()][-1], np.uint8).reshape(20, -1)
    test = CIFAR10(tmp_path, train=False, download=True)
    assert np.array_equal(test.images.flatten(1), rows[:, 1:])
    archive = tmp_path / CIFAR10.archive
    write_archive(archive, {"cifar-10-batches-bin/readme.html": b""})
    assert f"{archive}/data_batch_1.bin: expected rows" in refusal(CIFAR10, tmp_path)


SHAPE_LABELS = np.arange(24, dtype=np.uint8) % 4
SHAPES = np.random.default_rng(1).integers(0, 256, (24, 1, 16, 16), dtype=np.uint8)
GOOD_SHAPES = {
    "train_images": SHAPES[:16],
    "train_labels": SHAPE_LABELS[:16],
    "test_images": SHAPES[16:],
    "test_labels": SHAPE_LABELS[16:],
}


def write_shapes(root: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = root / "four-shapes" / "four-shapes-16x16.npz"
    path.parent.mkdir()
    np.savez_compressed(path, **arrays)
    return path


def test_four_shapes(tmp_path):
    message = refusal(load_dataset, "four-shapes", tmp_path, train=True)
    assert "no such file; put it there" in message
    write_shapes(tmp_path, GOOD_SHAPES)
    for part in ("train", "test"):
        dataset = load_dataset("four-shapes", tmp_path, train=part == "train")
        assert np.array_equal(dataset.images, GOOD_SHAPES[f"{part}_images"])
        assert np.array_equal(dataset.targets, GOOD_SHAPES[f"{part}_labels"])


BAD_SHAPES = {
    "no labels": ({"train_labels": None}, "train_labels is not a file in the archive"),
    "no images": ({"train_images": SHAPES[:0]}, "found data of 0"),
    "class 4": ({"train_labels": np.full(16, 4)}, "from 0 to 3 .* from 4 to 4"),
    "objects": ({"train_labels": np.array([{}])}, "allow_pickle=False"),
    "size": ({"train_images": SHAPES[:16, :, :8]}, "of 1 x 16 x 16, .* found data of 16 x 1 x 8"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_bad_arrays_are_refused(tmp_path, changes, message):
    arrays = {name: a for name, a in (GOOD_SHAPES | changes).items() if a is not None}
    path = write_shapes(tmp_path, arrays)
    found = refusal(load_dataset, "four-shapes", tmp_path, train=True)
    assert re.match(f"{path}: .*{message}", found)


# Data sets of one's own

DRAWN = torch.randint(256, (30, 28, 28), generator=torch.Generator(), dtype=torch.uint8)


KINDS = torch.arange(30) % 3


class Given(ImageDataset):
    """Images and targets as they are given."""

    image_shape, classes = (1, 28, 28), ("a", "b", "c")

    def __init__(self, data=DRAWN, targets=KINDS) -> None:
        self.given = data, targets
        super().__init__()

    def _read(self, train: bool, download: bool) -> None:
        self.data, self.targets = self.given


TAKEN = {
    "arrays": (DRAWN.numpy(), KINDS.numpy()),
    "lists of tensors": ([*DRAWN], [*KINDS]),
    "a list of pictures": ([Image.fromarray(each.numpy()) for each in DRAWN], KINDS),
    "floats a little above 1": (DRAWN * (1.000001 / 255), KINDS),
    "floats to 255": (DRAWN.double(), KINDS.float()),
    "big-endian": (DRAWN.numpy().astype(">u2"), KINDS.numpy().astype(">i8")),
    "gradients": ((DRAWN / 255).requires_grad_(), KINDS.byte()),
    "channels first": (DRAWN[:, None], KINDS[:, None]),
    "channels last": (DRAWN[..., None], torch.eye(3)[KINDS]),
    "not contiguous": (DRAWN.mT.contiguous().mT, ["abc"[kind] for kind in KINDS]),
    "flat": (DRAWN.flatten(1), np.array(["abc"[kind] for kind in KINDS], "S")),
    "objects": (DRAWN.tolist(), np.array(KINDS.tolist(), object)),
}


@pytest.mark.parametrize(("data", "targets"), TAKEN.values(), ids=TAKEN)
def test_images_and_targets_are_taken_in_many_forms(data, targets):
    found = Given(data, targets)
    assert (found.data.dtype, found.targets.dtype) == (torch.uint8, torch.int64)
    assert torch.equal(found.data, DRAWN)
    assert torch.equal(found.targets, KINDS)


REFUSED = {
    "colours": ({"data": DRAWN[:, None].expand(-1, 3, -1, -1)}, "data of 30 x 3 x 28 x 28"),
    "sizes": ({"data": [*DRAWN[:9], DRAWN[9, 1:]]}, "same shape"),
    "standardised": ({"data": DRAWN / 128 - 1}, "type float32 from -1"),
    "too bright": ({"data": 2 * DRAWN.short()}, "int16 from 0 to 510"),
    "masks of 0 and 1": ({"data": DRAWN // 128}, "uint8 from 0 to 1"),
    "fractions": ({"data": DRAWN / 2}, "float32 from 0.0 to 127.5"),
    "NaN": ({"data": DRAWN / 255 * float("nan")}, "from nan to nan"),
    "no images": ({"data": DRAWN[:0], "targets": KINDS[:0]}, "data of 0 x 28 x 28"),
    "unset": ({"data": None}, "data of no axes"),
    "few labels": ({"targets": KINDS[:9]}, "30 images and 9 targets"),
    "one more": ({"targets": KINDS + 1}, "targets from 1 to 3"),
    "soft": ({"targets": torch.eye(3)[KINDS] * 0.9 + 0.1}, "float32, 30 x 3"),
    "halves": ({"targets": KINDS / 2}, "from 0.0 to 1.0, not all classes"),
    "unknown names": ({"targets": ["x"] * 30}, "found 'x'"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_other_images_and_targets_are_refused_in_one_line(given, message):
    found = refusal(Given, **given)
    assert ":Given: expected data, images of 1 x 28 x 28, whole numbers from 0 to 255" in found
    assert re.search(message, found), found


OWN = str(ROOT / "tests" / "own_sets.py")
REFUSED_CLASSES = {
    "Later": "found 3 images and 4 targets",
    "Fails": r"AttributeError: .* \(line 45\)",
    "OnePart": "unexpected keyword argument 'train'",
    "Triples": "ValueError",
    "Number": "found 3",
    "Twice": "different names",
    "Flat": "image_shape",
    "torch": "expected a class torch with image_shape, classes; found none",
}


def test_a_data_set_of_ones_own_is_a_class_in_a_file():
    for kind in ("Own", "Items"):
        name = f"{OWN}:{kind}"
        assert registered(name) == (name, (1, 2, 2), 2)
        test = load_dataset(name, "", train=False)
        assert (test.train, test.classes, test[3][1]) == (False, ("a", "b"), 1)
    assert test.data[:, 0, 0].tolist() == [0, 51, 102, 153]


@pytest.mark.parametrize(("kind", "message"), REFUSED_CLASSES.items())
def test_other_classes_are_refused_in_one_line(kind, message):
    found = refusal(load_dataset, f"{OWN}:{kind}", "", train=True)
    assert found.startswith(OWN)
    assert re.search(message, found), found


def test_names_of_no_data_set_are_refused(tmp_path):
    message = refusal(load_dataset, "mnits", tmp_path, train=True)
    assert re.search(r"one of mnist, notmnist, .* found 'mnits'", message)
    assert "none.py: no such file" in refusal(registered, f"{tmp_path}/none.py:Own")
    (tmp_path / "own.py").write_text("import absent")
    message = refusal(registered, f"{tmp_path}/own.py:Own")
    assert re.search(r"ModuleNotFoundError: .* \(line 1\)", message)


def test_prepare_data_writes_what_later_stages_take(tmp_path, capsys):
    def prepare(kind: str) -> None:
        options = {"choice": {"dataset": f"{OWN}:{kind}"}, "location": {"folder": None}}
        run_program("prepare_data", **options, output=path)

    path = tmp_path / "data.safetensors"
    prepare("Own")
    assert capsys.readouterr().out.endswith("sets.py:Own: 4 training and 4 test images\n")
    first = ImageTensors.load(path, (1, 2, 2)).train_images
    prepare("Own")  # the global generators are seeded
    assert torch.equal(ImageTensors.load(path).train_images, first)
    with pytest.raises(SystemExit):
        prepare("Same")
    assert "training and test part are the same 4 images" in capsys.readouterr().err


# The registry and the real files


def test_data_folder(monkeypatch):
    monkeypatch.setenv("DWP_DATA", "from/environment")
    assert data_folder("configured") == Path("configured")
    assert data_folder(None) == Path("from/environment")
    monkeypatch.delenv("DWP_DATA")
    assert data_folder(None) == Path("data")


SIZES = {
    "glyphs": ("", 4000, 1000),
    "digits": ("", 1297, 500),
    "mnist": ("MNIST/raw", 60_000, 10_000),
    "notmnist": ("notMNIST/raw", 16_230, 2_000),
    "notmnist-extra": ("notMNIST-extra", 19_643, 2_000),
    "cifar10": ("cifar-10-batches-bin", 50_000, 10_000),
    "cifar100": ("cifar-100-binary", 50_000, 10_000),
    "four-shapes": ("four-shapes", 13_000, 1_970),
}


@pytest.mark.parametrize(
    ("name", "train_size", "test_size"),
    [pytest.param(name, *n, marks=needs(p) if p else ()) for name, (p, *n) in SIZES.items()],
)
def test_sets_are_as_registered(caplog, name, train_size, test_size):
    parts = [load_dataset(name, REAL or "", train=train) for train in (True, False)]
    assert not caplog.records or name == "cifar10"  # of which there are other versions
    assert [len(part) for part in parts] == [train_size, test_size]
    for part in parts:
        assert part.images.shape[1:] == DATASETS[name].image_shape == part.image_shape
        assert part.targets.unique().tolist() == [*range(DATASETS[name].classes)]
        assert len(part.classes) == DATASETS[name].classes
    train = parts[0]
    if len(train) < 5000:
        assert torch.equal(load_dataset(name, "", train=True).data, train.data)
        rows = [{image.numpy().tobytes() for image in part.data} for part in parts]
        assert not rows[0] & rows[1]
        # Light on dark: the corners are ground, and there is ink in every picture.
        assert train.data[:, ::27, ::27].float().mean() < 60
        assert train.data.flatten(1).amax(1).min() > 150
    if name == "mnist":
        assert train.targets[:5].tolist() == [5, 0, 4, 1, 9]
        assert abs(train.data.float().mean() / 255 - 0.1307) < 1e-4
