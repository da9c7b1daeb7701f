"""Tables of runs: read from CSV, written for readers.

A tidy table of runs has one row per number: `domain`, `prior` (the method's name), `init`, one
column for each varied or tuned setting, `n` (training examples), `split`, `seed`, `metric` (the
number's name) and `value`; what jobs write and a history also have `step`, which numbers at the end
of a run lack.
"""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from dwp.errors import UserError
from dwp.files import read_csv, write_text

_NAMES = ("domain", "prior", "init", "variant", "metric", "dataset", "w")
_MEASURED = ("step", "metric", "value")
_MISSING = "–"


def read_table(
    path: str | os.PathLike,
    columns: Sequence[str],
    numbers: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table written by `dwp.files.write_csv`, or one like it.

    Args:
        path: the CSV file.
        columns: required columns; others are kept.
        numbers: required columns of numbers (NaN: a failed run).
        texts: columns that are read as text, whatever they look like, if the file has them.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    types = dict.fromkeys([*_NAMES, *texts], str)  # a prior may be named "null" or "1"
    types |= dict.fromkeys(numbers, float)
    table = read_csv(path, dtype=types, keep_default_na=False, na_values=["", "nan", "NaN"])
    missing = [name for name in dict.fromkeys([*columns, *numbers]) if name not in table]
    if missing:
        found = ", ".join(table)
        raise UserError(f"{path}: expected columns {', '.join(missing)}, found {found}; add them")
    return table


def read_runs(
    path: str | os.PathLike,
    settings: Mapping[str, Sequence[str]],
    numbers: Sequence[str] = ("value",),
) -> pd.DataFrame:
    """Read a table of runs, or a summary of one.

    Args:
        path: the CSV file.
        settings: values of the varied and tuned settings, as text; their columns become
            categories in this order, which tables and figures keep.
        numbers: columns of the measured numbers: `mean` and `interval` of a summary.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    columns = ("domain", "prior", "init", "n", "metric", *settings)
    table = read_table(path, columns, numbers, list(settings))
    for name, values in settings.items():
        table[name] = pd.Categorical(table[name], values, ordered=True)
    return table


def concatenate(
    paths: Iterable[str | os.PathLike], variants: Sequence[Mapping[str, str]] = ()
) -> pd.DataFrame:
    """Concatenate tables of runs that several jobs have written.

    Rows are sorted by the columns that describe a run: names in the order in which the files
    bring them, numbers by size. So the table does not depend on which job made which run.

    Args:
        paths: CSV files with the columns `step`, `metric` and `value`.
        variants: a row for each prior and each combination of varied and tuned settings: `prior`,
            `variant` (the name of the runs that stand for it) and the settings as text. They
            replace the column `variant` of the files by columns of the settings.

    Raises:
        UserError: a file is missing, is not CSV, or lacks a column.
    """
    columns = ["step", "metric", *["prior", "variant"] * bool(variants)]
    table = pd.concat([read_table(p, columns, ["value"]) for p in paths], ignore_index=True)
    table["step"] = table["step"].astype("Int64")
    if variants:
        table = table.merge(pd.DataFrame(variants), on=["prior", "variant"])
    measured = table.columns.intersection(_MEASURED)
    run = table.columns.difference([*measured, "variant"], sort=False)
    as_met = {"key": lambda c: c if is_numeric_dtype(c) else pd.factorize(c)[0]}
    table = table.sort_values([*run], kind="stable", **as_met)
    return table[[*run, *measured]].reset_index(drop=True)


def at_the_end(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the numbers at the end of runs, which have no step."""
    return table[table["step"].isna()].drop(columns="step").reset_index(drop=True)


def with_interval(table: pd.DataFrame) -> pd.Series:
    """Return the columns `mean` and `interval` as text, "0.750 ± 0.012"; a dash for no mean."""
    mean, interval = (table[name].map("{:.3f}".format) for name in ("mean", "interval"))
    texts = mean.where(table["interval"].isna(), mean + " ± " + interval)
    return texts.where(table["mean"].notna(), _MISSING)


def write_readable(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as Markdown and as HTML, to `path` with the endings `.md` and `.html`.

    Floats of a column have the same decimals: three below 10, two below 100, one below 1,000,
    none above, by the largest magnitude. Values that would round to zero are in scientific
    notation; missing ones are a dash. The HTML page needs no other file; a click on the head of a
    column sorts the rows by it.
    """
    align = ["right" if is_numeric_dtype(frame[name]) else "left" for name in frame]
    cells = frame.rename_axis(columns=None).apply(_cells)  # a pivot names its columns
    piped = cells.replace(r"\|", r"\\|", regex=True)
    markdown = piped.to_markdown(index=False, colalign=align, disable_numparse=True)
    write_text(Path(path).with_suffix(".md"), f"{markdown}\n")
    page = Template(Path(__file__).with_name("table.html").read_text(encoding="utf-8"))
    with pd.option_context("display.max_colwidth", None):  # it shortens texts
        table = cells.to_html(index=False, border=0)
    text = page.substitute(title=html.escape(Path(path).stem), table=table)
    write_text(Path(path).with_suffix(".html"), text)


def _cells(column: pd.Series) -> pd.Series:
    if not is_float_dtype(column):
        return column.astype(object).where(column.notna(), _MISSING).map(str)
    decimals = 3 - np.searchsorted([10, 100, 1000], column.abs().max(), side="right")
    small = (column != 0) & (column.abs() < 0.5 * 10.0**-decimals)
    texts = column.map(f"{{:.{decimals}f}}".format).where(~small, column.map("{:.1e}".format))
    return texts.where(column.notna(), _MISSING)
