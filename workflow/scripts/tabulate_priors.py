"""Tabulate the scores of all priors on the test kernels of their layers.

Args:
    scores: file of each prior
    output: CSV, with a .md and a .html
"""

from pathlib import Path

import pandas as pd

from dwp.evaluation.tables import write_readable
from dwp.files import read_json, write_csv
from dwp.study.program import program

_SHORTER = {"_mean": "", "standard_error": "error", "log_prob_estimator": "estimator"}


@program
def main(*, scores: dict[str, Path], domain: str, output: Path) -> None:
    rows = [
        {"domain": domain, "layer": layer, "prior": prior, **score}
        for prior, path in scores.items()
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
