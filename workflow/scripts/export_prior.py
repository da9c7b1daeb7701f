"""Put a prior that a run fitted among the pretrained ones, with a card of the run's numbers."""

import argparse
from pathlib import Path

from dwp.data.choice import describe
from dwp.errors import one_line_errors
from dwp.files import read_json, write_text
from dwp.priors import load_prior
from dwp.priors.card import model_card
from dwp.priors.pretrained import FOLDER
from dwp.study.settings import (
    check_config,
    check_name,
    check_one_of,
    kernel_settings,
    prior_settings,
    read_config,
    source_settings,
)


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="of the run, as for snakemake --configfile")
    parser.add_argument("domain")
    parser.add_argument("prior")
    parser.add_argument("layer")
    parser.add_argument("name", help="of the pretrained prior")
    parser.add_argument("--results", default="results", help="folder of all runs")
    parser.add_argument("--folder", default=FOLDER, type=Path, help="of the pretrained priors")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    check_config(config, arguments.config)
    check_name("name", arguments.name)
    check_one_of("domain", arguments.domain, config["domains"])
    section = config["domains"][arguments.domain]
    check_one_of("prior", arguments.prior, section["priors"])
    check_one_of("layer", arguments.layer, section["kernels"]["layers"])
    folder = Path(arguments.results) / config["name"] / arguments.domain
    place = f"{arguments.prior}/{arguments.layer}"
    prior = load_prior(folder / "priors" / "fitted" / f"{place}.safetensors")
    card = model_card(
        arguments.name,
        prior,
        read_json(folder / "priors" / "scores" / f"{place}.json"),
        read_json(folder / "kernels" / "collected" / f"{arguments.layer}.json"),
        source=describe(section["data"]["source"]),
        settings={
            "source nets": source_settings(section),
            "kernels": kernel_settings(section, arguments.layer),
            "prior": prior_settings(section, arguments.prior, arguments.layer),
        },
    )
    # the card first: a prior that is there is looked for with its card
    write_text(arguments.folder / f"{arguments.name}.md", card)
    prior.save(arguments.folder / f"{arguments.name}.safetensors")


if __name__ == "__main__":
    main()
