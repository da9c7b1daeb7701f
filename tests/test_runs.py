"""A finished run is made once, and an error names its run."""

import os

import pandas as pd
import pytest

from dwp.errors import UserError
from dwp.files import read_csv, write_csv, write_text
from dwp.study.runs import CHECKPOINT, kept, naming

NAMES = ["first", "second"]


def make(folder, content="made", **identity):
    """Make a run's files; return whether they had to be made."""
    with kept(folder, NAMES, {"n": 50, **identity}) as place:
        if place is None:
            return False
        for name in NAMES:
            write_text(place / name, content)
    return True


def content(folder):
    return [(folder / name).read_text() for name in NAMES]


def test_a_run_is_made_once(tmp_path):
    assert make(tmp_path / "run")
    assert content(tmp_path / "run") == ["made", "made"]
    assert not make(tmp_path / "run", "again")
    assert content(tmp_path / "run") == ["made", "made"]
    assert sorted(os.listdir(tmp_path / "run")) == [".kept", *NAMES]


def test_a_deleted_file_comes_back(tmp_path):
    make(tmp_path)
    inode = (tmp_path / "first").stat().st_ino
    (tmp_path / "first").unlink()
    assert not make(tmp_path, "again")
    assert content(tmp_path) == ["made", "made"]
    assert (tmp_path / "first").stat().st_ino == inode


def test_the_checkpoint_goes_when_the_run_is_whole(tmp_path):
    write_text(tmp_path / CHECKPOINT, "halfway")
    with kept(tmp_path, NAMES, {"n": 50}) as place:
        for name in NAMES:
            assert (tmp_path / CHECKPOINT).exists()
            write_text(place / name, "made")
    assert not (tmp_path / CHECKPOINT).exists()
    write_text(tmp_path / CHECKPOINT, "left by a kill after the last file")
    assert not make(tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_an_interrupted_run_keeps_its_checkpoint(tmp_path):
    def stop():
        with kept(tmp_path, NAMES, {}):
            write_text(tmp_path / CHECKPOINT, "halfway")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert (tmp_path / CHECKPOINT).exists()


def test_another_run_is_made_anew(tmp_path):
    make(tmp_path)
    assert make(tmp_path, "other", n=100)
    assert content(tmp_path) == ["other", "other"]
    assert make(tmp_path, "first again")


def test_another_version_of_torch_makes_anew(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr("torch.__version__", "0.1")
    assert make(tmp_path)


@pytest.mark.parametrize("damage", ["identity.json", "second"])
def test_what_is_not_whole_is_made_anew(tmp_path, damage):
    make(tmp_path)
    (tmp_path / ".kept" / damage).unlink()
    assert make(tmp_path, "again")
    assert content(tmp_path) == ["again", "again"]


def test_a_damaged_file_is_made_anew_where_it_was_deleted(tmp_path):
    make(tmp_path)
    with open(tmp_path / "second", "r+") as file:  # in place: the kept one is the same file
        file.write("M")
    (tmp_path / "second").unlink()
    assert make(tmp_path)
    assert content(tmp_path) == ["made", "made"]


def test_checksums_stand_beside_the_files(tmp_path):
    with kept(tmp_path, ["history.csv"], {}) as place:
        write_csv(place / "history.csv", pd.DataFrame({"step": [1]}))
    (tmp_path / "history.csv").write_text("step\n2\n")
    with pytest.raises(UserError, match="damaged"):
        read_csv(tmp_path / "history.csv")


def test_a_failure_with_other_settings_leaves_no_mixture(tmp_path):
    make(tmp_path)

    def fail():
        with kept(tmp_path, NAMES, {"n": 100}) as place:
            write_text(place / "first", "half of another run")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert content(tmp_path) == ["made", "made"]
    assert make(tmp_path, "again")  # although the settings are those of the first time
    assert content(tmp_path) == ["again", "again"]


def test_without_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    make(tmp_path)
    assert content(tmp_path) == ["made", "made"]
    assert (tmp_path / "first").stat().st_nlink == 1


def test_errors_name_their_run():
    with pytest.raises(UserError, match=r"^net 3: too few$"), naming("net 3"):
        raise UserError("too few")
    with pytest.raises(UserError, match=r"^net 3: the loss is nan$"), naming("net 3"):
        raise UserError("net 3: the loss is nan")
    with pytest.raises(KeyError) as caught, naming("net 3"):
        raise KeyError("a bug")
    assert caught.value.__notes__ == ["in the run net 3"]
