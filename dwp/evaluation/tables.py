"""Tables of runs: read from CSV, written for readers.

A tidy table of runs has one row per number: `domain`, `prior` (the method's name), `init`, one
column for each varied or tuned setting, `n` (training examples), `split`, `seed`, `metric` (the
number's name) and `value`; a history also has `step`.
"""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

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
    text = dict.fromkeys([*_NAMES, *texts], str)  # a prior may be named "null" or "1"
    table = read_csv(path, dtype=text, keep_default_na=False, na_values=["", "nan", "NaN"])
    columns = list(dict.fromkeys([*columns, *numbers]))
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(
            f"{path}: expected the columns {', '.join(columns)}; "
            f"missing {', '.join(missing)}; add them"
        )
    for column in numbers:
        if len(table) and not is_numeric_dtype(table[column]):
            wrong = table[column][pd.to_numeric(table[column], errors="coerce").isna()]
            raise UserError(
                f"{path}: expected numbers in the column {column}, found {wrong.iloc[0]}; "
                "correct it"
            )
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
        paths: CSV files with the columns `metric` and `value`.
        variants: a row for each prior and each combination of varied and tuned settings: `prior`,
            `variant` (the name of the runs that stand for it) and the settings as text. They
            replace the column `variant` of the files by columns of the settings.

    Raises:
        UserError: a file is missing, is not CSV, or lacks a column.
    """
    columns = ["metric", *(["prior", "variant"] if variants else [])]
    tables = [read_table(path, columns, ["value"]) for path in paths]
    table = pd.concat(tables, ignore_index=True)
    if variants:
        table = table.merge(pd.DataFrame(variants), on=["prior", "variant"])
    table = table.drop(columns="variant", errors="ignore")
    run = [name for name in table if name not in _MEASURED]
    order = table[run].apply(lambda c: c if is_numeric_dtype(c) else pd.factorize(c)[0])
    table = table.loc[order.sort_values(run, kind="stable").index]
    measured = [name for name in _MEASURED if name in table]
    return table[[*run, *measured]].reset_index(drop=True)


def write_readable(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as Markdown and as HTML, to `path` with the endings `.md` and `.html`.

    Floats of a column have the same decimals: three below 10, two below 100, one below 1,000,
    none above, by the largest magnitude. Values that would round to zero are in scientific
    notation; missing ones are a dash. The HTML page needs no other file; a click on the head of a
    column sorts the rows by it.
    """
    numeric = [is_numeric_dtype(frame[name]) for name in frame]
    cells = pd.DataFrame({str(name): _cells(frame[name]) for name in frame})
    piped = cells.replace(r"\|", r"\\|", regex=True)
    align = ["right" if right else "left" for right in numeric]
    markdown = piped.to_markdown(index=False, colalign=align, disable_numparse=True)
    write_text(Path(path).with_suffix(".md"), f"{markdown}\n")

    def line(texts: Iterable[str], tag: str) -> str:
        marks = (' class="number"' if right else "" for right in numeric)
        written = (
            f"<{tag}{mark}>{html.escape(text)}</{tag}>"
            for mark, text in zip(marks, texts, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>\n"

    page = Path(__file__).with_name("table.html").read_text(encoding="utf-8")
    page = Template(page).substitute(
        title=html.escape(Path(path).stem),
        head=line((name.replace("_", " ") for name in cells), "th"),
        rows="".join(line(row, "td") for row in cells.itertuples(index=False)),
    )
    write_text(Path(path).with_suffix(".html"), page)


def _cells(column: pd.Series) -> list[str]:
    if not is_float_dtype(column):
        return [_MISSING if pd.isna(x) else str(x) for x in column]
    largest = column.abs().max()
    decimals = next((d for limit, d in ((10, 3), (100, 2), (1000, 1)) if largest < limit), 0)

    def text(value: float) -> str:
        if pd.isna(value):
            return _MISSING
        small = value != 0 and abs(value) < 0.5 * 10**-decimals
        return f"{value:.1e}" if small else f"{value:.{decimals}f}"

    return [text(value) for value in column]
