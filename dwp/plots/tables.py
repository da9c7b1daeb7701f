"""Tables as Markdown, to be read, and as CSV, to be computed with."""

import os

import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from dwp.files import checked, write_text

_MISSING = "–"


def to_markdown(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table with aligned pipes, without the index; numbers to the right.

    Floats get the same decimals in a column: three below 10, two below 100, one below 1,000,
    none above, by the largest magnitude. Values that would round to zero are in scientific
    notation; missing ones are a dash.
    """
    columns = [_cells(frame[name]) for name in frame]
    header = [str(name).replace("|", "\\|") for name in frame]
    numeric = [is_numeric_dtype(frame[name]) for name in frame]
    widths = [
        max(3, len(name), *map(len, cells)) for name, cells in zip(header, columns, strict=True)
    ]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    lines = [header, rule, *zip(*columns, strict=True)]
    text = ""
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        text += "| " + " | ".join(cells) + " |\n"
    write_text(path, text)


def to_csv(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table atomically as CSV with a checksum, in full precision, without the index."""
    with checked(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def _cells(column: pd.Series) -> list[str]:
    if not is_float_dtype(column):
        return [_MISSING if pd.isna(x) else str(x).replace("|", "\\|") for x in column]
    largest = column.abs().max()
    decimals = next((d for limit, d in ((10, 3), (100, 2), (1000, 1)) if largest < limit), 0)

    def text(value: float) -> str:
        if pd.isna(value):
            return _MISSING
        if value != 0 and abs(value) < 0.5 * 10**-decimals:
            return f"{value:.1e}"
        return f"{value:.{decimals}f}"

    return [text(value) for value in column]
