from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import PositiveInt

from dwp.study import settings
from dwp.study.program import program


class Settings(settings.Settings):
    epochs: PositiveInt
    rate: float = 1e-3


@dataclass
class Machine:
    """The options of every program.

    Args:
        device: where to compute
    """

    device: Literal["cpu", "cuda"] = "cpu"
    minutes: float | None = None


def run(*argv: str) -> dict[str, Any]:
    found = {}

    @program
    def main(
        config: Path,
        /,
        nets: list[Path],
        machine: Machine,
        *,
        settings: Settings,
        priors: list[Path] | None = None,
        runs: list[dict] | None = None,
        choice: str | dict | None = None,
        seeds: list[int] | None = None,
        net_count: int = 3,
        tolerant: bool = False,
    ) -> None:
        """Do what is asked.

        Args:
            config: the first
                of all, 100 % needed.
            nets: files of nets.
        """
        found.update({name: value for name, value in locals().items() if name != "found"})

    main(argv)
    return {**found, **vars(found["machine"])}


GOOD = ("c.yaml", "--nets", "a", "b", "--settings", '{"epochs": 3}')


def test_options_follow_from_the_signature():
    expected = {"config": Path("c.yaml"), "nets": [Path("a"), Path("b")]}
    expected |= {"settings": Settings(epochs=3), "device": "cpu", "net_count": 3, "tolerant": False}
    expected |= dict.fromkeys(["priors", "runs", "choice", "seeds", "minutes"])
    assert run(*GOOD).items() >= expected.items()


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--device", "cuda"], "cuda"),
        (["--priors", "a", "b"], [Path("a"), Path("b")]),
        (["--priors"], []),
        (["--runs", '[{"n": 5}]'], [{"n": 5}]),
        (["--choice", '"glyphs"'], "glyphs"),
        (["--choice", '{"data": "glyphs"}'], {"data": "glyphs"}),
        (["--seeds", "1", "2"], [1, 2]),
        (["--minutes", "1e-1"], 0.1),
        (["--net-count", "7"], 7),
        (["--tolerant"], True),
    ],
)
def test_an_option_is_read_by_its_type(argv, value):
    assert run(*GOOD, *argv)[argv[0][2:].replace("-", "_")] == value


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--settings", "{"], "--settings: expected JSON, found '{'"),
        (["--settings", "[]"], "--settings: expected an object; found []"),
        (["--settings", "{}"], "--settings.epochs: expected a value, found none; set it"),
        (["--settings", '{"epochs": 0}'], "--settings.epochs: expected greater than 0; found 0"),
        (["--settings", '{"epochs": 2.5}'], "--settings.epochs: expected a valid integer"),
        (["--settings", '{"epoch": 2}'], "--settings.epoch: unknown setting; expected one of ep"),
        (["--net-count", "2.5"], "--net-count: expected a whole number, found '2.5'"),
        (["--minutes", "soon"], "--minutes: expected a number, found 'soon'"),
        (["--device", "all"], "--device: expected cpu or cuda, found 'all'"),
        (["--runs", '{"n": 5}'], "--runs: expected a valid array; found {'n': 5}"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(argv, line, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(*GOOD, *argv)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1


def test_the_docstring_is_the_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Do what is asked." in printed
    assert "the first of all, 100 % needed." in printed
    assert "files of nets." in printed
    assert "where to compute" in printed
    assert "Args:" not in printed
