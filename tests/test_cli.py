"""The command line: what it prints and writes, and one line for what the user can mend."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from dwp.__main__ import main
from dwp.priors import load_prior, prior_class
from dwp.seeds import generator


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the program; return its exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dwp", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def kernels(tmp_path):
    """A file of ten 7 x 7 kernels."""
    path = tmp_path / "kernels.npy"
    np.save(path, torch.randn((10, 7, 7), generator=generator("kernels")).numpy())
    return path


@pytest.fixture
def standard_normal(tmp_path):
    """A prior file."""
    path = tmp_path / "standard-normal.safetensors"
    prior_class("standard-normal")(7).save(path)
    return path


def scores(result):
    """What `score` printed, after a look at its form."""
    code, output, errors = result
    assert (code, errors) == (0, "")
    found = json.loads(output)
    terms = ["elbo", "log_likelihood", "kl", "log_prob"]
    assert list(found) == ["n", *terms, "at_zero", "at_initial"]
    for name in terms:
        assert {"mean", "standard_error"} <= set(found[name])
    return found


def refusal(result):
    """The one line of an error."""
    code, output, errors = result
    assert code == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.endswith("\n")
    assert errors.count("\n") == 1
    return errors


# As a user calls it


def test_program_scores(standard_normal, kernels):
    command = [sys.executable, "-m", "dwp", "score", standard_normal, kernels]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = scores((process.returncode, process.stdout, process.stderr))
    expected = load_prior(standard_normal).log_prob(torch.from_numpy(np.load(kernels)))
    assert found["n"] == 10
    assert found["log_prob"]["mean"] == pytest.approx(expected.mean().item(), rel=1e-6)


def test_program_refuses_in_one_line(standard_normal, tmp_path):
    missing = tmp_path / "missing.npy"
    command = [sys.executable, "-m", "dwp", "score", standard_normal, missing]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = refusal((process.returncode, process.stdout, process.stderr))
    assert found == f"error: {missing}: no such file\n"


# Score


def test_score_of_a_release_folder_by_seed(run, fake_release, kernels):
    few = ("--samples", 2, "--importance-samples", 3)
    first, same, other = (
        scores(run("score", fake_release[0], kernels, *few, "--seed", seed)) for seed in (0, 0, 1)
    )
    assert first == same
    assert first["log_prob"]["estimator"] == "importance-weighted"
    assert first["elbo"]["mean"] != other["elbo"]["mean"]
    assert first["log_prob"]["mean"] != other["log_prob"]["mean"]


def test_options_of_score_reach_it(run, fake_release, kernels):
    def log_prob(*options):
        return scores(run("score", fake_release[0], kernels, "--samples", 1, *options))["log_prob"]

    # More importance samples change the number, and seed 0 is the default.
    few = log_prob("--importance-samples", 2)
    assert few == log_prob("--importance-samples", 2, "--seed", 0)
    assert few["mean"] != log_prob("--importance-samples", 50)["mean"]


# Sample


def test_samples_are_the_same_for_the_same_seed(run, fake_release, tmp_path):
    folder, vae = fake_release
    paths = [tmp_path / name for name in ("first.npy", "same.npy", "other.npy")]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        assert run("sample", folder, 12, path, "--seed", seed) == (0, "", "")
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same
    assert first != other
    found = np.load(paths[0])
    assert found.shape == (12, 7, 7)
    assert found.dtype == np.float32
    # From the VAE in the folder.
    assert np.array_equal(found, vae.sample(12, generator("sample", 5)).numpy())


def test_samples_can_be_scored(run, standard_normal, tmp_path):
    path = tmp_path / "folder" / "samples.npy"
    assert run("sample", standard_normal, 500, path)[0] == 0
    found = scores(run("score", standard_normal, path))
    # The entropy of 49 standard normals is 49 * 1.4189 nats; one kernel's log density has
    # variance 49 / 2, so 0.22 is the standard error of the mean of 500.
    assert found["n"] == 500
    assert found["log_prob"]["mean"] == pytest.approx(-49 * 1.41894, abs=0.9)
    assert found["log_prob"]["standard_error"] == pytest.approx(0.22, abs=0.04)


# Convert


def test_converted_prior_scores_the_same(run, fake_release, kernels, tmp_path):
    folder, vae = fake_release
    path = tmp_path / "prior.safetensors"
    assert run("convert", folder, path) == (0, "", "")
    few = ("--samples", 2, "--importance-samples", 3, "--seed", 4)
    first, second = (scores(run("score", place, kernels, *few)) for place in (folder, path))
    assert first == second
    assert load_prior(path).arguments == vae.arguments


# Errors


@pytest.fixture
def files(tmp_path, fake_release, standard_normal, kernels):
    """Places to fill into the command lines below."""
    np.save(tmp_path / "small.npy", np.zeros((3, 5, 5), np.float32))
    np.save(tmp_path / "flat.npy", np.zeros((3, 49), np.float32))
    (tmp_path / "corrupt.npy").write_bytes(kernels.read_bytes()[:300])
    (tmp_path / "text.npy").write_text("no\nkernels\n")
    (tmp_path / "corrupt.safetensors").write_bytes(standard_normal.read_bytes()[:20])
    (tmp_path / "empty").mkdir()
    prior_class("empirical").fit(torch.zeros(2, 7, 7)).save(tmp_path / "empirical.safetensors")
    prior_class("log-uniform")(7).save(tmp_path / "log-uniform.safetensors")
    (tmp_path / "folder.npy").mkdir()
    return tmp_path


ERRORS = {
    "missing prior": ("score {}/none.safetensors {}/kernels.npy", "none.safetensors: no such file"),
    "missing kernels": ("score {}/standard-normal.safetensors {}/none.npy", "none.npy: no such"),
    "missing release": ("score {}/empty {}/kernels.npy", "empty/vae_params.torch: no such file"),
    "corrupt prior": ("score {}/corrupt.safetensors {}/kernels.npy", "not a readable safetensors"),
    "kernels as the prior": ("score {}/kernels.npy {}/kernels.npy", "not a readable safetensors"),
    "corrupt kernels": (
        "score {}/standard-normal.safetensors {}/corrupt.npy",
        "corrupt.npy: expected an array of kernels",
    ),
    "text": ("score {}/standard-normal.safetensors {}/text.npy", "expected an array of kernels"),
    "folder as the kernels": ("score {}/standard-normal.safetensors {}/empty", "/empty: expected"),
    "another size": ("score {}/standard-normal.safetensors {}/small.npy", "7 x 7 kernels, found 5"),
    "another shape": ("score {}/standard-normal.safetensors {}/flat.npy", "found (3, 49)"),
    "another size for a vae": ("score {}/vae7x7 {}/small.npy", "7 x 7 kernels, found 5 x 5"),
    "no density": ("score {}/empirical.safetensors {}/kernels.npy", "has no tractable density"),
    "no samples for the bound": ("score {}/vae7x7 {}/kernels.npy --samples 0", "at least 1"),
    "no kernels to draw": ("sample {}/vae7x7 0 {}/made.npy", "n: expected at least 1, found 0"),
    "fewer than no kernels": (
        "sample {}/vae7x7 -3 {}/made.npy",
        "n: expected at least 1, found -3",
    ),
    "suffix of samples": (
        "sample {}/vae7x7 3 {}/made.txt",
        "made.txt: expected a name that ends in",
    ),
    "no suffix": ("sample {}/vae7x7 3 {}/made", "/made: expected a name that ends in .npy"),
    "improper": ("sample {}/log-uniform.safetensors 3 {}/made.npy", "improper"),
    "missing prior to draw from": ("sample {}/none.safetensors 3 {}/made.npy", "no such file"),
    "suffix of a prior": ("convert {}/vae7x7 {}/made.npy", "ends in .safetensors"),
    "folder as the output": ("sample {}/vae7x7 3 {}/folder.npy", "folder.npy: Is a directory"),
    "nothing to convert": (
        "convert {}/empty {}/made.safetensors",
        "vae_params.torch: no such file",
    ),
    "no GPU to plan with": ("plan {}/config.yaml --gpus 0", "--gpus: expected at least 1, found 0"),
    "a file to convert": ("convert {}/kernels.npy {}/made.safetensors", "no such file"),
}


@pytest.mark.parametrize(("command", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_are_one_line(run, files, command, message):
    before = sorted(files.rglob("*"))
    arguments = [word.replace("{}", str(files)) for word in command.split()]
    assert message in refusal(run(*arguments))
    assert sorted(files.rglob("*")) == before  # nothing half made


def test_a_failed_call_leaves_the_old_file(run, files):
    path = files / "made.npy"
    path.write_bytes(b"old")
    refusal(run("sample", files / "log-uniform.safetensors", 3, path))
    assert path.read_bytes() == b"old"


def test_no_command_shows_the_usage(run):
    code, output, errors = run()
    assert (code, output) == (2, "")
    assert "usage: python -m dwp" in errors
    assert "Traceback" not in errors
