"""Kernels of trained nets: none lost, cut where asked, split without overlap."""

import json

import pytest
import torch

from dwp.errors import UserError
from dwp.kernels import collect, pruning_threshold, describe, norms, split, thin
from dwp.seeds import generator


def numbered(n, k=3):
    """Kernels that are all different: kernel i is i everywhere."""
    return torch.arange(float(n))[:, None, None].expand(n, k, k).clone()


def random_norms(n):
    return torch.rand(n, generator=generator("norms", n))


# Collecting


def test_collect_keeps_every_kernel_and_its_shape():
    # Nets of different widths, every kernel with its own number.
    kernels = numbered(6 + 4 + 1, k=5)
    weights = [
        kernels[:6].view(3, 2, 5, 5),
        kernels[6:10].view(2, 2, 5, 5),
        kernels[10:].view(1, 1, 5, 5),
    ]
    assert torch.equal(collect(iter(weights)), kernels)


def test_collect_does_not_mix_up_rows_and_columns():
    weight = torch.arange(2.0 * 3 * 49).view(2, 3, 7, 7)
    found = collect([weight])
    assert found.shape == (6, 7, 7)
    for out in range(2):
        for into in range(3):
            assert torch.equal(found[3 * out + into], weight[out, into])


def test_norms_by_hand():
    kernels = torch.zeros(3, 2, 2)
    kernels[1] = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    kernels[2] = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    assert norms(kernels).tolist() == [0.0, 5.0, 2.0]


# Where to cut


@pytest.mark.parametrize("threshold", [0.0, 0.39, 2.0])
def test_a_threshold_is_the_cut(threshold):
    assert pruning_threshold(random_norms(10), threshold=threshold) == threshold


@pytest.mark.parametrize("n", [2, 7, 100, 1001])
@pytest.mark.parametrize("quantile", [0.0, 0.25, 0.3, 0.5, 0.8, 0.99])
def test_a_quantile_drops_the_fraction_asked_for(n, quantile):
    kernel_norms = random_norms(n)
    dropped = int((kernel_norms < pruning_threshold(kernel_norms, quantile=quantile)).sum())
    # The nearest whole number of kernels below, and never all of them.
    assert 0 <= quantile * n - dropped < 1 + 1e-9
    assert dropped < n


def test_a_quantile_drops_the_smallest():
    kernel_norms = torch.tensor([0.4, 0.1, 0.3, 0.2, 0.5])
    cut = pruning_threshold(kernel_norms, quantile=0.4)
    assert kernel_norms[kernel_norms >= cut].tolist() == pytest.approx([0.4, 0.3, 0.5])


@pytest.mark.parametrize("arguments", [{}, {"threshold": 0.1, "quantile": 0.5}])
def test_a_cut_needs_one_of_threshold_and_quantile(arguments):
    with pytest.raises(UserError, match="expected either a threshold or a quantile"):
        pruning_threshold(random_norms(10), **arguments)


def test_a_threshold_and_a_quantile_of_0_are_given():
    # 0 is a value, and not the same as none.
    assert pruning_threshold(random_norms(10), threshold=0.0) == 0
    assert pruning_threshold(random_norms(10), quantile=0.0) == float(random_norms(10).min())
    with pytest.raises(UserError, match="either"):
        pruning_threshold(random_norms(10), threshold=0.0, quantile=0.0)


# Splitting


@pytest.mark.parametrize(
    ("n", "fraction", "tests"), [(10, 0.2, 2), (11, 0.2, 2), (2, 0.5, 1), (5, 0.01, 1), (9, 0.5, 4)]
)
def test_split_is_a_partition(n, fraction, tests):
    train, test = split(numbered(n), fraction, "conv1")
    assert (len(train), len(test)) == (n - tests, tests)
    assert train.shape[1:] == test.shape[1:] == (3, 3)
    together = torch.cat([train, test])
    # Whole kernels, each once.
    assert torch.equal(together, together[:, :1, :1].expand_as(together))
    assert sorted(together[:, 0, 0].tolist()) == list(range(n))


def test_split_depends_on_its_seed_alone():
    kernels = numbered(200)
    torch.manual_seed(0)
    first = split(kernels, 0.2, "conv1")
    torch.manual_seed(1)
    same = split(kernels, 0.2, "conv1")
    other = split(kernels, 0.2, "conv2")
    for one, two in zip(first, same, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[1], other[1])


def test_split_shuffles():
    # Kernels come net by net: the test part must not be one net's.
    test = split(numbered(1000), 0.5, "conv1")[1][:, 0, 0]
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
        "norms_collected": {
            "least": 1.0,
            "lower_quartile": 2.0,
            "median": 3.0,
            "upper_quartile": 4.0,
            "most": 5.0,
        },
        # Of three numbers: places 0.5 and 1.5 are rounded to even.
        "norms_kept": {
            "least": 3.0,
            "lower_quartile": 3.0,
            "median": 4.0,
            "upper_quartile": 5.0,
            "most": 5.0,
        },
    }
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("how", [{"threshold": 1.2}, {"quantile": 0.3}, {"quantile": 0.0}])
def test_counts_add_up_along_the_chain(how):
    scales = torch.rand(3, 4, 8, 1, 1, generator=generator("scales"))
    weights = list(torch.randn(3, 4, 8, 5, 5, generator=generator("nets")) * scales)
    kernels = collect(weights)
    kernel_norms = norms(kernels)
    cut = pruning_threshold(kernel_norms, **how)
    train, test = split(kernels[kernel_norms >= cut], 0.2, "conv2")
    found = describe(kernel_norms, cut, len(weights), len(train), len(test))
    assert found["collected"] == 3 * 4 * 8
    assert found["train"] + found["test"] == found["kept"]
    assert found["kept_fraction"] == pytest.approx(found["kept"] / found["collected"])
    assert norms(torch.cat([train, test])).min() >= cut
    # What is kept has no norm below the cut, and the same greatest one.
    assert found["norms_kept"]["least"] >= cut
    assert found["norms_kept"]["most"] == found["norms_collected"]["most"]
    for distribution in (found["norms_collected"], found["norms_kept"]):
        assert list(distribution.values()) == sorted(distribution.values())


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_neither_part_of_a_split_is_empty(fraction):
    train, test = split(torch.zeros(2, 3, 3), fraction, "layer")
    assert len(train) == len(test) == 1


def test_thinned_norms_have_the_distribution_of_all():
    kernel_norms = random_norms(50_001)
    few = thin(kernel_norms, 5001)
    assert torch.equal(few, kernel_norms.sort().values[::10])
    assert torch.equal(thin(kernel_norms, 50_001), kernel_norms.sort().values)


@pytest.mark.parametrize("quantile", [0.29, 0.57, 0.58])  # 0.29 * 100 is 28.999...
def test_a_quantile_is_not_cut_short_by_rounding(quantile):
    assert pruning_threshold(torch.arange(100.0), quantile=quantile) == round(100 * quantile)
