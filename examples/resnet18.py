"""torchvision's ResNet-18 with the Deep Weight Prior over its 7 x 7 and 3 x 3 kernels.

    python examples/resnet18.py --steps 200
    python examples/resnet18.py --data cifar10 --source cifar100    # downloaded if missing
    python examples/resnet18.py --priors MY3X3.safetensors mnist-7x7

A plain ResNet-18 is trained on a source data set, and one prior for each kernel size is fitted to
its kernels, unless priors are given; then a Bayesian one learns from few examples of the target.
This shows how the parts fit together. It is no experiment: priors need the kernels of many nets
trained for long, and posteriors thousands of steps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

import dwp
from dwp.data import data_folder, load_dataset, registered
from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import to_unit
from dwp.evaluation.metrics import classification_metrics
from dwp.kernels import collect, norms
from dwp.nn.bayesian import bayesian_layers
from dwp.priors import KernelPrior
from dwp.study.program import program

_BATCH = 32


@program
def main(
    *,
    source: str = "glyphs",
    data: str = "digits",
    n: int = 100,
    steps: int = 50,
    tests: int = 500,
    priors: list[str] | None = None,
) -> None:
    """Train a ResNet-18 with the Deep Weight Prior over its kernels.

    Args:
        source: data set of the kernels; default: glyphs.
        data: data set of the few examples; default: digits.
        n: how many examples; default: 100.
        steps: of each training; default: 50.
        tests: how many test images; default: 500.
        priors: files or names, instead of fitting them.
    """
    if priors:
        of_size = {prior.kernel_size: prior for prior in map(dwp.load_prior, priors)}
    else:
        images, targets, _ = load(source, train=True)
        net = make_net(registered(source).classes)
        train(net, images, targets, steps)
        of_size = {size: fit(net, size, 1 + steps // 10) for size in (3, 7)}

    images, targets, classes = load(data, train=True)
    chosen, _ = few_shot_subset(targets, n, split=0, validation=0)
    net = make_net(classes)
    layers = [name for name, layer in convolutions(net).items() if layer.kernel_size != (1, 1)]
    dwp.init.from_prior_(net, of_size, dwp.generator("resnet", "start"), layers=layers)
    dwp.bayesianize(net, of_size, layers=layers)
    train(net, images[chosen], targets[chosen], steps)

    images, targets, _ = load(data, train=False)
    images, targets = images[:tests], targets[:tests]
    draws = dwp.generator("resnet", "test")
    probabilities = dwp.predict(net, images, samples=10, generator=draws).mean(0)
    found = classification_metrics(probabilities, targets)
    print(
        f"{data}, {n} examples, {steps} steps: "
        f"accuracy {found['accuracy']:.3f}, NLL {found['nll']:.3f} nats"
    )


def load(name: str, *, train: bool) -> tuple[Tensor, Tensor, int]:
    """Return colour images (n, 3, h, w) in [0, 1], targets (n,), and the number of classes."""
    dataset = load_dataset(name, data_folder(None), train=train, download=True)
    images = to_unit(dataset.images)
    return images.expand(-1, 3, -1, -1), dataset.targets, len(dataset.classes)


def make_net(classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet18(num_classes=classes).to(memory_format=torch.channels_last)


def convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}


def fit(net: nn.Module, size: int, epochs: int) -> KernelPrior:
    """Return the Deep Weight Prior of a net's size x size kernels, of the stronger half of them."""
    layers = [layer for layer in convolutions(net).values() if layer.kernel_size == (size, size)]
    kernels = collect(layer.weight.detach() for layer in layers)
    kernels = kernels[norms(kernels) >= norms(kernels).median()]
    chosen = torch.randperm(len(kernels), generator=dwp.generator("resnet", "kernels"))[:2000]
    return dwp.fit_prior(kernels[chosen], epochs=epochs, hidden=16, latent=2)


def train(net: nn.Module, images: Tensor, targets: Tensor, steps: int) -> None:
    """Train a net by cross-entropy, a Bayesian one by its lower bound, for some steps of Adam."""
    adam, random = torch.optim.Adam(net.parameters(), lr=1e-3), dwp.generator("resnet", "batches")
    layers = bayesian_layers(net)
    for layer in layers.values():
        layer.generator = random
    net.train()
    for step in range(steps):
        batch = torch.randint(len(images), (_BATCH,), generator=random)
        loss = F.cross_entropy(net(images[batch]), targets[batch])  # nats an example
        if layers:  # the KL from 64 of each layer's kernels: without bias, and quick
            loss = loss + dwp.kl(net, random, kernels_per_step=64) / len(images)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f} nats an example")


if __name__ == "__main__":
    main()
