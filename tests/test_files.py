"""Files are whole or absent, describe themselves, and fail in one line; seeds are stable."""

import errno
import importlib.metadata
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dwp.errors import UserError, one_line_errors
from dwp.files import (
    FORMAT_VERSION,
    atomic,
    checksum_file,
    load_tensors,
    read_csv,
    read_json,
    save_tensors,
    write_csv,
    write_json,
    write_text,
)
from dwp.seeds import derive_seed, generator

TENSORS = {
    "floats": torch.arange(12.0).view(3, 4),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "number": torch.tensor(3),
}
SETTINGS = {"b": [1, 2.5, None, "x"], "a": {"nested": True}}


def save(path, **changes):
    save_tensors(path, TENSORS, **{"kind": "things", "settings": SETTINGS, **changes})


def user_error(function, *arguments, **options):
    """The one line of the UserError that a call raises."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Atomic writing


def test_atomic_writes_beside_and_renames(tmp_path):
    path = tmp_path / "new" / "deep" / "table.csv"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent  # one file system: the rename is atomic
        assert temporary.suffix == ".csv"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["table.csv"]


def test_atomic_shows_the_old_content_until_the_end(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_leaves_the_old_content_on_an_exception(tmp_path, error):
    path = tmp_path / "text"
    path.write_text("old")

    def interrupted():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["text"]


def test_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "numbers.json", {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "text", "\ud800")
    with pytest.raises(TypeError):
        save(tmp_path / "things", settings={"a": object()})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_respect_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "")
        assert os.umask(umask) == umask  # reading it did not change it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "text").stat().st_mode) == 0o666 & ~umask


# Tensors


def test_tensors_round_trip(tmp_path):
    path = tmp_path / "things.safetensors"
    save(path)
    tensors, settings = load_tensors(path, kind="things")
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert settings == SETTINGS


def test_tensors_of_any_layout(tmp_path):
    tensors = torch.randn(4, 2, 3, 4, 4, generator=generator(0)).unbind()
    given = {
        "channels last": tensors[0].to(memory_format=torch.channels_last),
        "transposed": tensors[1].transpose(0, 1),
        "parameter": torch.nn.Parameter(tensors[2].clone()),
        "part": tensors[3][1].clone()[:, :2],
        "none": torch.zeros(0, 3),
    }
    save_tensors(tmp_path / "file", given, kind="things", settings={})
    found = load_tensors(tmp_path / "file", kind="things")[0]
    for name, expected in given.items():
        assert torch.equal(found[name], expected)


def test_saved_twice_is_the_same_bytes(tmp_path):
    save(tmp_path / "first")
    # Neither the order of tensors nor that of settings is content.
    tensors = dict(reversed(TENSORS.items()))
    settings = dict(reversed(SETTINGS.items()))
    save_tensors(tmp_path / "second", tensors, kind="things", settings=settings)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_header_tells_the_versions(tmp_path):
    save(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["dwp"])
    assert header["format"] == FORMAT_VERSION
    assert header["kind"] == "things"
    assert header["settings"] == SETTINGS
    assert header["versions"] == {
        name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")
    }


def test_missing_tensors(tmp_path):
    path = tmp_path / "absent.safetensors"
    assert user_error(load_tensors, path, kind="things") == f"{path}: no such file"
    assert str(tmp_path) in user_error(load_tensors, tmp_path, kind="things")  # a folder


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_tensors(tmp_path, length):
    path = tmp_path / "file"
    save(path)
    path.write_bytes(path.read_bytes()[:length])
    message = user_error(load_tensors, path, kind="things")
    assert message.startswith(f"{path}: not a readable safetensors file")
    assert "delete it and make it again" in message


@pytest.mark.parametrize("content", [b"\x80\x04pickle", b"<html>\n404\n</html>\n" * 100])
def test_no_tensors_at_all(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    message = user_error(load_tensors, tmp_path / "file", kind="things")
    assert message.startswith(f"{tmp_path / 'file'}: not a readable safetensors file")


def test_tensors_of_another_kind(tmp_path):
    save(tmp_path / "file")
    message = user_error(load_tensors, tmp_path / "file", kind="prior")
    assert message == f"{tmp_path / 'file'}: holds 'things', expected 'prior'"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_tensors(tmp_path, metadata):
    save_file(TENSORS, tmp_path / "file", metadata)
    message = user_error(load_tensors, tmp_path / "file", kind="things")
    assert message.startswith(f"{tmp_path / 'file'}: a safetensors file without dwp's header")
    assert "'things'" in message


def test_tensors_of_a_newer_format(tmp_path, monkeypatch):
    path = tmp_path / "file"
    monkeypatch.setattr("dwp.files.FORMAT_VERSION", FORMAT_VERSION + 1)
    save(path)
    monkeypatch.undo()
    message = user_error(load_tensors, path, kind="things")
    assert message.startswith(f"{path}: format {FORMAT_VERSION + 1}, this dwp reads up to")


# JSON


def test_json_round_trip(tmp_path):
    content = {"z": [1, 2.5, None], "ä": {"nested": [True, "x"]}}
    write_json(tmp_path / "file.json", content)
    assert read_json(tmp_path / "file.json") == content
    assert (tmp_path / "file.json").read_bytes().endswith(b"}\n")


def test_missing_json(tmp_path):
    path = tmp_path / "absent.json"
    assert user_error(read_json, path) == f"{path}: no such file"


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}}', b"\xff\xfe", b"a: 1\nb: 2\n"])
def test_damaged_json(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    assert user_error(read_json, path).startswith(f"{path}: expected JSON, found ")


# Damage after writing: found by the checksum, whichever bit it hits


def damages(path: Path) -> Iterator[bytes]:
    """Yield the content emptied, cut at several lengths, and with every single bit flipped."""
    content = path.read_bytes()
    yield from (content[:length] for length in (0, 1, 8, len(content) // 2, len(content) - 1))
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


@pytest.mark.parametrize("library", [True, False])
def test_damaged_tensors_are_never_taken(tmp_path, monkeypatch, library):
    if not library:
        monkeypatch.setattr("dwp.files.safe_open", None)
        monkeypatch.setattr("dwp.files.SafetensorError", ValueError)
    path = tmp_path / "things.safetensors"
    tensors = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([True])}
    save_tensors(path, tensors, kind="things", settings={"n": 1})
    for content in damages(path):
        path.write_bytes(content)
        try:
            found, settings = load_tensors(path, kind="things")
        except UserError:
            continue
        assert settings == {"n": 1}  # a space within the header was hit
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_csv_keeps_full_precision(tmp_path):
    frame = pd.DataFrame({"prior": ["dwp"], "value": [1 / 3]})
    write_csv(tmp_path / "table.csv", frame)
    assert pd.read_csv(tmp_path / "table.csv").equals(frame)
    assert b"\r" not in (tmp_path / "table.csv").read_bytes()


@pytest.mark.parametrize("name", ["table.csv", "scores.json"])
def test_damaged_tables_and_scores_are_found(tmp_path, name):
    path = tmp_path / name
    read = {"table.csv": read_csv, "scores.json": read_json}[name]
    if name == "table.csv":
        write_csv(path, pd.DataFrame({"n": [50], "value": [1 / 3]}))
    else:
        write_json(path, {"n": 50, "value": 1 / 3})
    for content in damages(path):
        path.write_bytes(content)
        message = user_error(read, path)
        assert message.startswith(f"{path}: damaged, not what {checksum_file(path)} says; delete ")


def test_checksums_are_those_of_sha256sum(tmp_path):
    write_json(tmp_path / "scores.json", {"a": 1})
    command = ["sha256sum", "--check", "--strict", ".scores.json.sha256"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout


def test_a_file_without_a_checksum_is_taken(tmp_path, monkeypatch):
    (tmp_path / "own.json").write_text('{"a": 1}')
    (tmp_path / "own.csv").write_text("a,b\n1,2\n")
    assert read_json(tmp_path / "own.json") == {"a": 1}
    assert read_csv(tmp_path / "own.csv")["b"].tolist() == [2]
    header = {"format": 1, "kind": "things", "settings": SETTINGS}  # of the first dwp
    save_file(TENSORS, tmp_path / "own.safetensors", {"dwp": json.dumps(header)})
    assert load_tensors(tmp_path / "own.safetensors", kind="things")[1] == SETTINGS
    header["format"] = FORMAT_VERSION
    save_file(TENSORS, tmp_path / "cut.safetensors", {"dwp": json.dumps(header)})
    assert "damaged" in user_error(load_tensors, tmp_path / "cut.safetensors", kind="things")


def test_a_file_written_again_has_its_own_checksum(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})
    path.write_text("damaged")
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}


# Disks


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", [write_text, write_json, save_tensors])
def test_a_full_disk_is_told_in_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    def refuse_text(*_, **__):
        raise FULL

    monkeypatch.setattr("dwp.files.save_file", refuse)
    monkeypatch.setattr("pathlib.Path.write_text", refuse_text)
    settings = {"kind": "x", "settings": {}} if write is save_tensors else {}
    message = user_error(write, path, {} if write is save_tensors else "new", **settings)
    assert message == (
        f"{path}: cannot be written (No space left on device); make room and start again"
    )
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    path = tmp_path / "new" / "file"
    assert user_error(write_text, path, "") == (
        f"{path}: cannot be written (Permission denied); make its folder writable and start again"
    )


# Errors


def test_user_errors_are_one_line(capsys):
    @one_line_errors
    def main(name, *, known=()):
        """Say what the program does."""
        if name not in known:
            raise UserError(f"{name}: unknown")
        print(name)

    assert main.__doc__ == "Say what the program does."
    main("digits", known=["digits"])
    assert capsys.readouterr() == ("digits\n", "")
    with pytest.raises(SystemExit) as caught:
        main("letters")
    assert caught.value.code == 2
    assert caught.value.__suppress_context__  # no traceback of the first
    assert capsys.readouterr() == ("", "error: letters: unknown\n")


def test_other_errors_keep_their_traceback():
    @one_line_errors
    def main():
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        main()


# Seeds


def test_seeds_do_not_change():
    # Computed once. If these change, every run of every workflow gives other numbers.
    assert derive_seed(0, "batches", 3) == 6583502090873602821
    assert derive_seed() == 1665333220245342802
    assert derive_seed(np.int64(3), torch.tensor(0.5)) == derive_seed(3, 0.5)
    with pytest.raises(TypeError, match="array"):
        derive_seed(np.arange(3))
    assert generator("x").initial_seed() == derive_seed("x") == 692767299097820413


def test_seeds_depend_on_every_part():
    parts = [(0,), (1,), ("0",), (0, 0), (0, "a"), ("a", 0), ("a0",), ((0,),), (0.0,), (), (None,)]
    seeds = {derive_seed(*p) for p in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    many = {derive_seed("source", i, name) for i in range(1000) for name in ("batches", "noise")}
    assert len(many) == 2000


def test_seeds_look_random():
    # Neighbouring parts give unrelated seeds: every bit is set about half the times.
    bits = torch.tensor([[derive_seed(i) >> b & 1 for b in range(63)] for i in range(1000)])
    assert ((bits.float().mean(0) - 0.5).abs() < 5 * 0.5 / 1000**0.5).all()


def test_generators_are_independent_of_each_other_and_of_the_global_one():
    before = torch.get_rng_state()
    first, second = generator("a"), generator("a")
    torch.rand(5, generator=first)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.rand(5, generator=second), torch.rand(5, generator=generator("a")))
    draws = torch.stack([torch.randn(5000, generator=generator("a", i)) for i in range(4)])
    off_diagonal = draws.corrcoef() - torch.eye(4)
    assert off_diagonal.abs().max() < 5 / 5000**0.5
