"""The package: its wheel, what it needs and offers, and what is known without torch."""

import ast
import email
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

import dwp
import dwp.priors
from dwp.priors import KINDS, prior_class
from dwp.priors.kinds import REQUIRED

HIDE = "import sys\nsys.modules |= dict.fromkeys(sys.argv[1].split())\n"
USE = """
import os, torch, dwp
assert dwp.__file__.startswith(os.environ["PYTHONPATH"]), dwp.__file__
from dwp import kernels
from dwp.priors import KINDS, prior_class

draws = dwp.generator("core")
prior = dwp.load_prior("mnist-7x7")
net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 7), torch.nn.ReLU(), torch.nn.Flatten(),
                          torch.nn.Linear(3 * 22 * 22, 10))
dwp.init.from_prior_(net, prior, draws)
collected = kernels.check_kernels(kernels.collect([net[0].weight.detach()]))
dwp.bayesianize(net, prior)
images = torch.rand(4, 1, 28, 28)
loss = dwp.negative_elbo(net(images), torch.arange(4), dwp.kl(net, draws), n=4)
loss.backward()
assert dwp.predict(net, images, samples=2, generator=draws).shape == (2, 4, 10)
assert dwp.score(prior, collected, importance_samples=2)["n"] == 3
many = torch.randn((99, 3, 3), generator=draws)
fitted = prior_class("gaussian-full").fit(many)
fitted.save(sys.argv[0] + ".safetensors")
assert dwp.load_prior(sys.argv[0] + ".safetensors").sample(2, draws).shape == (2, 3, 3)
assert dwp.fit_prior(many, epochs=1, hidden=4).sample(2, 0).shape == (2, 3, 3)
import dwp.release, dwp.fast.frozen, dwp.nn.stack
from dwp.errors import one_line_errors
one_line_errors(lambda: prior_class("student-t").fit(many))()
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
    needed = [text.split(">")[0] for text in facts.get_all("Requires-Dist") if "extra" not in text]
    assert needed == ["numpy", "safetensors", "torch"]
    assert {*facts.get_all("Provides-Extra")} >= {"study", "workflow", "development"}
    assert facts["License-Expression"] == "MIT"
    assert len(facts.get_all("Project-URL")) == 2
    assert facts.get_payload().startswith("# dwp: the Deep Weight Prior")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def site(wheel):
    """The wheel unpacked, outside of the checkout."""
    with zipfile.ZipFile(wheel) as files:
        files.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def python(site: Path, code: str) -> subprocess.CompletedProcess:
    """Run code with the wheel, given the names of the modules that the core does not need."""
    needed, todo = set(), ["torch", "numpy", "safetensors"]
    while todo:
        if (name := re.sub("[-_.]+", "_", todo.pop()).lower()) not in needed:
            needed.add(name)
            texts = [text for text in requires(name) or () if ";" not in text]
            todo += [re.match(r"[\w.-]+", text)[0] for text in texts]
    others = [
        module
        for module, owners in packages_distributions().items()
        if module != "dwp" and not needed & {owner.lower().replace("-", "_") for owner in owners}
    ]
    (site.parent / "program.py").write_text(code)
    command = [sys.executable, site.parent / "program.py", " ".join(others)]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)


def test_the_core_needs_torch_numpy_and_safetensors_alone(site):
    done = python(site, HIDE + USE)
    assert done.stderr.count("\n") == 1, done.stderr  # of the last line of code, which needs scipy
    assert re.match("error: .*scipy", done.stderr)
    assert done.returncode == 2


def test_what_a_study_asks_needs_no_torch(site):
    code = (
        "import sys, dwp, dwp.files, dwp.study.program\nfrom dwp.priors import KINDS\n"
        "from dwp.priors.pretrained import pretrained_kind\n"
        "assert pretrained_kind('mnist-7x7') == ('vae', 7)\n"
        "KINDS['vae'].hyperparameters['hidden']\nprint('torch' in sys.modules, len(dir(dwp)))"
    )
    done = python(site, code)
    assert done.stdout.split() == ["False", str(len(dwp.__all__))], done.stderr


@pytest.mark.parametrize("package", [dwp, dwp.priors])
def test_editors_see_what_is_imported_when_first_used(package):
    tree = ast.parse(inspect.getsource(package))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    plain = {alias.asname: node.module for node in block.body for alias in node.names}
    assert sorted(plain) == package.__all__ == dir(package)
    for name, module in plain.items():
        importlib.import_module(module)
        found = getattr(package, name)
        assert found is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'guess'"):
        package.guess  # noqa: B018
    assert (ROOT / "dwp" / "py.typed").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_what_its_class_is(kind):
    facts, of = KINDS[kind], prior_class(kind)
    assert of.kind == kind
    assert of.trained == facts.trained
    assert of.posterior_kind == facts.posterior
    _, *arguments = inspect.signature(of if facts.trained else of.fit).parameters.values()
    found = {}
    for argument in arguments if facts.needs_kernels else ():
        default = REQUIRED if argument.default is argument.empty else argument.default
        found[argument.name] = default
        type_ = facts.hyperparameters[argument.name].type
        assert argument.annotation in (type_, type_ | None)
    assert found == {name: each.default for name, each in facts.hyperparameters.items()}
    json.dumps(list(facts.hyperparameters))
