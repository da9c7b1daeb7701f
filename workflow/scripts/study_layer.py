"""Study the kernels of one layer and the priors over them: samples, norms, KLs.

Args:
    kernels: file of the layer's kernels; without it only samples can be drawn
    priors: files of the priors, each in the folder of its prior
    samples: figure of real kernels and of samples of each prior
    norms: figure of the distribution of norms
    table: CSV of the KLs of posteriors of several widths from the priors, which have a density;
        without priors from the standard normal
    kl: figure of these KLs
"""

from pathlib import Path

from dwp.evaluation.study import kl_by_width
from dwp.files import load_tensors, write_csv
from dwp.kernels import load_kernels
from dwp.plots.curves import kl_against_width
from dwp.plots.kernels import kernels_and_samples, norm_histogram
from dwp.plots.style import save
from dwp.priors import load_prior
from dwp.priors.normal import StandardNormal
from dwp.seeds import generator
from dwp.study.program import program

_TILES = 6


@program
def main(
    *,
    kernels: list[Path] | None = None,
    priors: list[Path] | None = None,
    samples: list[Path] | None = None,
    norms: list[Path] | None = None,
    table: Path | None = None,
    kl: list[Path] | None = None,
) -> None:
    loaded = {path.parent.name: load_prior(path) for path in priors or []}
    (real,) = [load_kernels(path, "test") for path in kernels or []] or [None]
    if samples:
        drawn = {name: p.sample(_TILES**2, generator("figure")) for name, p in loaded.items()}
        save(kernels_and_samples(real, drawn, _TILES), samples)
    if norms:
        tensors, settings = load_tensors(kernels[0], kind="kernels")
        kept = len(tensors["train"]) + len(tensors["test"])
        # released kernels are pruned already
        collected = None if "released" in settings else settings["collected"]
        save(norm_histogram(tensors["norms"], settings["cut"], kept, collected), norms)
    if table:
        kls = kl_by_width(loaded or {"standard-normal": StandardNormal(real.shape[-1])}, real)
        write_csv(table, kls)
        save(kl_against_width(kls), kl)


if __name__ == "__main__":
    main()
