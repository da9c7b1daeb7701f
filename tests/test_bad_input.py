"""Bad input: every case ends in one line that names its cause, and leaves files as they were.

A case is how a file is broken, the program that meets it, and words of the line. `@` in a command
is the folder of the files. Programs run in this process, by their own `main`. Settings have tests
of their own, so have data sets, files of tensors, releases and the command line.
"""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from helpers import script, some_kernels, striped_images

from dwp.files import TEMPORARY, save_tensors
from dwp.priors import prior_class
from dwp.priors.vae import KernelVAE


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with one good file of each sort."""
    folder, kernels = tmp_path_factory.mktemp("good"), some_kernels(7, 20)
    parts = {"train": kernels[5:], "test": kernels[:5], "norms": torch.ones(20)}
    save_tensors(folder / "kernels.safetensors", parts, kind="kernels", settings={})
    prior_class("standard-normal")(7).save(folder / "normal.safetensors")
    KernelVAE(7, hidden=2, latent=2).save(folder / "vae.safetensors")
    striped_images(20, 20).save(folder / "images.safetensors", {})
    (folder / "runs.csv").write_text(
        "domain,prior,init,n,split,seed,step,metric,value\n"
        "mnist,dwp,dwp,10,0,0,,ensemble_accuracy,0.5\n"
    )
    (folder / "paper.csv").write_text("dataset,prior,num_examples,accuracy\nmnist,dwp,10,0.5\n")
    (folder / "scores.json").write_text('{"conv1": {"n": 3}}')
    return folder


# How a file is broken: functions of the folder


def whole(folder: Path) -> None:
    """Not at all: the argument is bad."""


class Harm:
    """Something whose unpickling makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("harm"),)


HARM = pickle.dumps(Harm())


def holds(name: str, content: bytes):
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return write


def says(name: str, old: bytes, new: bytes):
    return lambda folder: holds(name, (folder / name).read_bytes().replace(old, new, 1))(folder)


def directory(folder: Path) -> None:
    (folder / "runs.csv").unlink()
    (folder / "runs.csv").mkdir()


def kernels(**content):
    path = "kernels.safetensors"
    return lambda folder: save_tensors(folder / path, content, kind="kernels", settings={})


# What meets it

RELEASE = (
    "collect_kernels --layer conv1 --kernels @/made --description @/made.json"
    ' --settings {"released":"none"}'
)
FIT = (
    "fit_prior --kernels @/kernels.safetensors --prior @/made --history @/made.csv"
    ' --settings {"kind":"standard-normal","kernel_size":7}'
)
LAYER = "study_layer --kernels @/kernels.safetensors --priors @/normal.safetensors"
KL = f"{LAYER} --table @/made.csv --kl @/made.png"
VAE = "plot_vae --prior @/vae.safetensors --kernels @/kernels.safetensors --latent @/made.png"
BATCH = '--code x --columns {} --runs [{"seed":0}] --weights @/made --metrics @/made.csv'
TRAIN = (
    f"train_source --data @/images.safetensors {BATCH}"
    ' --settings {"network":"mnist","filters":[2,2]}'
)
CHECK = "check_data --source @/images.safetensors --target @/images.safetensors --output @/made"
PREPARE = 'prepare_data --choice "mnist" --location {"folder":"@","download":false} --output @/made'
SHAPES = PREPARE.replace("mnist", "four-shapes")
COMPARISON = '{"domain":"mnist","dataset":"mnist","prior":"dwp","tune_by":"validation_nll"}'
SUMMARISE = (
    f"summarise_runs --runs @/runs.csv --comparison {COMPARISON}"
    " --paper @/paper.csv --output @/made.csv --accuracy @/made.png --nll @/made2.png"
)
STEPS = (
    "summarise_convergence --runs @/runs.csv --paper @/paper.csv --dataset x --kind image-vae"
    " --levels 1 --output @/made.csv --steps @/made2.csv --figure @/made.png"
)
PRIORS = "tabulate_priors --scores @/scores.json --domain mnist --output @/made.csv"

NAN = torch.full((2, 7, 7), torch.nan)
CASES = [
    # kernels, nets and priors
    (kernels(test=NAN), KL, "kernels: expected finite values"),
    (kernels(train=torch.ones(2, 49)), FIT, "expected shape (n, k, k)"),
    (kernels(test=torch.ones(2, 5, 5)), VAE, "7 x 7 kernels, found 5 x 5"),
    (holds("normal.safetensors", HARM), KL, "normal.safetensors: expected a safetensors file"),
    (whole, f"{RELEASE} --release @", "none/train.npy: no such file"),
    (whole, RELEASE, "release: expected the folder of the authors' release"),
    # images and data sets
    (whole, TRAIN.replace("mnist", "cifar"), "expected images of 3x32x32, found 1x28x28"),
    (whole, TRAIN.replace("mnist", "../x"), "--settings.network: expected match pattern"),
    (whole, CHECK, "source and target hold the same 20 images"),
    (whole, PREPARE.replace("mnist", "../x"), "found '../x'"),
    (whole, PREPARE.replace('"mnist"', '{"classes":[1]}'), "--choice.dataset: expected a value"),
    (whole, PREPARE.replace('"mnist"', "[1]"), "error: --choice: "),
    (holds("four-shapes/four-shapes-16x16.npz", HARM), SHAPES, "expected an npz file with train_"),
    # tables
    (says("runs.csv", b"value", b"worth"), SUMMARISE, "runs.csv: expected columns value, fou"),
    (says("paper.csv", b"accuracy", b"acc"), SUMMARISE, "paper.csv: expected columns accuracy"),
    (says("runs.csv", b"0.5", b"half"), SUMMARISE, "runs.csv: expected CSV; found could not conv"),
    (holds("runs.csv", b"a,b\n\xff\xfe,1\n"), SUMMARISE, "expected CSV"),
    (holds("runs.csv", b""), SUMMARISE, "runs.csv: expected CSV"),
    (whole, SUMMARISE.replace("@/runs", "@/none"), "none.csv: no such file"),
    (directory, SUMMARISE, "runs.csv: expected CSV; found Is a directory"),
    (whole, SUMMARISE.replace("dwp", "flow"), "no run has the prior 'flow'"),
    (whole, STEPS, "paper.csv: expected columns experiment, init"),
    (holds("scores.json", b"[1]"), PRIORS, "expected a JSON object; found list"),
    # options
    (whole, TRAIN.replace("network", "net"), "--settings.net: unknown setting; expected"),
    (whole, f"{FIT} --device gpu", "--device: expected auto or cpu or cuda, found 'gpu'"),
    (whole, VAE.replace("made.png", "made.gif"), "expected .pdf, .png or .svg"),
]


def content(folder: Path) -> dict[Path, bytes | bool]:
    """The content of a folder, by path; of a folder in it False."""
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
    monkeypatch.delenv("DWP_RELEASE", raising=False)
    monkeypatch.chdir(tmp_path)
    name, *arguments = command.replace("@", str(folder)).split(" ")
    with pytest.raises(SystemExit) as stop:
        script(name).main(arguments)
    output, errors = capsys.readouterr()
    assert (stop.value.code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors
    after = content(tmp_path)
    assert before.items() <= after.items()
    made = {path.name for path in after.keys() - before.keys()}
    assert not [name for name in made if name == "harm" or name.startswith(TEMPORARY)]
