"""The programs on a machine that has torch, numpy and pandas, stopped again and again."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import yaml

from dwp.data.tensors import ImageTensors
from dwp.files import load_tensors
from dwp.priors import load_prior
from dwp.seeds import generator

ROOT = Path(__file__).parent.parent

# Torch and pandas, what they need, and nothing else.
ISOLATE = """
import sys

ALLOWED = {
    *sys.stdlib_module_names, "sitecustomize", "dwp", "torch", "torchgen", "functorch", "numpy",
    "pandas", "typing_extensions", "filelock", "sympy", "mpmath", "networkx", "jinja2",
    "markupsafe", "fsspec", "dateutil", "pytz", "six", "tzdata", "nvidia", "triton",
}

class Finder:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ALLOWED or name.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)

    def find_distributions(self, context):
        known = context.name in ALLOWED and hasattr(self.finder, "find_distributions")
        return self.finder.find_distributions(context) if known else []

sys.meta_path[:] = map(Finder, sys.meta_path)
"""

# Run the program again until it is done, and its parts in this process: torch is imported once.
DRIVER = """
import importlib.util, runpy, subprocess, sys, types

program, isolated, *arguments = sys.argv[1:]
for name in ("tqdm", "safetensors", "torchvision", "PIL", "yaml", "jsonschema", "snakemake"):
    assert (importlib.util.find_spec(name) is None) == (isolated == "yes"), name

def status(argv):
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    return 0

def run(command, env, check):
    assert command[0] == sys.executable
    return types.SimpleNamespace(returncode=status(command[1:]))

subprocess.run, stops = run, 0
while found := status([program, *arguments]):
    assert found == 75, found
    stops += 1
print("stops", stops)
"""

NAMES = ("history.csv", "metrics.json")


def config():
    """The demo's source nets and priors, cut down to a few steps."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    domain = config["domains"]["demo"]
    domain["source_nets"].update(count=2, filters=[6, 4], epochs=3, batch_size=20)
    domain["kernels"]["layers"] = {"conv1": {"quantile": 0.2}, "conv2": {"threshold": 0.3}}
    for layer in ("conv1", "conv2"):
        domain["priors"]["dwp"]["layers"][layer] = {"hidden": 2, "latent": 2}
        domain["priors"]["dwp"]["training"][layer].update(epochs=2, batch_size=5)
    return config


def bare(folder, *arguments, isolated):
    """Run the program in a folder until it is done; return how often it stopped, and the rest."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    images = torch.randint(0, 256, (60, 1, 28, 28), generator=generator("bare")).to(torch.uint8)
    data = ImageTensors(images[:40], torch.arange(40) % 4, images[40:], torch.arange(20) % 4)
    data.save(folder / "results" / "demo" / "demo" / "data" / "source.safetensors", {})
    (folder / "sitecustomize.py").write_text(ISOLATE if isolated else "")
    (folder / "driver.py").write_text(DRIVER)
    command = [sys.executable, "driver.py", str(ROOT / "workflow" / "scripts" / "run_bare.py")]
    command += ["yes" if isolated else "no", "--config", "config.json", *arguments]
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1]), done


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where it ran on a bare machine in pieces of a step each, and where whole on a full one."""
    folder = tmp_path_factory.mktemp("bare")
    stops, _ = bare(folder / "pieces", "--minutes", "0", isolated=True)
    assert stops > 20
    stops, _ = bare(folder / "whole", isolated=False)
    assert stops == 0
    return folder / "pieces", folder / "whole"


def results(folder, *patterns):
    folder = folder / "results" / "demo" / "demo"
    return {
        file.relative_to(folder).as_posix(): file
        for pattern in patterns
        for file in folder.glob(pattern)
        if not file.name.startswith(".")
    }


def test_pieces_on_a_bare_machine_are_the_whole_to_the_bit(folders):
    pieces, whole = (
        results(f, "source/*/*", "kernels/collected/*", "priors/fitted/*/*") for f in folders
    )
    assert sorted(pieces) == sorted(whole)
    assert len(whole) == 2 * 3 + 2 * 2 + 2 * 2
    for name, file in whole.items():
        if file.suffix != ".safetensors":
            assert pieces[name].read_bytes() == file.read_bytes(), name
            continue
        kind = {"source": "source net", "kernels": "kernels", "priors": "prior"}[name.split("/")[0]]
        # all but the version of safetensors in the header, which the bare machine has not
        (tensors, settings), (expected, header) = (
            load_tensors(path, kind=kind) for path in (pieces[name], file)
        )
        assert settings == header
        assert tensors.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(tensors[key], value), (name, key)


def test_the_pack_holds_what_the_workflow_goes_on_from(folders, tmp_path):
    (pack,) = results(folders[0], "bare.tar.gz").values()
    with tarfile.open(pack) as archive:
        archive.extractall(tmp_path, filter="data")
    packed = {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file()}
    expected = {f"source/{seed}/{name}" for seed in (0, 1) for name in NAMES}
    for layer in ("conv1", "conv2"):
        expected |= {f"kernels/collected/{layer}.{end}" for end in ("safetensors", "json")}
        expected |= {f"priors/fitted/dwp/{layer}.{end}" for end in ("safetensors", "csv")}
    assert packed == expected
    _, settings = load_tensors(
        tmp_path / "kernels" / "collected" / "conv2.safetensors", kind="kernels"
    )
    assert settings["threshold"] == 0.3
    assert settings["collected"] == 2 * 6 * 4
    assert load_prior(tmp_path / "priors" / "fitted" / "dwp" / "conv2.safetensors").kind == "vae"


def test_what_is_done_is_not_done_again(folders):
    before = {name: file.stat().st_mtime_ns for name, file in results(folders[1], "*/*/*").items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = str(ROOT / "workflow" / "scripts" / "run_bare.py")
    command = [sys.executable, program, "--config", "config.json", "--pack", "again.tar.gz"]
    done = subprocess.run(
        command, cwd=folders[1], env=environment, capture_output=True, text=True, check=True
    )
    assert "done: unpack again.tar.gz" in done.stdout
    assert before == {n: f.stat().st_mtime_ns for n, f in results(folders[1], "*/*/*").items()}
