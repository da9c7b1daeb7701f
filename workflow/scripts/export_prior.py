"""Put a prior that a run fitted among the pretrained ones, with a card of the run's numbers."""

from pathlib import Path

from dwp.data.choice import describe
from dwp.files import read_json, write_text
from dwp.priors import load_prior
from dwp.priors.card import model_card
from dwp.priors.pretrained import FOLDER
from dwp.study.program import program
from dwp.study.settings import (
    check_config,
    check_name,
    check_one_of,
    kernel_settings,
    prior_settings,
    read_config,
    source_settings,
)


@program
def main(
    config: Path,
    domain: str,
    prior: str,
    layer: str,
    name: str,
    /,
    *,
    results: Path = Path("results"),
    folder: Path = FOLDER,
) -> None:
    """Put a prior that a run fitted among the pretrained ones, with a card of the run's numbers.

    Args:
        config: of the run, as for snakemake --configfile.
        name: of the pretrained prior.
        results: folder of all runs.
        folder: of the pretrained priors.
    """
    settings = read_config(config)
    check_config(settings, config)
    check_name("name", name)
    check_one_of("domain", domain, settings["domains"])
    section = settings["domains"][domain]
    check_one_of("prior", prior, section["priors"])
    check_one_of("layer", layer, section["kernels"]["layers"])
    run = results / settings["name"] / domain
    fitted = load_prior(run / "priors" / "fitted" / prior / f"{layer}.safetensors")
    card = model_card(
        name,
        fitted,
        read_json(run / "priors" / "scores" / prior / f"{layer}.json"),
        read_json(run / "kernels" / "collected" / f"{layer}.json"),
        source=describe(section["data"]["source"]),
        settings={
            "source nets": source_settings(section),
            "kernels": kernel_settings(section, layer),
            "prior": prior_settings(section, prior, layer),
        },
    )
    write_text(folder / f"{name}.md", card)  # first: where there is a prior its card is read, too
    fitted.save(folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
