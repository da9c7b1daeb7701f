"""Runs the code of docs/library.md and renews what it prints and draws: about a minute.

A block ```text after a block of code has what the code prints; PNG files that it writes go to
docs/images.
"""

import contextlib
import io
import os
import re
import shutil
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "library.md"
_BLOCK = re.compile(r"```python\n(.*?)```(\s+```text\n)?(?(2).*?```)", re.DOTALL)


def renewed(text: str) -> str:
    """Return a page with what its code prints, run in the current folder."""
    names: dict[str, object] = {}

    def run(match: re.Match) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(match[1], str(PAGE), "exec"), names)
        code = f"```python\n{match[1]}```"
        return f"{code}\n\n```text\n{printed.getvalue()}```" if match[2] else code

    return _BLOCK.sub(run, text)


def main() -> None:
    """Write the page and its pictures."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        os.chdir(folder)
        try:
            text = renewed(text)
        finally:
            os.chdir(before)
        (DOCS / "images").mkdir(exist_ok=True)
        for picture in Path(folder).glob("*.png"):
            shutil.copy(picture, DOCS / "images")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
