"""Where bounds lead samples: priors whose modes are known."""

import pytest
import torch

from dwp.errors import UserError
from dwp.evaluation.scores import count_different, follow_bound
from dwp.priors import prior_class
from dwp.priors.normal import StandardNormal
from dwp.seeds import generator


def test_samples_of_the_standard_normal_end_at_zero():
    found = follow_bound(StandardNormal(3), n=50, steps=300, learning_rate=0.05)
    assert found["norm_after"] < 0.05 * found["norm_before"]
    assert (found["different_before"], found["different_after"]) == (50, 1)
    assert found["gained"] == pytest.approx(4.5, rel=0.2)  # half of nine squares


def test_samples_of_a_mixture_end_on_its_components():
    draws = generator("mixture", 0)
    centres = torch.tensor([-2.0, 2.0])[torch.randint(2, (200,), generator=draws)]
    kernels = centres[:, None, None] + 0.1 * torch.randn(200, 3, 3, generator=draws)
    mixture = prior_class("gaussian-mixture").fit(kernels, components=2, seed=0)
    found = follow_bound(mixture, n=50, steps=400, learning_rate=0.01)
    assert found["different_after"] == 2
    assert found["norm_after"] == pytest.approx(6, rel=0.02)  # of nine twos


def test_a_vae_gains_on_its_own_bound(small_vae):
    vae = small_vae.float().requires_grad_(False)
    first, again = (follow_bound(vae, n=20, steps=100, learning_rate=0.02) for _ in range(2))
    assert first == again
    drawn = follow_bound(vae, n=20, steps=100, learning_rate=0.02, generator=generator("own"))
    assert drawn["gained"] != first["gained"]
    assert first["gained"] > 0


def test_different_kernels():
    kernels = torch.tensor([0.0, 0.05, 1.0, 1.04, 3.0]).view(-1, 1, 1)
    assert count_different(kernels, 0.1) == 3
    assert count_different(kernels, 0.01) == 5


def test_refusals():
    with pytest.raises(UserError, match="no density to follow"):
        follow_bound(prior_class("log-uniform")(3))
    with pytest.raises(UserError, match="of at least 1, found 0"):
        follow_bound(StandardNormal(3), n=0)
