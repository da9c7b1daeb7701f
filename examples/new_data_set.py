"""A new data set in one file, which needs no change elsewhere.

Run the workflow on it by the file's path and the name of the class:

    snakemake --cores 2 --configfile config/demo.yaml --config name=stripes \\
        'domains={demo: {data: {target: "examples/new_data_set.py:Stripes"}}}'

Or print it: python examples/new_data_set.py
"""

import torch

from dwp.data.images import ImageDataset
from dwp.seeds import generator

_SIZES = {True: 2000, False: 500}  # of the train and of the test part
_SIDE = 28


class Stripes(ImageDataset):
    """Grey images of stripes at one of four angles, with random width, position and noise.

    Args:
        root: not used; the images are drawn.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used.
    """

    image_shape = (1, _SIDE, _SIDE)
    classes = ("upright", "rising", "level", "falling")

    def _read(self, train: bool, download: bool) -> None:
        random, n = generator("stripes", train), _SIZES[train]
        self.targets = torch.arange(n) % len(self.classes)
        angle = self.targets * (torch.pi / 4) + 0.15 * torch.randn(n, generator=random)
        frequency = 0.5 + torch.rand(n, generator=random)  # radians a pixel
        phase = 2 * torch.pi * torch.rand(n, generator=random)
        y, x = torch.meshgrid(torch.arange(_SIDE), torch.arange(_SIDE), indexing="ij")
        across = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y
        waves = (frequency[:, None, None] * across + phase[:, None, None]).sin()
        noise = 0.2 * torch.randn(waves.shape, generator=random)
        self.data = (127.5 * (1 + waves + noise)).clamp(0, 255).to(torch.uint8)


if __name__ == "__main__":
    for part in (Stripes(train=True), Stripes(train=False)):
        print(part)
