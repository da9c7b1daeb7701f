"""Gather the scores of all priors on the test kernels of their layers into one table."""

import argparse
from pathlib import Path

import pandas as pd

from dwp.errors import one_line_errors
from dwp.files import read_json, write_csv
from dwp.plots.tables import to_be_read

_TERMS = ("elbo", "log_likelihood", "kl", "log_prob")


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", required=True, help=".../PRIOR/LAYER.json")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--output", required=True, help="CSV; a .md and a .html go beside it")
    arguments = parser.parse_args()

    rows = []
    for path in map(Path, arguments.scores):
        score = read_json(path)
        row = {"domain": arguments.domain, "layer": path.stem, "prior": path.parent.name}
        row |= {"n": score["n"], "estimator": score["log_prob"]["estimator"]}
        for term in _TERMS:
            row[term] = score[term]["mean"]
            row[f"{term}_error"] = score[term]["standard_error"]
        row |= {place: score[place] for place in ("at_zero", "at_initial")}
        for of in ("nearest_sample", "nearest_test"):
            row |= {f"{of}_{quantile}": value for quantile, value in score[of].items()}
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["layer", "log_prob"], ascending=[True, False])
    write_csv(arguments.output, table)
    to_be_read(table, arguments.output)


if __name__ == "__main__":
    main()
