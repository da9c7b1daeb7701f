"""Writes the tables of docs/results/, docs/results.md and README.md from the published CSV files.

A page names a table between two comments, which hold a call of a function below:

    <!-- table: cells("mnist-paper/mnist", rows="prior", columns="metric", n=50) -->
    <!-- end -->

With `--check` nothing is written; the exit status is 1 if a page is not what it should be.
"""

import ast
import json
import re
import sys
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parent
PUBLISHED = DOCS.parent / "results" / "published"
LABELS = {
    "dwp": "DWP",
    "dwp-longer": "DWP, ten times the steps",
    "flow": "normalising flow",
    "gaussian-mixture": "Gaussian mixture",
    "gaussian-full": "Gaussian, full covariance",
    "gaussian-diagonal": "Gaussian, diagonal",
    "student-t": "Student t",
    "kernel-density": "kernel density",
    "standard-normal": "standard normal",
    "log-uniform": "log-uniform",
    "deterministic": "no prior",
    "deterministic-l2": "no prior, L2",
    "deterministic-dwp": "no prior, DWP as penalty",
    "deterministic-dropout": "no prior, dropout",
    "deep-ensemble": "five nets, no prior",
    "xavier": "Xavier",
    "source-kernels": "source kernels",
    "accuracy": "accuracy",
    "validation_accuracy": "accuracy",
    "nll": "NLL",
    "validation_nll": "NLL",
    "train_nll": "training NLL",
    "ece": "ECE",
    "elbo": "ELBO",
    "ood_auroc": "AUROC",
    "none": "all",
    "released": "the authors' VAE",
    "dwp-all": "DWP, all 5x5 kernels",
    "dwp-released-7x7": "DWP, 7x7: the authors' VAE",
}
DIGITS = {"nll": 2, "validation_nll": 2, "train_nll": 2, "ood_auroc": 2, "elbo": 0}  # else 3


def read(file: str) -> pd.DataFrame:
    """Return a published table; `file` is below results/published, without `.csv` or `.csv.gz`."""
    path = PUBLISHED / f"{file}.csv"
    return pd.read_csv(path if path.exists() else f"{path}.gz", keep_default_na=False)


def number(value: object, digits: int = 3) -> str:
    """Return a number as text; what is missing is empty."""
    return "" if value in ("", None) or pd.isna(value) else f"{float(value):,.{digits}f}"


def plus_minus(mean: object, interval: object, digits: int = 3) -> str:
    """Return a mean and its interval as text."""
    text = number(mean, digits)
    if not text or not number(interval):
        return text
    return f"{text}\u00a0±\u00a0{number(interval, digits)}"  # in one line, wherever it is shown


