"""Bad input: every case ends in one line that names the place, and leaves the folder as it was.

A case is what is done to a folder of good files, a command, and words of the line. `{}` in a
command is the folder. Commands run in this process, by the programs' own `main`, with 1.5 GiB of
memory to spare; a few are repeated as processes at the end.
"""

import contextlib
import functools
import gzip
import importlib.util
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import save_as_released
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from safetensors.torch import save_file

import dwp.__main__
from dwp.data.tensors import ImageTensors
from dwp.errors import UserError, one_line_errors
from dwp.files import save_tensors
from dwp.priors import prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.study.settings import check_settings, check_size, describe_refusal, read_config
from dwp.training.loop import optimise

ROOT = Path(__file__).parent.parent
DEMO = (ROOT / "config" / "demo.yaml").read_text()
SCHEMA = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
LIMIT = 2**22
SPARE = 3 * 2**29


class Harm:
    """Something whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# What the cases start from


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with one good file of each sort."""
    folder = tmp_path_factory.mktemp("good")
    draw = generator("bad input")
    kernels = torch.randn((20, 7, 7), generator=draw)
    np.save(folder / "kernels.npy", kernels.numpy())
    parts = {"train": kernels[5:], "test": kernels[:5], "norms": torch.ones(20)}
    header = {"cut": 0.1, "collected": 20}
    save_tensors(folder / "kernels.safetensors", parts, kind="kernels", settings=header)
    prior_class("standard-normal")(7).save(folder / "normal.safetensors")
    vae = KernelVAE(7, hidden=2, latent=2)
    vae.save(folder / "vae.safetensors")
    save_as_released(vae, folder / "vae7x7")
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
    (folder / "config.yaml").write_text(DEMO)
    (folder / "config.json").write_text(json.dumps(yaml.safe_load(DEMO)))
    return folder


# How input is made bad


def write(name: str, content: bytes | str):
    """A file with a content."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def changed(name: str, old: str, new: str):
    """A text file, something in it replaced."""

    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return make


def cut(name: str, length: int):
    return lambda folder: os.truncate(folder / name, length)


def directory(name: str):
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)

    return make


def link(name: str, target: str):
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return make


def tensors(name: str, content: dict | None = None, kind: str = "prior", **settings):
    return lambda folder: save_tensors(folder / name, content or {}, kind=kind, settings=settings)


def header(name: str, dwp: str):
    """A safetensors file whose header of dwp is some text."""
    return lambda folder: save_file({"x": torch.zeros(1)}, folder / name, {"dwp": dwp})


def raw_tensors(name: str, entry: dict | None = None, length: int | None = None):
    """A safetensors file made by hand, with an entry for one tensor, or a length of the header."""
    text = json.dumps({"__metadata__": {"dwp": "{}"}, "x": entry or {}}).encode()
    text += b" " * (-len(text) % 8)
    return write(name, struct.pack("<Q", length or len(text)) + text + bytes(16))


def npy(name: str, array: np.ndarray):
    def make(folder: Path) -> None:
        np.save(folder / name, array, allow_pickle=True)

    return make


def npy_header(name: str, dtype: str, shape: tuple[int, ...]):
    """An array file of a few bytes that claims a type and a shape."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return write(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64))


