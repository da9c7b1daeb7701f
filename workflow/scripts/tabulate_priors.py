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

_TERMS = ("elbo", "log_likelihood", "kl", "log_prob")


@program
def main(*, scores: dict[str, Path], domain: str, output: Path) -> None:
    rows = []
    found = [
        (prior, layer, score)
        for prior, path in scores.items()
        for layer, score in read_json(path).items()
    ]
    for prior, layer, score in found:
        row = {"domain": domain, "layer": layer, "prior": prior}
        row |= {"n": score["n"], "estimator": score["log_prob"]["estimator"]}
        for term in _TERMS:
            row[term] = score[term]["mean"]
            row[f"{term}_error"] = score[term]["standard_error"]
        row |= {where: score[where] for where in ("at_zero", "at_initial")}
        for of in ("nearest_sample", "nearest_test"):
            row |= {f"{of}_{quantile}": value for quantile, value in score[of].items()}
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["layer", "log_prob"], ascending=[True, False])
    write_csv(output, table)
    write_readable(table, output)


if __name__ == "__main__":
    main()
