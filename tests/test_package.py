"""The wheel: what an index would show, and that it works outside of the checkout."""

import email
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from helpers import ROOT

import dwp

USE = """
import pathlib, sys, torch, dwp
assert pathlib.Path(dwp.__file__).is_relative_to(sys.argv[1]), dwp.__file__
assert sorted(dwp.pretrained()) == sys.argv[2:]
net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 7), torch.nn.Conv2d(2, 2, 5))
dwp.init.from_prior_(net, "mnist", 0)
assert dwp.kl(dwp.bayesianize(net, "mnist"), 0).isfinite()
print(dwp.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the checkout, built in a copy, in which nothing else lies."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "dwp", folder / "dwp", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    command += ["--disable-pip-version-check", "--wheel-dir", folder / "dist", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "dist").iterdir()
    return file


def test_what_an_index_shows_and_all_files_of_the_package(wheel):
    version = dwp.__version__
    assert wheel.name == f"dwp-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as files:
        facts = email.message_from_bytes(files.read(f"dwp-{version}.dist-info/METADATA"))
        packed = files.namelist()
    own = {str(file.relative_to(ROOT)) for file in (ROOT / "dwp").rglob("*.*")}
    assert not [name for name in own.difference(packed) if not name.endswith(".pyc")]
    assert facts["Version"] == version
    assert facts["License-Expression"] == "MIT"
    assert len(facts.get_all("Project-URL")) == 2
    assert facts.get_payload().startswith("# dwp: the Deep Weight Prior")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_works_outside_of_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "site")
    arguments = [str(tmp_path / "site"), *sorted(dwp.pretrained())]
    done = subprocess.run(
        [sys.executable, "-c", USE, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [dwp.__version__], done.stderr
