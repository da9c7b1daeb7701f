"""Rotated test images: the rotation itself, and metrics against it."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import CLASSIFICATION, striped_images

from dwp.evaluation import shift
from dwp.evaluation.shift import METRICS, metrics_by_angle, rotate
from dwp.priors import prior_class
from dwp.study.settings import RunSettings
from dwp.training.classification import build_classifier, train_classifiers


def test_a_rotation_turns_the_image_counterclockwise():
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(rotate(images, 0), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(rotate(images, 90), images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotate(images, 180), images.flip(2, 3), atol=1e-5, rtol=0)
    assert rotate(torch.ones(1, 1, 8, 8), 45)[0, 0, 0, 0] == 0  # nothing was in the corner


@pytest.mark.parametrize("kind", [None, "standard-normal", "log-uniform"])
def test_nets_learn_stripes_of_which_those_across_become_stripes_down(kind):
    data = striped_images(bright=250, noise=10)
    own = {"epochs": 40, "batch_size": 20, "filters": [4, 6], "log_variance": -8}
    settings = RunSettings(**CLASSIFICATION | own)
    sizes = {"conv1": 7, "conv2": 5}
    priors = kind and {name: prior_class(kind)(size) for name, size in sizes.items()}
    ((net, records),) = train_classifiers(data, settings, [(0, 0)], n=60, priors=priors, init=None)
    upright, turned, back = metrics_by_angle(
        net.state_dict(), (0, 0), data, [0, 90, 180], settings=settings, priors=priors
    )
    assert list(upright) == list(METRICS)
    assert upright["accuracy"] > 0.9
    assert records[-1]["validation_accuracy"] > 0.9
    assert turned["accuracy"] < 0.5 * upright["accuracy"]  # one of three classes stays as it is
    assert turned["nll"] > upright["nll"]
    assert back["accuracy"] > turned["accuracy"]
    assert 0 <= upright["entropy"] <= math.log(3)


def test_of_many_test_images_some_are_rotated(monkeypatch):
    data, settings = striped_images(), RunSettings(**CLASSIFICATION | {"filters": [4, 6]})
    state = build_classifier(settings, data.classes, None).state_dict()
    own = {"settings": settings, "priors": None}
    third = replace(data, test_images=data.test_images[::3], test_targets=data.test_targets[::3])
    expected = metrics_by_angle(state, (0, 0), third, [0, 90], **own)
    monkeypatch.setattr(shift, "MOST", -(-len(data.test_images) // 3))
    assert metrics_by_angle(state, (0, 0), data, [0, 90], **own) == expected
