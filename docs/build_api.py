"""Write the reference of the library's public names, docs/api.md, from their docstrings.

python docs/build_api.py            write it
python docs/build_api.py --check    fail if it differs from the docstrings
"""

import ast
import inspect
import itertools
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path

from torch import nn

import dwp
from dwp.priors import KINDS

OUTPUT = Path(__file__).parent / "api.md"
PUBLIC = {
    "dwp": [name for name in dwp.__all__ if name != "init"],
    "dwp.nn.init": ["from_prior_"],
    "dwp.nn.bayesian": ["BayesianConv2d", "CodeConv2d", "bayesian_layers", "prediction"],
    "dwp.priors.base": ["KernelPrior"],
    "dwp.priors.kinds": ["Kind", "Hyperparameter"],
    "dwp.priors.kl": ["Estimation", "kl_nature", "monte_carlo_kl", "register_kl"],
    "dwp.priors.posteriors": ["GaussianKernels", "MultiplicativeKernels", "GaussianCodes"],
    **{
        kind.location.partition(":")[0]: [kind.location.partition(":")[2]]
        for kind in KINDS.values()
    },
    "dwp.data": ["load_dataset"],
    "dwp.data.images": ["ImageDataset"],
    "dwp.data.tensors": ["ImageTensors"],
    "dwp.devices": ["products"],
    "dwp.fast": ["faster"],
    "dwp.nn.stack": ["stack", "unstack"],
    "dwp.kernels": ["collect"],
    "dwp.training.prior": ["fit_prior"],
}
PUBLIC["dwp.priors.gaussian"] = ["FullGaussian", "DiagonalGaussian"]
"""The names by their module; inherited methods are documented where they are defined."""
TYPES = {
    "dwp.seeds": "Source",
    "dwp.nn.matching": "Priors",
    "dwp.nn.bayesian": "PosteriorKind",
    "dwp.devices": "Precision",
    "dwp.priors.kl": "Nature",
}
"""Names of types in signatures, by their module."""


def reference() -> str:
    """Return the reference in Markdown."""
    parts = [
        "# Reference\n\nMade from the docstrings by `docs/build_api.py`; edit those instead. "
        "[The README](../README.md) shows the names at work.",
        "In signatures\n\n" + "\n".join(_alias(*each) for each in TYPES.items()),
    ]
    for module, names in PUBLIC.items():
        parts.append(f"## {module}\n\n{_markdown(inspect.getdoc(import_module(module)))}")
        parts += [_entry(f"{module}.{name}") for name in names]
    return "\n\n".join(parts) + "\n"


def _alias(module: str, name: str) -> str:
    """Return a line with the value of a name of a type, and its documentation."""
    body = ast.parse(inspect.getsource(import_module(module))).body
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            text = " ".join(ast.literal_eval(after.value).split())
            return f"- `{name}` is `{ast.unparse(node.value)}`: {text}"
    raise LookupError(f"{module}: no {name}")


def public_objects() -> dict[str, object]:
    """Return every public function, class and method by its full name."""
    found = {}
    for module, names in PUBLIC.items():
        for name in names:
            found[f"{module}.{name}"] = thing = getattr(import_module(module), name)
            found |= {f"{module}.{name}.{key}": method for key, method in _methods(thing).items()}
    return found


def _methods(thing: object) -> dict[str, object]:
    if not inspect.isclass(thing):
        return {}
    torchs = {*vars(nn.Module)} - {"forward"} if issubclass(thing, nn.Module) else set()
    members = {n: m for n, m in vars(thing).items() if not n.startswith("_") and n not in torchs}
    members = {n: getattr(m, "__func__", getattr(m, "fget", m)) for n, m in members.items()}
    return {n: m for n, m in members.items() if inspect.isfunction(m)}


def _entry(full_name: str) -> str:
    objects = public_objects()
    name, thing = full_name.rpartition(".")[2], objects[full_name]
    parts = [f"### {name}\n\n```python\n{_signature(name, thing)}\n```\n\n{_documented(thing)}"]
    for key, method in _methods(thing).items():
        if method.__doc__:
            parts.append(f"#### {name}.{key}\n\n{_documented(method)}")
            parts[-1] = parts[-1].replace("\n\n", f"\n\n`{_signature(key, method)}`\n\n", 1)
    return "\n\n".join(parts)


def _signature(name: str, thing: object) -> str:
    """Return a signature as it is written, with the names of types."""
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    if not isinstance(node, ast.ClassDef):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{name}({ast.unparse(node.args)}){returned}"
    bases = ", ".join(map(ast.unparse, node.bases))
    made = [each for each in node.body if getattr(each, "name", "") == "__init__"]
    taken = ast.unparse(made[0].args).removeprefix("self").removeprefix(", ") if made else None
    if taken is None and node.decorator_list:  # a data class
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        taken = ", ".join(map(ast.unparse, fields))
    head = f"class {name}({bases})" if bases else f"class {name}"
    return head if taken is None else f"{head}\n{name}({taken})"


def _documented(thing: object) -> str:
    return _markdown(inspect.cleandoc(thing.__doc__))


def _markdown(text: str) -> str:
    """Return a docstring's text with its sections as headed lists."""
    lines, inside = [], False
    for line in text.splitlines():
        section = re.fullmatch(r"(Args|Attributes|Raises|Returns):", line)
        item = re.fullmatch(r" {4}(\*{0,2}[\w.*]+): (.*)", line)
        if section:
            inside = section[1]
            lines += [f"**{inside}**", ""]
        elif item and inside and inside != "Returns":
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif inside and line.startswith("    "):
            lines.append(line[4:] if inside == "Returns" else "  " + line.strip())
        else:
            inside = inside if not line else False
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Write the reference, or check it."""
    text = reference()
    if "--check" not in sys.argv:
        OUTPUT.write_text(text, encoding="utf-8")
    elif OUTPUT.read_text(encoding="utf-8") != text:
        sys.exit(f"error: {OUTPUT} differs from the docstrings; run make docs")


if __name__ == "__main__":
    main()
