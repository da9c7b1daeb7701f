"""Files that are whole or absent, and damage that is found; errors in one line; seeds."""

import errno
import importlib.metadata
import json
import os
import re
import stat
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refusal, same_state
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
    "none": torch.zeros(0, 3),
}
SETTINGS = {"b": [1, 2.5, None, "x"], "a": {"nested": True}}
HEADER = {"format": FORMAT_VERSION, "kind": "things", "settings": SETTINGS}


def save(path, **changes):
    save_tensors(path, TENSORS, **{"kind": "things", "settings": SETTINGS, **changes})


# Atomic writing


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_atomic_writes_in_the_same_folder_and_renames(tmp_path, umask):
    path, before = tmp_path / "new" / "deep" / "table.csv", os.umask(umask)
    for content in ("whole", "again"):
        with atomic(path) as temporary:
            assert temporary.parent == path.parent  # one file system: the rename is atomic
            assert temporary.suffix == ".csv"
            temporary.write_text(content)
            assert content == "whole" or path.read_text() == "whole"
        assert path.read_text() == content
        assert os.listdir(path.parent) == ["table.csv"]
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_content_and_no_other_file(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")

    def interrupt(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        interrupt(temporary)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "numbers.json", {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    with pytest.raises(TypeError):
        save(path, settings={"a": object()})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["text"]


@pytest.mark.parametrize(
    ("call", "code", "remedy"),
    [
        ("os.replace", errno.ENOSPC, "make room"),
        ("pathlib.Path.touch", errno.EACCES, "make its folder writable"),
    ],
)
@pytest.mark.parametrize("write", [write_text, write_json, write_csv, save_tensors])
def test_an_unwritable_file_is_one_line_and_leaves_the_old_one(
    tmp_path, monkeypatch, write, call, code, remedy
):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(call, refuse)
    content = {write_text: "new", write_csv: pd.DataFrame()}.get(write, {})
    settings = {"kind": "x", "settings": {}} if write is save_tensors else {}
    expected = f"{path}: cannot be written ({os.strerror(code)}); {remedy} and start again"
    assert refusal(write, path, content, **settings) == expected
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


# Tensors


def test_tensors_round_trip_with_a_header(tmp_path):
    save(tmp_path / "first")
    tensors, settings = load_tensors(tmp_path / "first", kind="things")
    assert settings == SETTINGS
    assert same_state(tensors, TENSORS)
    assert all(tensors[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    # Neither the order of tensors nor that of settings is content.
    tensors, settings = (dict(reversed(each.items())) for each in (TENSORS, SETTINGS))
    save_tensors(tmp_path / "second", tensors, kind="things", settings=settings)
    content = (tmp_path / "first").read_bytes()
    assert (tmp_path / "second").read_bytes() == content
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["dwp"])
    assert HEADER.items() <= header.items()
    assert header["versions"]["torch"] == importlib.metadata.version("torch")


def test_tensors_of_any_layout(tmp_path):
    first, second, third, fourth = torch.randn(4, 2, 3, 4, 4, generator=generator(0))
    given = {
        "channels last": first.to(memory_format=torch.channels_last),
        "transposed": second.transpose(0, 1),
        "parameter": torch.nn.Parameter(third.clone()),
        "part": fourth[1][:, :2],
        "another view of it": fourth[1],
    }
    save_tensors(tmp_path / "file", given, kind="things", settings={})
    assert same_state(load_tensors(tmp_path / "file", kind="things")[0], given)


def header_of(**changes):
    header = json.dumps(HEADER | changes)
    return lambda path: save_file(TENSORS, path, {"dwp": header})


REMEDY = "delete it and make it again"


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), f"expected a safetensors file; .*; {REMEDY}"),
        (lambda path: path.write_bytes(b"<html>\n404"), f"expected a safetensors .*; {REMEDY}"),
        (lambda path: save_file(TENSORS, path), "a safetensors file without dwp's header; expec"),
        (lambda path: save(path, kind="prior"), "holds 'prior', expected 'things'"),
        (header_of(), f"damaged, not what its checksum says; {REMEDY}"),
        (
            header_of(format=FORMAT_VERSION + 1),
            f"format {FORMAT_VERSION + 1}, this dwp reads up to {FORMAT_VERSION}; update dwp",
        ),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(tmp_path, make, line):
    path = tmp_path / "file"
    make(path)
    assert re.match(f"{path}: {line}", refusal(load_tensors, path, kind="things"))


# Damage after writing: found by the checksum, whichever byte it hits


def damages(content):
    """Yield content emptied, shortened to several lengths, and with a bit of every byte flipped."""
    yield from (content[:length] for length in (0, 1, 8, len(content) // 2, len(content) - 1))
    for number in range(len(content)):
        flipped = bytearray(content)
        flipped[number] ^= 1 << number % 8
        yield bytes(flipped)


def test_damaged_tensors_are_never_taken(tmp_path):
    path = tmp_path / "things.safetensors"
    tensors = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([True])}
    save_tensors(path, tensors, kind="things", settings={"n": 1})
    for content in damages(path.read_bytes()):
        path.write_bytes(content)
        try:
            found, settings = load_tensors(path, kind="things")
        except UserError:
            continue
        assert settings == {"n": 1}  # a space within the header was hit
        assert same_state(found, tensors)


@pytest.mark.parametrize(
    ("name", "write", "read", "content"),
    [
        ("table.csv", write_csv, read_csv, pd.DataFrame({"n": [50], "value": [1 / 3]})),
        ("scores.json", write_json, read_json, {"n": [1, 2.5, None], "ä": {"nested": [True]}}),
    ],
)
def test_tables_and_scores_with_checksums(tmp_path, name, write, read, content):
    path, checksum = tmp_path / name, checksum_file(tmp_path / name)
    assert refusal(read, path) == f"{path}: no such file"
    write(path, content)
    path.write_text("damaged")
    write(path, content)  # written again, it has its own checksum
    assert read(path).equals(content) if name == "table.csv" else read(path) == content
    whole = path.read_bytes()
    assert whole.endswith(b"\n")
    assert b"\r" not in whole
    subprocess.run(["sha256sum", "--check", "--strict", checksum.name], cwd=tmp_path, check=True)
    for damaged in damages(whole):
        path.write_bytes(damaged)
        message = refusal(read, path)
        assert message.startswith(f"{path}: damaged, not what {checksum} says; delete ")


def test_files_without_a_checksum(tmp_path):
    path = tmp_path / "file"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    for content in (b"", b"{", b'{"a": 1}}', b"\xff\xfe", b"a: 1\n", b"[1]"):
        path.write_bytes(content)
        assert refusal(read_json, path).startswith(f"{path}: expected ")
    path.write_text("a,b\n1,2\n")
    assert read_csv(path)["b"].tolist() == [2]


# Errors


def test_user_errors_are_one_line(capsys):
    @one_line_errors
    def main(error, *, known=()):
        if error is not None:
            raise error
        print(known)

    main(None, known=3)
    assert capsys.readouterr() == ("3\n", "")
    missing = ModuleNotFoundError("No module named 'zuko'", name="zuko")
    for error, line in {
        UserError("letters: unknown"): "letters: unknown",
        UserError("a\nb\x1b[31m"): "a\\nb\\x1b[31m",
        FileNotFoundError(2, "No such file", "x.csv"): "x.csv: No such file",
        MemoryError(): "memory: expected enough for what was asked, found too little; ask for less",
        missing: "No module named 'zuko'; install it",
    }.items():
        with pytest.raises(SystemExit) as caught:
            main(error)
        assert caught.value.code == 2
        assert caught.value.__suppress_context__  # no traceback of the first
        output, errors = capsys.readouterr()
        assert (output, errors.count("\n")) == ("", 1)
        assert errors.startswith(f"error: {line}")
    for error in (KeyError("a bug"), RuntimeError("a bug"), ModuleNotFoundError("x", name="dwp.x")):
        with pytest.raises(type(error)):
            main(error)


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
    assert len({derive_seed(*p) for p in parts}) == len(parts)


def test_generators_are_independent_of_each_other_and_of_the_global_one():
    before = torch.get_rng_state()
    first, other, again = (torch.randn(9, generator=generator("a", i)) for i in (0, 1, 0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
