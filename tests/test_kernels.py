"""Kernels of trained nets: none lost, pruned where asked, split without overlap."""

import json

import pytest
import torch

from dwp.errors import UserError
from dwp.kernels import collect, describe, mean_share, norms, pruning_threshold, split, thin
from dwp.seeds import generator


def numbered(n):
    """Kernels that are all different: kernel i is i everywhere."""
    return torch.arange(float(n))[:, None, None].expand(n, 3, 3).clone()


QUANTILES = "least", "lower_quartile", "median", "upper_quartile", "most"


def random_norms(n):
    return torch.rand(n, generator=generator("norms", n))


# Collecting


def test_collect_keeps_every_kernel_and_its_shape():
    # nets of different widths, every number another
    shapes = (3, 2, 5, 5), (2, 2, 5, 5), (1, 1, 5, 5)
    kernels = torch.arange(11.0 * 25).view(11, 5, 5)
    parts = kernels.split([6, 4, 1])
    weights = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    assert torch.equal(collect(iter(weights)), kernels)


def test_norms_by_hand():
    kernels = torch.zeros(3, 2, 2)
    kernels[1] = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    kernels[2] = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    assert norms(kernels).tolist() == [0.0, 5.0, 2.0]


# Pruning


@pytest.mark.parametrize("n", [2, 7, 100, 1001])
@pytest.mark.parametrize("quantile", [0.0, 0.29, 0.5, 0.99])
def test_a_quantile_drops_the_fraction_asked_for_of_the_smallest(n, quantile):
    kernel_norms = random_norms(n)
    threshold = pruning_threshold(kernel_norms, quantile)
    dropped = int((kernel_norms < threshold).sum())
    # The nearest whole number of kernels below, and never all of them; .29 * 100 is 28.999...
    assert dropped == int(round(quantile * n, 6))
    assert dropped < n
    assert threshold == kernel_norms.sort().values[dropped]


# Splitting


@pytest.mark.parametrize(
    ("n", "fraction", "tests"),
    [(10, 0.2, 2), (11, 0.2, 2), (2, 0.5, 1), (2, 0.99, 1), (5, 0.01, 1), (9, 0.5, 4)],
)
def test_split_is_a_partition(n, fraction, tests):
    train, test = split(numbered(n), fraction, "conv1")
    assert (len(train), len(test)) == (n - tests, tests)
    together = torch.cat([train, test])
    # Whole kernels, each once.
    assert torch.equal(together, together[:, :1, :1].expand_as(together))
    assert sorted(together[:, 0, 0].tolist()) == list(range(n))


def test_split_shuffles_by_its_seed_alone():
    kernels = numbered(1000)
    first, same, other = (split(kernels, 0.5, layer) for layer in ("conv1", "conv1", "conv2"))
    assert torch.equal(first[0], same[0])
    assert torch.equal(first[1], same[1])
    assert not torch.equal(first[1], other[1])
    # Kernels come net by net: the test part must not be one net's.
    test = first[1][:, 0, 0]
    assert 400 < test.mean() < 600
    assert not torch.equal(test, test.sort().values)


@pytest.mark.parametrize("n", [0, 1])
def test_split_needs_two_kernels(n):
    with pytest.raises(UserError, match=f"{n} left after pruning, expected at least 2; lower"):
        split(numbered(n), 0.2, "conv1")


# Describing


def test_description_by_hand():
    kernel_norms = torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0])
    found = describe(kernel_norms, 3.0, nets=2, train=2, test=1)
    assert found == {
        "nets": 2,
        "collected": 5,
        "cut": 3.0,
        "kept": 3,
        "kept_fraction": 0.6,
        "train": 2,
        "test": 1,
        "squares_collected": 55.0,
        "squares_kept": 50.0,
        "norms_collected": dict(zip(QUANTILES, [1.0, 2.0, 3.0, 4.0, 5.0], strict=True)),
        # Of three numbers: ranks 0.5 and 1.5 are rounded to even.
        "norms_kept": dict(zip(QUANTILES, [3.0, 3.0, 4.0, 5.0, 5.0], strict=True)),
    }
    json.dumps(found, allow_nan=False)


def test_the_share_of_the_mean_is_large_for_smooth_kernels_and_small_for_noise():
    noise = torch.randn((4000, 5, 5), generator=generator("noise"))
    assert mean_share(noise) == pytest.approx(1 / 25, rel=0.1)
    assert mean_share(7 * noise) == pytest.approx(mean_share(noise), rel=1e-5)
    assert mean_share(torch.full((2, 5, 5), -3.0)) == pytest.approx(1)


def test_thinned_norms_have_the_distribution_of_all():
    kernel_norms = random_norms(50_001)
    few = thin(kernel_norms, 5001)
    assert torch.equal(few, kernel_norms.sort().values[::10])
    assert torch.equal(thin(kernel_norms, 50_001), kernel_norms.sort().values)