def zeros_gz(head: bytes, mebibytes: int) -> bytes:
    """Gzip members one after another: any number of zeros in a few kilobytes each 16 MiB."""
    return gzip.compress(head) + gzip.compress(bytes(2**24), 9) * (mebibytes // 16)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def state(content):
    """A released VAE whose state is what a function makes of the good one."""

    def make(folder: Path) -> None:
        path = folder / "vae7x7" / "vae_params.torch"
        torch.save(content(torch.load(path, weights_only=True), folder), path)

    return make


def spread(values: dict, folder: Path) -> dict:
    """Every tensor enormous, and one number in the file: stored once, strides of 0."""
    return {
        name: torch.zeros(1).expand([100_000 if n == 2 else n for n in value.shape[:2]] + [3, 3])
        for name, value in values.items()
    }


def torch_zip_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "vae7x7" / "vae_params.torch", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", pickle.dumps({}))
        with file.open("x/data/0", "w", force_zip64=True) as part:
            for _ in range(20):
                part.write(bytes(2**24))


def bomb(kind: str) -> str:
    """A config of some hundred bytes that is huge once its anchors are filled in."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]" if kind == "list" else "a0: &a0 {x: 1, y: 2}"]
    for i in range(1, 30):
        parts = [f"*a{i - 1}"] * 9
        inner = ", ".join(parts if kind == "list" else [f"k{j}: {p}" for j, p in enumerate(parts)])
        lines.append(f"a{i}: &a{i} " + (f"[{inner}]" if kind == "list" else f"{{{inner}}}"))
    return "\n".join([DEMO, *lines, ""])


# The cases

NORMAL, SCORE = "{}/normal.safetensors", "dwp score {}/normal.safetensors {}/kernels.npy"
SAMPLE = "dwp sample {}/normal.safetensors 3 {}/made.npy"
CONVERT = "dwp convert {}/vae7x7 {}/made.safetensors"
PLAN, CONFIG = "dwp plan {}/config.yaml", "config {}/config.yaml"
LOCATION = '--location {"folder":"{}","download":false} --output {}/made.safetensors'
MNIST, NOTMNIST, JPEG, SHAPES, CIFAR = (
    f'prepare_data --choice "{name}" {LOCATION}'
    for name in ("mnist", "notmnist", "cifar10-jpeg", "four-shapes", "cifar10")
)
BUILD = (
    "build_kernels --nets {}/net.safetensors --layer conv1 --kernels {}/made --description {}/m"
    ' --settings {"test_fraction":0.2,"quantile":0.5}'
)
FIT = (
    "fit_prior --kernels {}/kernels.safetensors --kernel-size 7 --code x --prior {}/made"
    ' --history {}/m.csv --settings {"kind":"standard-normal","arguments":{_},"training":null}'
)
SUMMARISE = (
    "summarise_runs --runs {}/runs.csv --vary {} --tune {} --tune-by validation_nll"
    " --paper {}/paper.csv --domain mnist --dataset mnist --reference dwp"
    " --summary {}/m.csv --tests {}/t.csv --comparison {}/c.csv --table {}/t.md"
).replace("--vary {} --tune {}", "--vary {_} --tune {_}")
TRAIN = (
    'train_source --data {}/images.safetensors --code x --folder {}/net{seed} --runs [{"seed":0}]'
    ' --settings {"network":"mnist"}'
)
CLASSIFY = (
    'train_classifier --data {}/images.safetensors --settings {"network":"mnist"} --code x'
    ' --folder {}/run{n} --runs [{"n":10,"split":0,"seed":0}]'
)
LATENT = (
    "plot_latent --prior {}/vae.safetensors --kernels {}/kernels.safetensors --outputs {}/m.png"
)
KL = "tabulate_kl --kernels {}/kernels.safetensors --priors {}/normal.safetensors --output {}/m.csv"
PLOT = "plot_runs --summary {}/runs.csv --metric ensemble_nll --outputs {}/made.png"
TABULATE = "tabulate_priors --scores {}/scores/conv1.json --domain mnist --output {}/made.csv"
BARE = "run_bare --config {}/config.json"

nothing = lambda folder: None  # noqa: E731
CASES = {
    # prior files
    "prior: empty": (write("normal.safetensors", b""), SCORE, "normal.safetensors: not a readable"),
    "prior: cut": (cut("normal.safetensors", 60), SCORE, "not a readable safetensors"),
    "prior: directory": (directory("normal.safetensors"), SCORE, "expected a folder of the"),
    "prior: symlink loop": (
        link("normal.safetensors", "normal.safetensors"),
        SCORE,
        "no such file",
    ),
    "prior: pickle": (write("normal.safetensors", pickle.dumps([1])), SCORE, "not a readable"),
    "prior: absurd header": (raw_tensors("normal.safetensors", length=2**62), SCORE, "not a read"),
    "prior: negative offsets": (
        raw_tensors("normal.safetensors", {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}),
        SCORE,
        "not a readable safetensors",
    ),
    "prior: huge shape": (
        raw_tensors(
            "normal.safetensors", {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]}
        ),
        SCORE,
        "not a readable safetensors",
    ),
    "prior: header no JSON": (header("normal.safetensors", "{"), SCORE, "header: expected JSON"),
    "prior: header a list": (header("normal.safetensors", "[]"), SCORE, "expected dwp's header"),
    "prior: header without format": (header("normal.safetensors", "{}"), SCORE, "expected format"),
    "prior: header nested": (
        header("normal.safetensors", "[" * 100_000),
        SCORE,
        "nested too deeply",
    ),
    "prior: format a text": (
        header("normal.safetensors", '{"format": "1", "kind": "prior", "settings": {}}'),
        SCORE,
        "expected dwp's header",
    ),
    "prior: settings a list": (
        header("normal.safetensors", '{"format": 1, "kind": "prior", "settings": []}'),
        SCORE,
        "expected settings in the header",
    ),
    "prior: no kind": (
        tensors("normal.safetensors"),
        SCORE,
        "normal.safetensors: header: expected kind",
    ),
    "prior: unknown kind": (
        header(
            "normal.safetensors",
            '{"format": 1, "kind": "prior", "settings": {"kind": "../x", "arguments": {}}}',
        ),
        SCORE,
        "prior kind '../x' is unknown",
    ),
    "prior: other arguments": (
        header(
            "normal.safetensors",
            '{"format": 1, "kind": "prior", "settings": {"kind": "vae", "arguments": {"x": 1}}}',
        ),
        SCORE,
        "expected the arguments of a 'vae' prior",
    ),
    "prior: absurd arguments": (
        header(
            "normal.safetensors",
            '{"format": 1, "kind": "prior", "settings": {"kind": "vae", "arguments": '
            '{"kernel_size": 7, "hidden": 1000000, "latent": 2}}}',
        ),
        SCORE,
        "its tensors are not those",
    ),
    "prior: an absurd flow": (
        header(
            "normal.safetensors",
            '{"format": 1, "kind": "prior", "settings": {"kind": "flow", "arguments": '
            '{"kernel_size": 7, "hidden": 100000, "transforms": 2}}}',
        ),
        SCORE,
        "sizes that do not fit the tensors",
    ),
    "prior: NaN": (
        lambda folder: save_tensors(
            folder / "normal.safetensors",
            {
                name: torch.full_like(value, torch.nan)
                for name, value in prior_class("student-t")(7).state_dict().items()
            },
            kind="prior",
            settings={"kind": "student-t", "arguments": {"kernel_size": 7}},
        ),
        SCORE,
        "found NaN",
    ),
    "prior: kernels instead": (
        nothing,
        "dwp score {}/kernels.safetensors {}/kernels.npy",
        "holds 'kernels', expected 'prior'",
    ),
    # released files
    "release: a pickle that acts": (
        state(lambda values, folder: values | {"encoder.fc_mu.weight": Harm(folder / "harm")}),
        CONVERT,
        "vae_params.torch: not a readable state dict",
    ),
    "release: a plain pickle that acts": (
        lambda folder: (folder / "vae7x7" / "vae_params.torch").write_bytes(
            pickle.dumps(Harm(folder / "harm"))
        ),
        CONVERT,
        "not a readable state dict",
    ),
    "release: zip bomb": (torch_zip_bomb, CONVERT, "bytes, more than"),
    "release: strides of 0": (state(spread), CONVERT, "not a 5 x 5 or 7 x 7 VAE"),
    "release: other shapes": (
        state(lambda values, folder: {name: value[:1] for name, value in values.items()}),
        CONVERT,
        "not a 5 x 5 or 7 x 7 VAE",
    ),
    "release: empty": (write("vae7x7/vae_params.torch", b""), CONVERT, "not a readable state dict"),
    "release: directory": (directory("vae7x7/vae_params.torch"), CONVERT, "no such file"),
    "release: symlink loop": (
        link("vae7x7/vae_params.torch", "vae_params.torch"),
        CONVERT,
        "no such file",
    ),
    "release: folder that is none": (
        nothing,
        "import_prior --release {}/none --folder vae7x7 --prior {}/made",
        "none/vae7x7/vae_params.torch: no such file",
    ),
    "release: kernels that are none": (
        nothing,
        "import_kernels --release {} --folder vae7x7 --kernels {}/made --description {}/m",
        "vae7x7/train.npy: no such file",
    ),
    # arrays of kernels
    "kernels: pickled": (
        npy("kernels.npy", np.array([Harm(Path("harm")), None])),
        SCORE,
        "kernels.npy: expected an array of kernels",
    ),
    "kernels: huge shape": (
        npy_header("kernels.npy", "<f4", (10**12, 7, 7)),
        SCORE,
        "expected an array of kernels",
    ),
    "kernels: negative shape": (
        npy_header("kernels.npy", "<f4", (-3, 7, 7)),
        SCORE,
        "expected an array of kernels",
    ),
    "kernels: absurd type": (
        npy_header("kernels.npy", "<U100000000", (10**6,)),
        SCORE,
        "expected an array of kernels",
    ),
    "kernels: header of code": (
        write(
            "kernels.npy",
            b"\x93NUMPY\x01\x00" + struct.pack("<H", 30) + b"__import__('os').system('x')  ",
        ),
        SCORE,
        "expected an array of kernels",
    ),
    "kernels: infinite": (npy("kernels.npy", np.full((2, 7, 7), np.inf)), SCORE, "finite values"),
    "kernels: unreadable": (link("kernels.npy", "/proc/self/mem"), SCORE, "expected an array"),
    "kernels: symlink loop": (link("kernels.npy", "kernels.npy"), SCORE, "expected an array"),
    # kernels files
    "kernels file: no test part": (
        tensors("kernels.safetensors", {"train": torch.ones(2, 7, 7)}, "kernels"),
        KL,
        "kernels.safetensors: expected test, found only train",
    ),
    "kernels file: NaN": (
        tensors("kernels.safetensors", {"test": torch.full((2, 7, 7), torch.nan)}, "kernels"),
        KL,
        "kernels.safetensors: kernels: expected finite values",
    ),
    "kernels file: flat": (
        tensors("kernels.safetensors", {"train": torch.ones(2, 49)}, "kernels"),
        FIT,
        "kernels.safetensors: kernels: expected shape (n, k, k)",
    ),
    "kernels file: another size": (
        tensors("kernels.safetensors", {"test": torch.ones(2, 5, 5)}, "kernels"),
        LATENT,
        "7 x 7 kernels, found 5 x 5",
    ),
    "kernels file: no cut": (
        tensors(
            "kernels.safetensors",
            {name: torch.ones(2, 7, 7) for name in ("train", "test", "norms")},
            "kernels",
        ),
        "plot_norms --kernels {}/kernels.safetensors --outputs {}/made.png",
        "expected cut",
    ),
    "kernels file: images": (
        lambda folder: shutil.copy(folder / "images.safetensors", folder / "kernels.safetensors"),
        KL,
        "holds 'images', expected 'kernels'",
    ),
    "figure: not of a VAE": (
        lambda folder: shutil.copy(folder / "normal.safetensors", folder / "vae.safetensors"),
        LATENT,
        "expected a prior of kind 'vae', found 'standard-normal'",
    ),
    "net: without the layer": (
        tensors("net.safetensors", {"conv2.weight": torch.ones(2, 2, 5, 5)}, "source net"),
        BUILD,
        "net.safetensors: expected conv1.weight, found only conv2.weight",
    ),
    "net: too few kernels": (
        tensors("net.safetensors", {"conv1.weight": torch.ones(1, 1, 7, 7)}, "source net"),
        BUILD,
        "expected at least 2",
    ),
    # images
    "images: floats": (
        tensors(
            "images.safetensors",
            {
                f"{part}_{name}": torch.zeros(3, 1, 28, 28)
                for part in ("train", "test")
                for name in ("images", "targets")
            },
            "images",
        ),
        TRAIN,
        "images.safetensors: expected train images, uint8, of 1x28x28, found torch.float32",
    ),
    "images: another size": (nothing, TRAIN.replace("mnist", "cifar"), "of 3x32x32, found"),
    "images: unknown network": (
        nothing,
        TRAIN.replace("mnist", "../x"),
        "expected a network, one of mnist",
    ),
    "images: none": (
        lambda folder: (folder / "images.safetensors").unlink(),
        "check_data --source {}/images.safetensors --target {}/images.safetensors --output {}/m",
        "images.safetensors: no such file",
    ),
    "images: source and target alike": (
        nothing,
        "check_data --source {}/images.safetensors --target {}/images.safetensors --output {}/m",
        "source and target hold the same 20 images",
    ),
    # data sets; tests/test_data.py has more
    "idx: none": (nothing, MNIST, "MNIST not found, missing"),
    "idx: web page": (
        write("MNIST/raw/train-images-idx3-ubyte", b"<html>404</html>"),
        MNIST,
        "missing train-labels",
    ),
    "archive: no gzip": (write("notMNIST_small.tar.gz", b"x" * 99), NOTMNIST, "not a readable"),
    "jpeg copy: none": (nothing, JPEG, "train.npz: no such file; put it there"),
    "four shapes: no zip": (
        write("four-shapes/four-shapes-16x16.npz", pickle.dumps(Harm(Path("harm")))),
        SHAPES,
        "expected an npz file",
    ),
    "cifar: rows of another length": (
        lambda folder: [
            write(f"cifar-10-batches-bin/data_batch_{i}.bin", b"x" * 3074)(folder)
            for i in range(1, 6)
        ],
        CIFAR,
        "expected rows of 3073 bytes",
    ),
    "data: unknown set": (nothing, MNIST.replace("mnist", "../x"), "found '../x'"),
    "data: choice without a set": (
        nothing,
        MNIST.replace('"mnist"', '{"classes":[1]}'),
        "expected dataset",
    ),
    "data: choice a list": (nothing, MNIST.replace('"mnist"', "[1]"), "--choice"),
    # tables
    "table: missing column": (
        changed("runs.csv", "value", "worth"),
        SUMMARISE,
        "runs.csv: expected the columns",
    ),
    "table: paper's missing column": (
        changed("paper.csv", "accuracy", "acc"),
        SUMMARISE,
        "paper.csv: expected the columns dataset, prior, num_examples, accuracy; missing accuracy",
    ),
    "table: text for a number": (changed("runs.csv", "0.5", "half"), SUMMARISE, "found half"),
    "table: empty": (write("runs.csv", b""), SUMMARISE, "runs.csv: expected CSV"),
    "table: not UTF-8": (write("runs.csv", b"a,b\n\xff\xfe,1\n"), SUMMARISE, "expected CSV"),
    "table: directory": (directory("runs.csv"), SUMMARISE, "runs.csv: Is a directory"),
    "table: unknown reference": (
        nothing,
        SUMMARISE.replace("--reference dwp", "--reference flow"),
        "no run has the prior 'flow'",
    ),
    "table: missing columns of a summary": (nothing, PLOT, "missing mean, interval"),
    "table: curves": (
        nothing,
        "plot_curves --runs {}/runs.csv --paper {}/paper.csv --dataset x --metric y"
        " --against step --outputs {}/made.png",
        "paper.csv: expected the columns",
    ),
    "table: kl": (
        nothing,
        "plot_kl --table {}/runs.csv --outputs {}/m.png",
        "missing w, deviation",
    ),
    "table: features": (
        nothing,
        "summarise_features --runs {}/runs.csv --paper {}/paper.csv --dataset x --summary {}/m"
        " --table {}/t",
        "missing scale",
    ),
    "json: missing name": (nothing, TABULATE, "conv1.json: expected log_prob, found only n"),
    "json: list": (write("scores/conv1.json", b"[1]"), TABULATE, "expected a JSON object"),
    "json: NaN": (write("scores/conv1.json", b'{"n": NaN}'), TABULATE, "expected finite numbers"),
    "json: infinity by digits": (write("scores/conv1.json", b'{"n": 1e999}'), TABULATE, "finite"),
    "json: name twice": (
        write("scores/conv1.json", b'{"n": 1, "n": 2}'),
        TABULATE,
        "found n again",
    ),
    "json: not UTF-8": (write("scores/conv1.json", b'{"\xff": 1}'), TABULATE, "expected JSON"),
    "json: empty": (write("scores/conv1.json", b""), TABULATE, "conv1.json: expected JSON"),
    "json: nested": (write("scores/conv1.json", b"[" * 10**6), TABULATE, "nested too deeply"),
    # command lines
    "command: no number": (nothing, SAMPLE.replace(" 3 ", " many "), "argument n: invalid int"),
    "command: unknown option": (nothing, f"{SCORE} --speed 3", "unrecognized arguments: --speed"),
    "command: unknown command": (nothing, "dwp guess", "invalid choice: 'guess'"),
    "command: negative": (nothing, SAMPLE.replace(" 3 ", " -3 "), "n: expected at least 1"),
    "command: more than memory": (
        nothing,
        SAMPLE.replace(" 3 ", f" {10**13} "),
        "memory: expected enough",
    ),
    "command: output in a file": (
        nothing,
        SAMPLE.replace("made.npy", "kernels.npy/made.npy"),
        "kernels.npy",
    ),
    "command: output of a long name": (
        nothing,
        SAMPLE.replace("made", "m" * 300),
        "File name too long",
    ),
    "command: line break in a name": (
        nothing,
        SCORE.replace("kernels.npy", "a\\nb.npy"),
        "a\\nb.npy: no such file",
    ),
    "script: settings no JSON": (
        nothing,
        TRAIN.replace('{"net', "{net"),
        "--settings: expected JSON",
    ),
    "script: settings a list": (
        nothing,
        TRAIN.replace('{"network":"mnist"}', "[]"),
        "--settings: expected a JSON object",
    ),
    "script: missing setting": (
        nothing,
        TRAIN.replace("network", "net"),
        "--settings: expected network, found only net",
    ),
    "script: NaN": (
        nothing,
        TRAIN.replace('"mnist"', "NaN"),
        "--settings: expected finite numbers",
    ),
    "script: runs no list": (
        nothing,
        CLASSIFY.replace("[{", "{").replace("}]", "}"),
        "--runs: expected a JSON list of objects",
    ),
    "script: place without a value": (
        nothing,
        CLASSIFY.replace("run{n}", "run{m}"),
        "expected a folder with places among n, split, seed",
    ),
    "script: prior without a layer": (
        nothing,
        f"{CLASSIFY} --priors {{}}/normal.safetensors",
        "expected LAYER=FILE",
    ),
    "script: figure of another sort": (
        nothing,
        LATENT.replace("m.png", "m.gif"),
        "expected .pdf, .png or .svg",
    ),
    # configs: as files
    "config: none": (lambda folder: (folder / "config.yaml").unlink(), PLAN, "no such file"),
    "config: empty": (write("config.yaml", b""), PLAN, "expected settings by name, found NoneType"),
    "config: list": (write("config.yaml", b"- a\n"), PLAN, "expected settings by name, found list"),
    "config: no YAML": (write("config.yaml", b"a: [1\nb: }"), PLAN, "config.yaml: expected YAML"),
    "config: tab": (write("config.yaml", b"a:\n\t- b"), PLAN, "config.yaml: expected YAML"),
    "config: not UTF-8": (write("config.yaml", b"name: \xff"), PLAN, "config.yaml: expected YAML"),
    "config: setting twice": (
        changed("config.yaml", "\ndevice: cpu", "\ndevice: cpu\ndevice: cuda"),
        PLAN,
        "config.yaml: expected every setting once, found device again in line",
    ),
    "config: nested": (write("config.yaml", "a: " + "[" * 5000), PLAN, "nested too deeply"),
    "config: Python object": (
        write("config.yaml", b"name: !!python/object/apply:os.mkdir [harm]\n"),
        PLAN,
        "config.yaml: expected YAML",
    ),
    "config: code": (
        write("config.yaml", b"__use_yte__: true\nname: ?__import__('os').mkdir('harm')\n"),
        PLAN,
        "found __use_yte__, which runs code",
    ),
    "config: anchors of lists": (write("config.yaml", bomb("list")), PLAN, "at most 100000 values"),
    "config: anchors of maps": (write("config.yaml", bomb("map")), PLAN, "at most 100000 values"),
    "config: anchor in itself": (write("config.yaml", b"a: &a [*a]\n"), PLAN, "at most 100000"),
    # configs: values
    "config: name that climbs out": (
        changed("config.yaml", "name: demo", "name: ../../x"),
        CONFIG,
        "name: ",
    ),
    "config: absolute name": (
        changed("config.yaml", "name: demo", "name: /tmp/x"),
        CONFIG,
        "name: ",
    ),
    "config: name with a line break": (
        changed("config.yaml", "name: demo", 'name: "demo\\n"'),
        CONFIG,
        "found 'demo\\n'",
    ),
    "config: long name": (
        changed("config.yaml", "name: demo", f"name: {'x' * 300}"),
        CONFIG,
        "name: expected maxLength 64",
    ),
    "config: name of other letters": (
        changed("config.yaml", "name: demo", "name: ümlaut"),
        CONFIG,
        "found 'ümlaut'",
    ),
    "config: date for a name": (
        changed("config.yaml", "name: demo", "name: 2020-01-01"),
        CONFIG,
        "expected type string",
    ),
    "config: domain that climbs out": (
        changed("config.yaml", "  demo:", "  ../x:"),
        CONFIG,
        "'../x'",
    ),
    "config: number for a domain": (changed("config.yaml", "  demo:", "  1:"), CONFIG, "found 1"),
    "config: prior with a slash": (
        changed("config.yaml", "      flow:", "      a/b:"),
        CONFIG,
        "'a/b'",
    ),
    "config: prior with a space": (
        changed("config.yaml", "      flow:", "      a b:"),
        CONFIG,
        "'a b'",
    ),
    "config: prior called no": (
        changed("config.yaml", "      flow:", "      no:"),
        CONFIG,
        "found False",
    ),
    "config: folder with NUL": (
        changed("config.yaml", "folder: null", 'folder: "a\\0b"'),
        CONFIG,
        "data.folder: expected pattern",
    ),
    "config: released kernels elsewhere": (
        changed("config.yaml", "quantile: 0.2", "released: ../../etc"),
        CONFIG,
        "conv1.released: expected pattern",
    ),
    "config: NaN": (
        changed("config.yaml", "learning_rate: 0.002", "learning_rate: .nan"),
        CONFIG,
        "learning_rate: expected a finite number, found nan",
    ),
    "config: infinity": (
        changed("config.yaml", "log_variance: -10.0", "log_variance: -.inf"),
        CONFIG,
        "found -inf",
    ),
    "config: negative": (changed("config.yaml", "count: 4", "count: -4"), CONFIG, "minimum 1"),
    "config: more nets than can be": (
        changed("config.yaml", "count: 4", "count: 900000000"),
        CONFIG,
        "source_nets.count: expected at most 100000 runs",
    ),
    "config: absurd number": (
        changed("config.yaml", "epochs: 200", f"epochs: {10**30}"),
        CONFIG,
        "epochs: expected maximum",
    ),
    "config: unknown setting": (
        changed("config.yaml", "device: cpu", "device: cpu\n1: 2\nnull: 3"),
        CONFIG,
        "unknown 1, None",
    ),
    # a machine with torch alone
    "bare: YAML for JSON": (write("config.json", DEMO), BARE, "config.json: expected JSON"),
    "bare: no domains": (write("config.json", b'{"name": "x"}'), BARE, "expected domains"),
    "bare: domains a list": (
        write("config.json", b'{"name": "x", "domains": [1]}'),
        BARE,
        "expected a config that Snakemake accepts",
    ),
    "bare: name that climbs out": (
        changed("config.json", '"demo"', '"../../x"'),
        BARE,
        "name: expected a name of letters",
    ),
    "bare: unknown domain": (nothing, f"{BARE} --domain mnist", "--domain: expected one of demo"),
}


@functools.cache
def program(name: str):
    """The `main` of a program: of `python -m dwp`, of a script, or of the config's checks."""
    if name == "dwp":
        return dwp.__main__.main
    if name == "config":
        return check_config
    place = ROOT / "workflow" / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@one_line_errors
def check_config() -> None:
    """What the Snakefile does with a config, in the same order."""
    config = read_config(sys.argv[1])
    check_size(config, "the config")
    error = best_match(Draft202012Validator(SCHEMA).iter_errors(config))
    if error is not None:
        raise UserError(describe_refusal(error))
    check_settings(config)


def words_of(command: str, folder: Path) -> list[str]:
    words = [word.replace("{_}", "\0").replace("{}", str(folder)) for word in command.split(" ")]
    return [word.replace("\0", "{}").replace("\\n", "\n") for word in words]


def content(folder: Path) -> dict[str, object]:
    """All that is in a folder, to compare."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


@contextlib.contextmanager
def little_memory():
    """Within the block, this process may take only so much more memory."""
    statm = Path("/proc/self/statm")
    before = resource.getrlimit(resource.RLIMIT_AS)
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def check_refusal(code: int, output: str, errors: str, words: str) -> None:
    *usage, line = errors.splitlines()
    assert code == 2
    assert output == ""
    assert words in line
    assert "Traceback" not in errors
    # argparse shows how a command is called before its line
    assert not usage or usage[0].startswith("usage: ")
    assert "error: " in line
    assert errors.endswith("\n")


@pytest.mark.parametrize(("make", "command", "words"), CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("error")
def test_bad_input_is_refused_in_one_line(
    good, tmp_path, monkeypatch, capsys, make, command, words
):
    folder = tmp_path / "case"
    shutil.copytree(good, folder)
    make(folder)
    before = content(folder)
    monkeypatch.setenv("DWP_DATA", str(folder))
    monkeypatch.delenv("DWP_RELEASE", raising=False)
    if "plan" in command:
        shutil.copy(ROOT / "Snakefile", tmp_path)
    monkeypatch.chdir(tmp_path)
    name, *arguments = words_of(command, folder)
    main = program(name)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with little_memory(), pytest.raises(SystemExit) as stop:
        main()
    check_refusal(stop.value.code, *capsys.readouterr(), words)
    assert content(folder) == before
    assert not [path for path in tmp_path.iterdir() if path.name not in ("case", "Snakefile")]


def test_the_pickles_would_have_acted(tmp_path):
    pickle.loads(pickle.dumps(Harm(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


# As a user calls it


def call(*command: str, folder: Path = ROOT) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.mark.parametrize("case", ["release: a pickle that acts", "config: anchors of maps"])
def test_the_program_refuses_as_its_main_does(good, tmp_path, case):
    make, command, words = CASES[case]
    folder = tmp_path / "case"
    shutil.copytree(good, folder)
    make(folder)
    before = content(folder)
    code, errors = call("-m", *words_of(command, folder))
    check_refusal(code, "", errors, words)
    assert content(folder) == before


SNAKEMAKE = {
    "setting twice": CASES["config: setting twice"],
    "anchors": CASES["config: anchors of lists"],
    "name that climbs out": CASES["config: name that climbs out"],
    "prior with a slash": CASES["config: prior with a slash"],
}


@pytest.mark.parametrize(("make", "command", "words"), SNAKEMAKE.values(), ids=SNAKEMAKE)
def test_snakemake_shows_the_same_line(good, tmp_path, make, command, words):
    shutil.copytree(good, tmp_path / "case")
    make(tmp_path / "case")
    config = tmp_path / "case" / "config.yaml"
    target = "--dry-run", "--directory", str(tmp_path / "case")
    code, output = call("-m", "snakemake", "--configfile", str(config), *target)
    profile = "Using workflow specific profile"  # what Snakemake says of profiles/default
    lines = [line for line in output.splitlines() if line and not line.startswith(profile)]
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("error in the config: ")
    assert words in lines[0]


def test_snakemake_takes_no_unknown_name_for_a_prior(tmp_path):
    target = "results/demo/demo/priors/fitted/../x/conv1.safetensors"
    config = "--configfile", str(ROOT / "config" / "demo.yaml")
    folder = "--directory", str(tmp_path)
    code, output = call("-m", "snakemake", *config, *folder, "--dry-run", "--quiet", "--", target)
    assert code == 1
    assert "No rule to produce" in output
    assert "Traceback" not in output


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
