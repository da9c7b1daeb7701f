"""Tabulate the scores of all priors on the test kernels of their layers.

Args:
    scores: files of the priors' scores, each in the folder of its prior
    domain: its name, a column
    output: CSV, with a .md and a .html
"""

from pathlib import Path

import pandas as pd

from dwp.evaluation.tables import write_readable
from dwp.files import read_json, write_csv
from dwp.study.program import program

_SHORTER = {"_mean": "", "standard_error": "error", "log_prob_estimator": "estimator"}


@program
def main(*, scores: list[Path], domain: str, output: Path) -> None:
    rows = [
        {"domain": domain, "layer": layer, "prior": path.parent.name, **score}
        for path in scores
        for layer, score in read_json(path).items()
    ]
    table = pd.json_normalize(rows, sep="_")  # elbo_mean, elbo_standard_error, ...
    for long, short in _SHORTER.items():
        table.columns = table.columns.str.replace(long, short)
    table = table.sort_values(["layer", "log_prob"], ascending=[True, False])
    write_csv(output, table)
    write_readable(table, output)


if __name__ == "__main__":
    main()
