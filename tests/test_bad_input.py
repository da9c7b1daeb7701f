"""Bad input: every case ends in one line that names its cause, and leaves the folder as it was.

A case is a file or an argument, how it is broken, the program that meets it, and words of the line.
`{}` in a command is the folder of the files. Programs run in this process, by their own `main`.
Settings have tests of their own, so have files (test_files), releases and the command line.
"""

import functools
import gzip
import importlib.util
import io
import pickle
import shutil
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dwp.data.tensors import ImageTensors
from dwp.errors import UserError
from dwp.files import save_tensors
from dwp.priors import prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training.loop import optimise

ROOT = Path(__file__).parent.parent


class Harm:
    """Something whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with one good file of each sort."""
    folder = tmp_path_factory.mktemp("good")
    draw = generator("bad input")
    kernels = torch.randn((20, 7, 7), generator=draw)
    parts = {"train": kernels[5:], "test": kernels[:5], "norms": torch.ones(20)}
    header = {"cut": 0.1, "collected": 20}
    save_tensors(folder / "kernels.safetensors", parts, kind="kernels", settings=header)
    prior_class("standard-normal")(7).save(folder / "normal.safetensors")
    KernelVAE(7, hidden=2, latent=2).save(folder / "vae.safetensors")
    images = torch.randint(0, 256, (20, 1, 28, 28), generator=draw, dtype=torch.uint8)
    targets = torch.arange(20) % 10
    both = ImageTensors(images, targets, images.flip(0), targets.flip(0))
    both.save(folder / "images.safetensors", {})
    (folder / "runs.csv").write_text(
        "domain,prior,init,n,split,seed,metric,value\nmnist,dwp,dwp,10,0,0,ensemble_accuracy,0.5\n"
    )
    (folder / "paper.csv").write_text("dataset,prior,num_examples,accuracy\nmnist,dwp,10,0.5\n")
    (folder / "scores").mkdir()
    (folder / "scores" / "conv1.json").write_text('{"n": 3}')
    return folder


# How a file is broken: functions of the folder


def whole(folder: Path) -> None:
    """Nothing: the argument is what is bad."""


def gone(name: str):
    return lambda folder: (folder / name).unlink()


def holds(name: str, content: bytes | str):
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def says(name: str, old: str, new: str):
    return lambda folder: holds(name, (folder / name).read_text().replace(old, new, 1))(folder)


def directory(name: str):
    def make(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return make


def swapped(name: str, by: str):
    return lambda folder: shutil.copy(folder / by, folder / name)


def tensors(name: str, kind: str, **content):
    return lambda folder: save_tensors(folder / name, content, kind=kind, settings={})


def images_of_class(target: int):
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    one = ImageTensors(image, torch.tensor([target]), image, torch.tensor([0]))
    return lambda folder: one.save(folder / "images.safetensors", {})


def idx(images: bytes):
    """MNIST's four files, where the image files have a content."""
    labels = gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(3))

    def make(folder: Path) -> None:
        for part in ("train", "t10k"):
            holds(f"MNIST/raw/{part}-images-idx3-ubyte.gz", images)(folder)
            holds(f"MNIST/raw/{part}-labels-idx1-ubyte.gz", labels)(folder)

    return make


def archive(**members: bytes):
    """notMNIST's archive with other members."""

    def make(folder: Path) -> None:
        with tarfile.open(folder / "notMNIST_small.tar.gz", "w:gz") as file:
            for name, content in members.items():
                member = tarfile.TarInfo(f"A/{name}.png")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))

    return make


