"""dwp's few lines of the safetensors format against the library."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dwp import files, tensorfile
from dwp.errors import UserError

TENSORS = {
    "b/weight": torch.randn(3, 2, 5, 5),
    "a": torch.arange(7),
    "odd": torch.arange(3, dtype=torch.uint8),
    "flags": torch.tensor([True, False, True]),
    'ümlaut "': torch.randn(2, 2, dtype=torch.double),
    "number": torch.tensor(3.5),
    "none": torch.zeros(0, 4),
    "whole": torch.arange(4, dtype=torch.int32),
}
METADATA = {"dwp": '{"kind": "x", "path": "a\\\\b\\n"}'}


def test_the_bytes_are_the_library_s(tmp_path):
    save_file(TENSORS, tmp_path / "theirs", METADATA)
    tensorfile.save_file(TENSORS, tmp_path / "ours", METADATA)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_each_reads_what_the_other_wrote(tmp_path):
    save_file(TENSORS, tmp_path / "theirs", METADATA)
    tensors, metadata = tensorfile.load_file(tmp_path / "theirs")
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    tensorfile.save_file(TENSORS, tmp_path / "ours", METADATA)
    with safe_open(tmp_path / "ours", framework="pt") as file:
        for name, expected in TENSORS.items():
            for found in (tensors[name], file.get_tensor(name)):
                assert found.dtype == expected.dtype
                assert torch.equal(found, expected)


@pytest.fixture
def bare(monkeypatch):
    """Files as on a machine without the library."""
    monkeypatch.setattr(files, "safe_open", None)
    monkeypatch.setattr(files, "save_file", tensorfile.save_file)


@pytest.mark.parametrize("size", [0, 4, 8, 20, 100, -1])
def test_a_damaged_file_is_told(tmp_path, bare, size):
    path = tmp_path / "file.safetensors"
    files.save_tensors(path, TENSORS, kind="x", settings={"n": 1})
    assert files.load_tensors(path, kind="x")[1] == {"n": 1}
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        files.load_tensors(path, kind="x")