def markdown(heads: list[str], body: list[list[str]], words: int = 1) -> str:
    """Return a table in Markdown whose first `words` columns are words, the others numbers."""
    rule = ["---" if i < words else "--:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *body])


def label(value: object) -> str:
    """Return what readers call a prior, an initialisation or a metric."""
    text = str(value)
    return LABELS.get(text, f"{int(text):,}" if text.isdigit() else text)


def cells(
    *folders: str, rows: str, columns: str, names: dict | None = None, authors: bool = False, **only
) -> str:
    """Return means and intervals of trained nets.

    Args:
        *folders: studies and domains, as "mnist/mnist"; with several `study` can be a row.
        rows: columns of `classification_summary.csv`, separated by spaces, that name a row.
        columns: likewise, of a column.
        names: heads or row names for values, other than `LABELS`.
        authors: whether to add the authors' accuracies, which are known by prior and n.
        **only: which values of a column to take, separated by spaces, in this order.
    """
    tables = [read(f"{f}/tables/classification_summary").assign(study=f) for f in folders]
    table = pd.concat(tables).astype({"n": str})
    table["metric"] = table["metric"].str.removeprefix("ensemble_")
    order = {name: str(values).split() for name, values in only.items()}
    for name, values in order.items():
        table = table[table[name].astype(str).isin(values)]
    known, names = {}, names or {}
    row_keys, column_keys = rows.split(), columns.split()
    for row in table.astype(str).to_dict("records"):
        key = tuple(row[name] for name in row_keys), tuple(row[name] for name in column_keys)
        digits = DIGITS.get(row["metric"], 3)
        if key in known:
            raise ValueError(f"{folders}: {key} is not one cell")
        known[key] = plus_minus(row["mean"], row["interval"], digits)

    def sort(keys: list[str], part: int) -> list[tuple[str, ...]]:
        def rank(key: tuple[str, ...]) -> list:
            listed = {n: order.get(n, list(folders) if n == "study" else []) for n in keys}
            return [
                (listed[n].index(v) if v in listed[n] else 99, int(v) if v.isdigit() else 0, v)
                for n, v in zip(keys, key, strict=True)
            ]

        return sorted({key[part] for key in known}, key=rank)

    theirs = _authors(folders[0]) if authors else {}
    by_metric = "metric" in column_keys  # else the authors' numbers are rows of their own
    columns_in_order = sort(column_keys, 1)
    heads = [name if name not in ("prior", "study") else "" for name in row_keys]
    for column in columns_in_order:
        heads.append(", ".join(names.get(value, label(value)) for value in column))
        heads += ["authors"] if theirs and by_metric and "accuracy" in column else []
    heads = [names.get(head, head) for head in heads]
    body = []
    for row in sort(row_keys, 0):
        line, reported = [names.get(value, label(value)) for value in row], []
        for column in columns_in_order:
            of = dict(zip(row_keys + column_keys, row + column, strict=True))
            reported.append(
                theirs.get((of["prior"], of.get("n", only.get("n"))), "") if theirs else ""
            )
            line.append(known.get((row, column), ""))
            line += [reported[-1]] if theirs and by_metric and "accuracy" in column else []
        body.append(line)
        if not by_metric and any(reported):
            body.append(["*authors*", *reported])
    return markdown(heads, body, len(row_keys))


def _authors(folder: str) -> dict[tuple[str, str], str]:
    """Return the authors' accuracies by prior and n."""
    table = read(f"{folder}/tables/classification_paper").astype(str)
    keys = zip(table["prior"], table["num_examples"], strict=True)
    return dict(zip(keys, map(number, table["authors"]), strict=True))


def shapes() -> str:
    """Return the accuracies of the four-shapes at 40 filters, from samples of the DWP."""
    studies = {"shapes-paper/shapes": "100 epochs", "shapes/shapes": "40 epochs"}
    known, sizes = {}, set()
    for folder, epochs in studies.items():
        table = read(f"{folder}/tables/classification_paper").astype(str)
        alike = {"init": "dwp", "filters": "40", "chosen_by": "validation"}
        for row in table.to_dict("records"):
            if all(row[name] == value for name, value in alike.items()):
                n = int(row["num_examples"])
                sizes.add(n)
                half = (float(row["high"]) - float(row["low"])) / 2
                known[n, row["prior"], epochs] = plus_minus(row["ours"], half)
                known[n, row["prior"], "authors"] = number(row["authors"])
    columns = [("dwp", part) for part in (*studies.values(), "authors")]
    for prior in ("standard-normal", "deterministic"):
        columns += [(prior, "100 epochs"), (prior, "authors")]
    heads = [part if part == "authors" else f"{label(prior)}, {part}" for prior, part in columns]
    body = [[str(n), *(known.get((n, *c), "") for c in columns)] for n in sorted(sizes)]
    return markdown(["n", *heads], body)


def features(folder: str, authors: bool = True) -> str:
    """Return the test accuracies of a classifier on frozen convolutions."""
    table = read(f"{folder}/tables/features_summary")
    table = table[table["metric"] == "test_accuracy"]
    inits = ["xavier", "dwp", "source-kernels"]
    heads, body = ["share of the filters"], []
    for init in inits:
        heads += [label(init), "authors"] if authors else [label(init)]
    for scale in sorted(map(float, set(table["scale"]))):
        line = ["1" if scale == 1 else f"1/{1 / scale:.0f}"]
        for init in inits:
            (row,) = table[(table["scale"] == scale) & (table["init"] == init)].to_dict("records")
            line.append(plus_minus(row["mean"], row["interval"]))
            line += [number(row["authors"])] if authors else []
        body.append(line)
    return markdown(heads, body)


def steps(folder: str, experiment: str, authors: bool = True) -> str:
    """Return the steps until whole nets reached a level."""
    table = read(f"{folder}/tables/convergence_{experiment}_steps")
    inits = ["xavier", "dwp", "source-kernels"]
    heads = ["nats an image" if experiment == "image-vae" else "accuracy"]
    for init in inits:
        heads += [label(init), "authors"] if authors else [label(init)]
    body = []
    levels = list(dict.fromkeys(table["level"]))
    for level in levels:
        line = [number(level, 0 if experiment == "image-vae" else 2)]
        for init in inits:
            (row,) = table[(table["level"] == level) & (table["init"] == init)].to_dict("records")
            reached, seeds = int(row["reached"]), int(row["seeds"])
            text = number(row["steps"], 0) if reached else "none"
            line.append(text + (f" ({reached} of {seeds})" if 0 < reached < seeds else ""))
            line += [number(row["authors"], 0)] if authors else []
        body.append(line)
    return markdown(heads, body)


def priors(folder: str, layers: str = "conv1 conv2") -> str:
    """Return the log densities of priors, in nats a kernel."""
    table = read(f"{folder}/tables/priors")
    heads = ["layer", "prior", "log p, held-out kernels", "log p at zero", "log p where nets start"]
    body = []
    for layer in layers.split():
        part = table[table["layer"] == layer]
        for row in part.sort_values("log_prob", ascending=False).to_dict("records"):
            value = plus_minus(row["log_prob"], row["log_prob_error"], 1)
            others = [number(row[name], 1) for name in ("at_zero", "at_initial")]
            body.append([layer, label(row["prior"]), value, *others])
    return markdown(heads, body, 2)


def bounds(folder: str) -> str:
    """Return what becomes of samples that follow the bound of their prior."""
    table = read(f"{folder}/tables/priors")
    heads = ["layer", "prior", "nats gained", "different kernels left of 200", "median norm"]
    body = []
    for row in table.sort_values(["layer", "prior"]).to_dict("records"):
        before, after = (number(row[f"bound_norm_{when}"]) for when in ("before", "after"))
        left = number(row["bound_different_after"], 0)
        values = [number(row["bound_gained"], 1), left, f"{before} → {after}"]
        body.append([row["layer"], label(row["prior"]), *values])
    return markdown(heads, body, 2)


def kernels(**folders: str) -> str:
    """Return what was kept of the kernels of source nets, by the folder of each row's name."""
    heads = ["source nets", "layer", "nets", "kept a net", "their median norm", "share of the mean"]
    body = []
    for name, folder in folders.items():
        for layer in ("conv1", "conv2"):
            own = json.loads((PUBLISHED / folder / f"{layer}.json").read_text(encoding="utf-8"))
            kept = number(own["kept"] / own["nets"], 0)
            others = own["norms_kept"]["median"], own.get("mean_share")
            row = [str(own["nets"]), kept, *map(number, others)]
            body.append([name.replace("_", " "), layer, *row])
    return markdown(heads, body, 2)


def divergences(folder: str, layers: str = "conv1 conv2") -> str:
    """Return the KL of N(w, s^2) from priors at the s that is best for the DWP."""
    heads = ["layer", "σ", "DWP, real kernels", "DWP, noise", "standard normal"]
    body = []
    for layer in layers.split():
        table = read(f"{folder}/tables/kl_{layer}")
        own = table[(table["prior"] == "dwp") & (table["w"] == "kernels")]
        best = own.loc[own["mean"].astype(float).idxmin(), "deviation"]
        at = table[table["deviation"] == best].set_index(["prior", "w"])["mean"]
        cases = [("dwp", "kernels"), ("dwp", "noise"), ("standard-normal", "kernels")]
        body.append([layer, number(best), *(number(at[case], 0) for case in cases)])
    return markdown(heads, body)


def recipe(folder: str) -> str:
    """Return what the nets with the settings chosen on validation images have."""
    return cells(
        folder,
        rows="prior epochs kl_temperature",
        columns="metric",
        metric="accuracy nll ece",
        prior="standard-normal deterministic-l2 dwp",
        chosen_by="validation",
        names={"epochs": "steps", "kl_temperature": "temperature"},
    )


def headline() -> str:
    """Return accuracies at 50 MNIST examples of several studies and of the authors."""
    studies = {
        "mnist-density": (
            "density of our own kernels, 10,000 steps, 10 splits",
            "kernel-density",
        ),
        "mnist-released-10000": ("the authors' VAEs, 10,000 steps, 3 splits", "dwp"),
        "mnist-factorial": ("the authors' VAEs, 500 steps, 4 splits", "dwp"),
        "mnist-paper": ("VAEs of our own kernels, 10,000 steps, 10 splits", "dwp"),
    }
    others = ["standard-normal", "log-uniform", "deterministic-l2"]
    heads = ["", "learned prior", *map(label, others)]
    reported = _authors("mnist-released/mnist")
    body = [["*reported by the authors*", *(reported[each, "50"] for each in ["dwp", *others])]]
    for folder, (name, learned) in studies.items():
        table = read(f"{folder}/mnist/tables/classification_summary").astype({"n": str})
        alike = {"metric": "ensemble_accuracy", "n": "50", "init": learned}
        for column, value in alike.items():
            table = table[table[column] == value]
        found = {row["prior"]: row for row in table.to_dict("records")}
        values = [found.get(prior) for prior in [learned, *others]]
        body.append([name, *(plus_minus(v["mean"], v["interval"]) if v else "" for v in values)])
    return markdown(heads, body)


def facts(study: str, command: str = "", time: str = "") -> str:
    """Return a study's command, its time and the link to its files.

    Args:
        study: its folder below results/published.
        command: for a study whose README does not begin with one.
        time: for a study that took more than its README's table says.
    """
    readme = (PUBLISHED / study / "README.md").read_text(encoding="utf-8")
    found = re.search(r"`(snakemake [^`]*)`", readme)
    command = command or (found[1].replace("--cores N", "--cores 2") if found else "")
    (minutes,) = re.findall(r"^\| all \| ([\d.]+) \|", readme, re.MULTILINE)
    time = time or f"{float(minutes):,.0f} minutes of one core (AMD EPYC)"
    return (
        f"`{command}`<br>{time}; "
        f"files in [`results/published/{study}`](../../results/published/{study})"
    )


def pages() -> list[Path]:
    """Return the pages of the studies in the order of the site."""
    names = re.findall(r"results/([\w-]+)\.md", (DOCS.parent / "mkdocs.yml").read_text())
    return [DOCS / "results" / f"{name}.md" for name in names]


def studies() -> str:
    """Return the table of all pages: title and verdict, which is the page's first paragraph."""
    body = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        title, verdict = (part.strip() for part in text.removeprefix("# ").split("\n\n")[:2])
        verdict = " ".join(verdict.split()).strip("*")
        body.append([f"[{title}](results/{page.name})", verdict])
    return markdown(["study", "verdict"], body, 2)


FUNCTIONS = {
    f.__name__: f
    for f in (
        *(cells, shapes, features, steps, priors, bounds, kernels),
        *(divergences, recipe, headline, facts, studies),
    )
}


def renewed(text: str) -> str:
    """Return a page with its tables renewed."""

    def table(match: re.Match) -> str:
        call = ast.parse(match[1].strip(), mode="eval").body
        assert isinstance(call, ast.Call)
        given = [ast.literal_eval(each) for each in call.args]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
        content = FUNCTIONS[ast.unparse(call.func)](*given, **named)
        return f"<!-- table: {match[1].strip()} -->\n\n{content}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (.*?)-->.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    """Write the pages, or check them."""
    for path in [*pages(), DOCS / "results.md", DOCS.parent / "README.md"]:
        text = path.read_text(encoding="utf-8")
        wanted = renewed(text)
        if wanted == text:
            continue
        if "--check" in sys.argv:
            sys.exit(f"{path}: not made from results/published; run make docs")
        path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
