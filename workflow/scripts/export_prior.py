"""Put a prior that a run fitted among the pretrained ones, with a card of the run's numbers."""

from pathlib import Path
from typing import Any

from dwp.data.choice import describe
from dwp.errors import check_one_of
from dwp.files import read_json, write_text
from dwp.priors import load_prior
from dwp.priors.card import model_card
from dwp.priors.pretrained import FOLDER
from dwp.study.program import program
from dwp.study.settings import Settings, read_config
from dwp.study.study import Study

ROOT = Path(__file__).resolve().parents[2]


def _of(settings: Settings, *ignored: str) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=set(ignored), exclude_none=True)


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
    study = Study(read_config(config), config, root=ROOT)
    fits = {
        f"{each} {fit} {of}": each
        for each, section in study.domains.items()
        for fit, of in study.scored_priors(each)
        if section.source_nets and study.fitted_to_kernels(each, fit, of)
    }
    check_one_of(f"{config}: domain, prior and layer", f"{domain} {prior} {layer}", fits)
    run = results / study.settings.name / domain
    fitted = load_prior(run / "priors" / prior / f"{layer}.safetensors")
    card = model_card(
        name,
        fitted,
        read_json(run / "priors" / prior / "scores.json")[layer],
        read_json(run / "kernels" / f"{layer}.json"),
        source=describe(study.domains[domain].data.source),
        settings={
            "source nets": _of(study.source_training(domain), "count", "runs_per_job"),
            "kernels": _of(study.collected_kernels(domain, layer)),
            "prior": _of(study.prior_fit(domain, prior, layer)),
        },
    )
    write_text(folder / f"{name}.md", card)  # first: where there is a prior its card is read, too
    fitted.save(folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
