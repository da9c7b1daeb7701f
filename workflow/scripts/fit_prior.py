"""Make the prior of one layer: fitted to kernels, or taken from the release or from the package.

Args:
    kernels: file of the layer's kernels, for kinds that are fitted
    reconstructed_by: VAE prior whose reconstructions of the kernels are taken instead
    settings: of the prior
    code: fingerprint of the code; a checkpoint of other code is ignored
    release: folder of the authors' release; default: DWP_RELEASE
    prior: file of the prior
    history: CSV of the loss over time
    device: where to train
    checkpoint_minutes: from one checkpoint to the next
    minutes: time after which to stop with a checkpoint
"""

from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from dwp.devices import choose_device
from dwp.errors import deadline_after
from dwp.files import digest, write_csv
from dwp.kernels import load_kernels
from dwp.priors import load_prior
from dwp.release import load_released_vae, release_folder
from dwp.study.program import program
from dwp.study.settings import PriorFit
from dwp.training.prior import fit_prior


@program
def main(
    *,
    kernels: list[Path] | None = None,
    reconstructed_by: list[Path] | None = None,
    settings: PriorFit,
    code: str = "",
    release: str | None = None,
    prior: Path,
    history: Path,
    device: Literal["auto", "cpu", "cuda"] = "cpu",
    checkpoint_minutes: float = 5,
    minutes: float | None = None,
) -> None:
    deadline = deadline_after(minutes)
    torch.set_num_threads(1)
    checkpoint, records = Path(f"{prior}.checkpoint"), []
    if settings.released:
        made = load_released_vae(release_folder(release) / settings.released)
    elif settings.pretrained:
        made = load_prior(settings.pretrained)
    else:
        inputs, vaes = kernels or [], reconstructed_by or []
        train = load_kernels(inputs[0], "train", settings.kernel_size) if inputs else None
        made, records = fit_prior(
            settings.kind,
            settings.kernel_size,
            load_prior(vaes[0]).reconstruct(train) if vaes else train,
            settings.hyperparameters,
            settings.training,
            device=choose_device(device),
            checkpoint=checkpoint,
            checkpoint_seconds=60 * checkpoint_minutes,
            deadline=deadline,
            identity={"settings": settings.dump(), "code": code, "inputs": digest(inputs + vaes)},
            label=" ".join([*prior.parts[-4:-1], prior.stem]),
        )
    made.save(prior)
    write_csv(history, pd.DataFrame(records, columns=["step", "loss"]))
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