def picture(width: int, height: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB" if form == "JPEG" else "L", (width, height)).save(buffer, form)
    return buffer.getvalue()


def jpeg_copy(size: int, **changes: np.ndarray):
    """The JPEG copy of CIFAR-10, of one image of a size, some arrays of it others."""
    content = np.frombuffer(picture(size, size, "JPEG"), np.uint8)
    arrays = {
        "header": np.zeros(0, np.uint8),
        "data": content,
        "offsets": np.array([0, len(content)], np.uint32),
        "labels": np.zeros(1, np.uint8),
    }

    def make(folder: Path) -> None:
        (folder / "CIFAR10-jpeg").mkdir()
        for part in ("train", "test"):
            np.savez_compressed(folder / "CIFAR10-jpeg" / f"{part}.npz", **(arrays | changes))

    return make


# What meets it

BUILD = (
    "build_kernels --nets {}/net.safetensors --layer conv1 --kernels {}/made --description {}/m"
    ' --settings {"test_fraction":0.2,"quantile":0.5}'
)
FIT = (
    "fit_prior --kernels {}/kernels.safetensors --kernel-size 7 --code x --prior {}/made"
    ' --history {}/m.csv --settings {"kind":"standard-normal","arguments":{_},"training":null}'
)
KL = "tabulate_kl --kernels {}/kernels.safetensors --priors {}/normal.safetensors --output {}/m.csv"
LATENT = (
    "plot_latent --prior {}/vae.safetensors --kernels {}/kernels.safetensors --outputs {}/m.png"
)
NORMS = "plot_norms --kernels {}/kernels.safetensors --outputs {}/made.png"
TRAIN = (
    'train_source --data {}/images.safetensors --code x --folder {}/net{seed} --runs [{"seed":0}]'
    ' --settings {"network":"mnist"}'
)
CLASSIFY = (
    'train_classifier --data {}/images.safetensors --settings {"network":"mnist"} --code x'
    ' --folder {}/run{n} --runs [{"n":10,"split":0,"seed":0}]'
)
CHECK = "check_data --source {}/images.safetensors --target {}/images.safetensors --output {}/m"
PREPARE = (
    'prepare_data --choice %s --location {"folder":"{}","download":false}'
    " --output {}/made.safetensors"
)
MNIST, NOTMNIST, JPEG, SHAPES, CIFAR = (
    PREPARE % f'"{name}"'
    for name in ("mnist", "notmnist", "cifar10-jpeg", "four-shapes", "cifar10")
)
SUMMARISE = (
    "summarise_runs --runs {}/runs.csv --vary {_} --tune {_} --tune-by validation_nll"
    " --paper {}/paper.csv --domain mnist --dataset mnist --reference dwp"
    " --summary {}/m.csv --tests {}/t.csv --comparison {}/c.csv --table {}/t.md"
)
PLOT = "plot_runs --summary {}/runs.csv --metric ensemble_nll --outputs {}/made.png"
CURVES = (
    "plot_curves --runs {}/runs.csv --paper {}/paper.csv --dataset x --metric y --against step"
    " --outputs {}/made.png"
)
FEATURES = (
    "summarise_features --runs {}/runs.csv --paper {}/paper.csv --dataset x --summary {}/m"
    " --table {}/t"
)
TABULATE = "tabulate_priors --scores {}/scores/conv1.json --domain mnist --output {}/made.csv"
IMPORT = "import_kernels --folder none --kernels {}/made --description {}/m --release {}"
PRIOR = "import_prior --prior {}/made"

KERNELS, IMAGES = "kernels.safetensors", "images.safetensors"
FLOATS = {
    f"{part}_{name}": torch.zeros(3, 1, 28, 28)
    for part in ("train", "test")
    for name in ("images", "targets")
}
CASES = [
    # kernels and nets
    (tensors(KERNELS, "kernels", train=torch.ones(2, 7, 7)), KL, "expected test, found only train"),
    (
        tensors(KERNELS, "kernels", test=torch.full((2, 7, 7), torch.nan)),
        KL,
        "kernels.safetensors: kernels: expected finite values",
    ),
    (
        tensors(KERNELS, "kernels", train=torch.ones(2, 49)),
        FIT,
        "kernels.safetensors: kernels: expected shape (n, k, k)",
    ),
    (tensors(KERNELS, "kernels", test=torch.ones(2, 5, 5)), LATENT, "7 x 7 kernels, found 5 x 5"),
    (
        tensors(KERNELS, "kernels", **dict.fromkeys(["train", "test", "norms"], torch.ones(9))),
        NORMS,
        "expected cut",
    ),
    (swapped(KERNELS, by=IMAGES), KL, "holds 'images', expected 'kernels'"),
    (
        swapped("vae.safetensors", by="normal.safetensors"),
        LATENT,
        "expected a prior of kind 'vae', found 'standard-normal'",
    ),
    (
        tensors("net.safetensors", "source net", **{"conv2.weight": torch.ones(2, 2, 5, 5)}),
        BUILD,
        "net.safetensors: expected conv1.weight, found only conv2.weight",
    ),
    (
        tensors("net.safetensors", "source net", **{"conv1.weight": torch.ones(1, 1, 7, 7)}),
        BUILD,
        "expected at least 2",
    ),
    (whole, IMPORT, "none/train.npy: no such file"),
    (whole, f"{PRIOR} --release {{}} --folder none", "none/vae_params.torch: no such file"),
    (whole, PRIOR, "expected either --folder or --pretrained"),
    # images
    (
        tensors(IMAGES, "images", **FLOATS),
        TRAIN,
        "images.safetensors: expected train images, uint8, of 1x28x28, found torch.float32",
    ),
    (images_of_class(10**12), TRAIN, "from 0 to 999"),
    (gone(IMAGES), CHECK, "images.safetensors: no such file"),
    (whole, CHECK, "source and target hold the same 20 images"),
    (whole, TRAIN.replace("mnist", "cifar"), "of 3x32x32, found"),
    (whole, TRAIN.replace("mnist", "../x"), "expected a network, one of mnist"),
    # data sets
    (whole, MNIST, "MNIST not found; put"),
    (idx(gzip.compress(bytes(999))[:20]), MNIST, "cannot be read"),
    (idx(b""), MNIST, "not an idx file"),
    (idx(b"<html>404</html>"), MNIST, "not an idx file"),
    (
        idx(gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 28, 28) + bytes(3 * 784))),
        MNIST,
        "expected MNIST's train-images",
    ),
    (holds("notMNIST_small.tar.gz", b"x" * 99), NOTMNIST, "not a readable"),
    (archive(), NOTMNIST, "found 0"),
    (archive(x=picture(30, 20)), NOTMNIST, "expected pictures of 28x28, found A/x.png of 30x20"),
    (whole, JPEG, "train.npz: no such file; put it there"),
    (jpeg_copy(32, labels=np.array([Harm(Path("harm"))])), JPEG, "expected an npz file"),
    (jpeg_copy(40), JPEG, "image 0: expected a JPEG image, 32x32 RGB, found 40x40 RGB"),
    (
        holds("four-shapes/four-shapes-16x16.npz", pickle.dumps(Harm(Path("harm")))),
        SHAPES,
        "expected an npz file",
    ),
    (
        holds("cifar-10-batches-py/data_batch_1", pickle.dumps(Harm(Path("harm")))),
        CIFAR,
        "missing or damaged",
    ),
    (whole, MNIST.replace("mnist", "../x"), "found '../x'"),
    (whole, PREPARE % '{"classes":[1]}', "--choice: expected dataset"),
    (whole, PREPARE % "[1]", "--choice: expected"),
    # tables
    (says("runs.csv", "value", "worth"), SUMMARISE, "runs.csv: expected the columns"),
    (
        says("paper.csv", "accuracy", "acc"),
        SUMMARISE,
        "paper.csv: expected the columns dataset, prior, num_examples, accuracy; missing accuracy",
    ),
    (says("runs.csv", "0.5", "half"), SUMMARISE, "found half"),
    (holds("runs.csv", b""), SUMMARISE, "runs.csv: expected CSV"),
    (holds("runs.csv", b"a,b\n\xff\xfe,1\n"), SUMMARISE, "expected CSV"),
    (directory("runs.csv"), SUMMARISE, "runs.csv: Is a directory"),
    (whole, SUMMARISE.replace("reference dwp", "reference flow"), "no run has the prior 'flow'"),
    (whole, PLOT, "missing mean, interval"),
    (whole, CURVES, "paper.csv: expected the columns"),
    (whole, "plot_kl --table {}/runs.csv --outputs {}/m.png", "missing w, deviation"),
    (whole, FEATURES, "missing scale"),
    (whole, TABULATE, "conv1.json: expected log_prob, found only n"),
    (holds("scores/conv1.json", b"[1]"), TABULATE, "expected a JSON object"),
    (holds("scores/conv1.json", b""), TABULATE, "conv1.json: expected JSON"),
    # options
    (whole, TRAIN.replace('{"net', "{net"), "--settings: expected JSON"),
    (whole, TRAIN.replace('{"network":"mnist"}', "[]"), "--settings: expected"),
    (whole, TRAIN.replace("network", "net"), "--settings: expected network, found only net"),
    (whole, CLASSIFY.replace("[{", "{").replace("}]", "}"), "--runs: expected"),
    (whole, CLASSIFY.replace("run{n}", "run{m}"), "expected a folder with places among n, split"),
    (whole, f"{CLASSIFY} --priors {{}}/normal.safetensors", "=FILE"),
    (whole, LATENT.replace("m.png", "m.gif"), "expected .pdf, .png or .svg"),
]


