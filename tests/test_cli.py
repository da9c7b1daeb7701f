"""The command line: what it prints and writes, and one line for the user's errors."""

import json
import pkgutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch
from helpers import ROOT, same_state
from tqdm import tqdm

from dwp import cli
from dwp.__main__ import main
from dwp.evaluation.scores import SAMPLES
from dwp.priors import load_prior, prior_class
from dwp.priors.pretrained import pretrained
from dwp.seeds import generator

FEW = ("--hidden", 4, "--latent", 2)


@pytest.fixture
def run(capsys):
    """Call the program; return its exit code, standard output and standard error."""

    def call(*arguments):
        code = 0
        try:
            main([*map(str, arguments)])
        except SystemExit as error:
            code = error.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def files(tmp_path, fake_release):
    """A folder with what the command lines below name."""
    kernels = torch.randn((10, 7, 7), generator=generator("kernels")).numpy()
    np.save(tmp_path / "kernels.npy", kernels)
    np.save(tmp_path / "small.npy", kernels[:, :5, :5])
    np.save(tmp_path / "flat.npy", np.zeros((3, 49), np.float32))
    prior_class("standard-normal")(7).save(tmp_path / "normal.safetensors")
    prior_class("log-uniform")(7).save(tmp_path / "log-uniform.safetensors")
    prior_class("empirical").fit(torch.zeros(2, 7, 7)).save(tmp_path / "empirical.safetensors")
    (tmp_path / "corrupt.npy").write_bytes((tmp_path / "kernels.npy").read_bytes()[:300])
    (tmp_path / "corrupt.safetensors").write_bytes(b"<html>")
    return tmp_path


def scores(result):
    """What `score` printed, checked for its form."""
    code, output, errors = result
    assert (code, errors) == (0, "")
    found = json.loads(output)
    terms = ["elbo", "log_likelihood", "kl", "log_prob"]
    assert [name for name in found if name != "bound"] == ["n", *terms, "at_zero", "at_initial"]
    assert all({"mean", "standard_error"} <= set(found[name]) for name in terms)
    return found


def refusal(result):
    """The one line of an error."""
    code, output, errors = result
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ")
    return errors


def test_scores_of_a_prior_file_as_a_process(files):
    prior, kernels = files / "normal.safetensors", files / "kernels.npy"
    command = [sys.executable, "-m", "dwp", "score", prior, kernels]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    found = scores((process.returncode, process.stdout, process.stderr))
    expected = load_prior(prior).log_prob(torch.from_numpy(np.load(kernels)))
    assert found["n"] == 10
    assert found["log_prob"]["mean"] == pytest.approx(expected.mean().item(), rel=1e-6)


def test_options_of_score_reach_it(run, files):
    few = f"score {files}/vae7x7 {files}/kernels.npy --samples 1 --importance-samples 2 --seed 0"
    options = "", "", " --samples 2", " --importance-samples 50", " --seed 1", " --bound-steps 2"
    first, same, *others, followed = (scores(run(*f"{few}{own}".split())) for own in options)
    assert first == same
    assert followed == first | {"bound": followed["bound"]}
    assert followed["bound"]["different_before"] <= SAMPLES
    assert first["log_prob"]["estimator"] == "importance-weighted"
    for other, name in zip(others, ("elbo", "log_prob", "elbo"), strict=True):
        assert other[name]["mean"] != first[name]["mean"]


def test_samples_depend_on_the_seed_and_can_be_scored(run, fake_release, tmp_path):
    folder, vae = fake_release
    paths = [tmp_path / "new" / name for name in ("first.npy", "same.npy", "other.npy")]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        assert run("sample", folder, 12, path, "--seed", seed) == (0, "", "")
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same
    assert first != other
    found = np.load(paths[0])
    assert found.dtype == np.float32
    # From the VAE in the folder.
    assert np.array_equal(found, vae.sample(12, generator("sample", 5)).numpy())
    assert scores(run("score", folder, paths[0], "--importance-samples", 2))["n"] == 12


def test_a_converted_prior_is_the_same(run, fake_release, tmp_path):
    folder, vae = fake_release
    path = tmp_path / "prior.safetensors"
    assert run("convert", folder, path) == (0, "", "")
    assert same_state(load_prior(path), vae)


def test_the_pretrained_priors_are_listed_with_their_cards(run):
    code, output, _ = run("priors")
    assert code == 0
    for name, card in pretrained().items():
        assert f"\n{name} " in f"\n{output}"
        assert run("priors", name) == (0, f"{card}\n", "")
    assert "A `vae` prior over 7 x 7 kernels\n" in output


def test_fit_writes_a_prior_that_scores_its_kernels_better(run, files):
    fresh = run("fit", files / "kernels.npy", files / "vae.safetensors", *FEW, "--epochs", 1)
    long = run("fit", files / "kernels.npy", *FEW, "--epochs", 60)
    assert (fresh[0], long[0]) == (0, 0)
    assert str(files / "kernels.safetensors") in long[1]
    assert "vae, 7 x 7: step 60 of 60" in long[2]  # the progress
    made = load_prior(files / "kernels.safetensors")
    assert (made.kind, made.kernel_size) == ("vae", 7)
    assert made.arguments["hidden"] == 4
    first, second = (
        scores(run("score", files / name, files / "kernels.npy", "--importance-samples", 5))
        for name in ("vae.safetensors", "kernels.safetensors")
    )
    assert second["elbo"]["mean"] > first["elbo"]["mean"]


