"""Tables as Markdown and HTML, to be read."""

import html
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from dwp.files import write_text

_MISSING = "–"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>TITLE</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; text-align: left; vertical-align: bottom; }
td { white-space: nowrap; }
th { background: white; border-bottom: 2px solid; cursor: pointer; position: sticky; top: 0; }
.number { text-align: right; }
tbody tr:nth-child(even) { background: #f3f4f6; }
tbody tr:hover { background: #fdebd8; }
</style>
<table>
<thead>
HEAD</thead>
<tbody>
BODY</tbody>
</table>
<script>
const body = document.querySelector("tbody");
document.querySelectorAll("th").forEach((head, column) => {
  let sign = 1;
  head.onclick = () => {
    const text = row => row.cells[column].textContent;
    const value = row => head.className ? parseFloat(text(row)) : text(row);
    const order = (a, b) => a < b ? -sign : a > b ? sign : isNaN(a) - isNaN(b);
    const rows = [...body.rows].sort((a, b) => order(value(a), value(b)));
    body.append(...rows);
    sign = -sign;
  };
});
</script>
</html>
"""


def to_markdown(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table with aligned pipes, without the index; numbers to the right.

    Floats get the same decimals in a column: three below 10, two below 100, one below 1,000,
    none above, by the largest magnitude. Values that would round to zero are in scientific
    notation; missing ones are a dash.
    """
    columns = [[_piped(cell) for cell in _cells(frame[name])] for name in frame]
    header = [_piped(str(name)) for name in frame]
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


def to_html(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as an HTML page that needs no other file; numbers as by `to_markdown`.

    Heads of columns have spaces for underscores, so that they take several lines. A click on one
    sorts the rows by it, another turns them round.
    """
    numeric = [is_numeric_dtype(frame[name]) for name in frame]

    def line(cells: Iterable[str], tag: str) -> str:
        marks = (' class="number"' if right else "" for right in numeric)
        written = (
            f"<{tag}{mark}>{html.escape(cell)}</{tag}>"
            for mark, cell in zip(marks, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>\n"

    head = line((str(name).replace("_", " ") for name in frame), "th")
    rows = zip(*(_cells(frame[name]) for name in frame), strict=True)
    body = "".join(line(cells, "td") for cells in rows)
    page = _PAGE.replace("TITLE", html.escape(Path(path).stem))
    write_text(path, page.replace("HEAD", head).replace("BODY", body))


def to_be_read(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as Markdown and as a page of HTML, to `path` with these endings for its own."""
    to_markdown(frame, Path(path).with_suffix(".md"))
    to_html(frame, Path(path).with_suffix(".html"))


def _piped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _cells(column: pd.Series) -> list[str]:
    if not is_float_dtype(column):
        return [_MISSING if pd.isna(x) else str(x) for x in column]
    largest = column.abs().max()
    decimals = next((d for limit, d in ((10, 3), (100, 2), (1000, 1)) if largest < limit), 0)

    def text(value: float) -> str:
        if pd.isna(value):
            return _MISSING
        if value != 0 and abs(value) < 0.5 * 10**-decimals:
            return f"{value:.1e}"
        return f"{value:.{decimals}f}"

    return [text(value) for value in column]