@functools.cache
def program(name: str):
    """The `main` of a script."""
    path = ROOT / "workflow" / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def words_of(command: str, folder: Path) -> list[str]:
    words = [word.replace("{_}", "\0").replace("{}", str(folder)) for word in command.split(" ")]
    return [word.replace("\0", "{}") for word in words]


def content(folder: Path) -> dict[str, object]:
    """The content of a folder, to compare."""
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(("make", "command", "words"), CASES, ids=[case[2] for case in CASES])
@pytest.mark.filterwarnings("error")
def test_bad_input_is_refused_in_one_line(
    good, tmp_path, monkeypatch, capsys, make, command, words
):
    folder = tmp_path / "case"
    shutil.copytree(good, folder)
    make(folder)
    before = content(tmp_path)
    monkeypatch.setenv("DWP_DATA", str(folder))
    monkeypatch.delenv("DWP_RELEASE", raising=False)
    monkeypatch.chdir(tmp_path)
    name, *arguments = words_of(command, folder)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as stop:
        program(name)()
    output, errors = capsys.readouterr()
    *usage, line = errors.splitlines()
    assert stop.value.code == 2
    assert output == ""
    assert words in line
    assert "Traceback" not in errors
    assert not usage or usage[0].startswith("usage: ")  # argparse shows how the program is called
    assert "error: " in line
    assert content(tmp_path) == before  # nothing half made, no pickle obeyed


def test_the_pickles_would_have_acted(tmp_path):
    pickle.loads(pickle.dumps(Harm(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("spoilt", [{}, {"model/weight": torch.zeros(7, 7)}], ids=["no", "other"])
def test_a_checkpoint_that_does_not_fit_its_run_is_refused(tmp_path, spoilt):
    path, model = tmp_path / "checkpoint", torch.nn.Linear(2, 1)
    identity = {"run": {"run": 1}, "torch": torch.__version__, "device": "cpu"}
    settings = {"identity": identity, "done": 1, "records": "[[]]"}
    save_tensors(path, spoilt, kind="checkpoint", settings=settings)

    def objective(batch):
        return model(torch.ones(len(batch), 2)).sum(1), {}

    with pytest.raises(UserError, match="expected a checkpoint of this very run"):
        optimise(
            model,
            objective,
            n=4,
            batch_size=2,
            steps=2,
            learning_rate=0.1,
            seeds=[("a",)],
            checkpoint=path,
            identity={"run": 1},
        )