@pytest.mark.parametrize("kind", ["gaussian-mixture --components 2", "flow --epochs 1"])
def test_fit_takes_every_kind(run, files, kind):
    command = f"fit {files}/small.npy {files}/made.safetensors --kind {kind}"
    code, output, _ = run(*command.split())
    assert (code, output.count("\n")) == (0, 1)
    assert load_prior(files / "made.safetensors").kind == kind.split()[0]


def test_of_many_kernels_some_are_scored_and_it_says_so(run, files):
    few = ("score", files / "normal.safetensors", files / "kernels.npy", "--most", 4)
    (code, output, errors), other = run(*few), run(*few, "--seed", 1)
    assert (code, json.loads(output)["n"]) == (0, 4)
    assert "scores 4 of 10 kernels" in errors
    assert output != other[1]


def test_what_takes_long_shows_its_progress(run, files, monkeypatch):
    monkeypatch.setattr(cli, "_progress", tqdm)  # from the start
    few = ("--samples", 2, "--importance-samples", 3, "--bound-steps", 4)
    code, output, errors = run("score", files / "vae7x7", files / "kernels.npy", *few)
    assert code == 0
    assert json.loads(output)["n"] == 10
    for line in ("ELBO: 100%", "log p: 100%", "bound: 100%"):
        assert line in errors
    assert "kernels: 100%" in run("sample", "mnist-7x7", 3, files / "made.npy")[2]


# Errors

ERRORS = [
    ("score {}/none.safetensors {}/kernels.npy", "none.safetensors: no such file"),
    ("score {}/normal.safetensors {}/none.npy", "none.npy: no such file"),
    ("score {}/corrupt.safetensors {}/kernels.npy", "expected a safetensors file"),
    ("score {}/normal.safetensors {}/corrupt.npy", "corrupt.npy: expected an array of kernels"),
    ("score {}/normal.safetensors {}/flat.npy", "found (3, 49)"),
    ("score {}/vae7x7 {}/small.npy", "7 x 7 kernels, found 5 x 5"),
    ("score {}/empirical.safetensors {}/kernels.npy", "has no tractable density"),
    ("score {}/vae7x7 {}/kernels.npy --samples 0", "of at least 1"),
    ("score {}/vae7x7 {}/kernels.npy --samples few", "'--samples': 'few' is not a valid integer"),
    ("sample {}/vae7x7 0 {}/made.npy", "n: expected a whole number of at least 1, found 0"),
    ("sample {}/vae7x7 many {}/made.npy", "'N': 'many' is not a valid integer; see "),
    ("sample {}/vae7x7 3 {}/made.txt", "made.txt: expected a name that ends in .npy"),
    (f"sample {{}}/vae7x7 3 {{}}/{'m' * 300}.npy", "File name too long"),
    ("sample {}/log-uniform.safetensors 3 {}/made.npy", "improper"),
    ("convert {}/vae7x7 {}/made.npy", "ends in .safetensors"),
    ("convert {}/kernels.npy {}/made.safetensors", "vae_params.torch: expected a 5 x 5"),
    ("plan {}/config.yaml --gpus 0", "'--gpus': 0 is not in the range x>=1; see "),
    ("plan {}/none.yaml", "none.yaml"),
    ("fit {}/none.npy", "none.npy: no such file"),
    ("fit {}/kernels.npy {}/made.pt", "made.pt: expected a name that ends in .safetensors"),
    ("fit {}/kernels.npy --kind best", "'best' is not one of 'vae'"),
    ("fit {}/kernels.npy --epochs 0", "'--epochs': 0 is not in the range x>=1; see "),
    ("fit {}/kernels.npy --kind student-t --hidden 3", "student-t: expected one of none; found"),
    ("priors mnist-9x9", "found 'mnist-9x9'; did you mean mnist-7x7?"),
    ("guess", "No such command 'guess'"),
    ("score", "Missing argument 'PRIOR'"),
    ("score a b --speed 3", "No such option '--speed'"),
]


@pytest.mark.parametrize(("command", "message"), ERRORS)
def test_errors_are_one_line(run, files, command, message):
    before = sorted(files.rglob("*"))
    arguments = [word.replace("{}", str(files)) for word in command.split()]
    assert message in refusal(run(*arguments))
    assert sorted(files.rglob("*")) == before  # nothing half made


def test_no_command_shows_all_commands(run):
    code, output, errors = run()
    assert (code, output) == (2, "")
    assert errors.strip() == run("--help")[1].strip()
    for name in ("convert", "fit", "plan", "priors", "sample", "score"):
        assert f"\n  {name} " in errors
        code, output, errors_of_one = run(name, "--help")
        assert (code, errors_of_one) == (0, "")
        assert f" {name} [OPTIONS]" in output


def test_the_script_dwp_is_the_same_program():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert pkgutil.resolve_name(scripts["dwp"]) is main


def test_without_the_study_extra_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "dwp.cli", raising=False)
    assert "pip install 'dwp[study]'" in refusal(run("priors"))


def test_an_interrupted_command_prints_no_traceback(run, files, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dwp.priors.load_prior", interrupt)
    code, output, errors = run("score", "mnist-7x7", files / "kernels.npy")
    assert (code, output, errors.strip()) == (130, "", "")
