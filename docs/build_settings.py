"""Writes the JSON schema of a config and the tables of settings in config/README.md.

Both come from the classes in `dwp/study/settings.py`. With `--check` nothing is written; the exit
status is 1 if a file is not what it should be.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from dwp.priors.kinds import KINDS, REQUIRED
from dwp.study import settings

CONFIG = Path(__file__).parent.parent / "config"
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
BOUNDS |= {"exclusiveMaximum": "below"}
KINDS_OF_VALUES = {"null": "`null`", "boolean": "`true`, `false`", "string": "text"}
LARGEST = 10**9  # a bound that is no limit to anybody


def values(part: dict[str, Any]) -> str:
    """Return which values a setting takes, in words."""
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(map(values, part["anyOf"])))
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "$ref" in part:
        return "section"
    if "prefixItems" in part:
        return "two integers"
    kind = part.get("type", "any value")
    if kind == "array":
        return f"list: {values(part['items'])}" if part.get("items") else "list"
    if kind == "object":
        inner = part.get("additionalProperties") or next(iter(part["patternProperties"].values()))
        return f"by name: {values(inner)}"
    bounds = {word: part[bound] for bound, word in BOUNDS.items() if bound in part}
    bounds = [f"{word} {bound:g}" for word, bound in bounds.items() if bound < LARGEST]
    return " ".join([KINDS_OF_VALUES.get(kind, kind), *bounds])


def table(name: str) -> str:
    """Return the table of a class of settings, in Markdown."""
    schema = getattr(settings, name).model_json_schema()
    rows = ["| setting | values | default | meaning |", "| --- | --- | --- | --- |"]
    for setting, part in schema["properties"].items():
        meaning = " ".join(part.get("description", "").split())
        if meaning.startswith("Set by the domain"):
            continue
        default = "required" if setting in schema.get("required", []) else ""
        if "default" in part and part["default"] not in ({}, None):
            value = part["default"]
            default = "see below" if isinstance(value, dict) else f"`{json.dumps(value)}`"
        cells = [f"`{setting}`", values(part), default, meaning]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def hyperparameters() -> str:
    """Return the table of the hyperparameters of every kind of prior."""
    rows = ["| kind | hyperparameters |", "| --- | --- |"]
    for name, kind in KINDS.items():
        words = []
        for parameter, its in kind.hyperparameters.items():
            default = "" if its.default is REQUIRED else f", default {json.dumps(its.default)}"
            words.append(f"`{parameter}` ({its.type.__name__}{default})")
        rows.append(f"| `{name}` | {', '.join(words) or 'none'} |")
    return "\n".join(rows)


def readme(text: str) -> str:
    """Return a page with the tables between its markers, `<!-- settings: NAME -->`, renewed."""

    def renewed(match: re.Match) -> str:
        content = hyperparameters() if match[1] == "hyperparameters" else table(match[1])
        return f"<!-- settings: {match[1]} -->\n{content}\n<!-- end -->"

    return re.sub(r"<!-- settings: (\w+) -->.*?<!-- end -->", renewed, text, flags=re.S)


def main() -> None:
    """Write the files, or check them."""
    page, schema = CONFIG / "README.md", CONFIG / "schema.json"
    wanted = {
        page: readme(page.read_text(encoding="utf-8")),
        schema: json.dumps(settings.Config.model_json_schema(), indent=1) + "\n",
    }
    for path, text in wanted.items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path}: not made from dwp/study/settings.py; run make docs")


if __name__ == "__main__":
    main()
