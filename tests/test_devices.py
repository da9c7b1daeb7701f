"""Which device a process takes, and the precision of products there."""

import multiprocessing
import os
import signal
import tempfile

import pytest
import torch

from dwp import devices
from dwp.devices import Switch, choose_device, products
from dwp.errors import UserError


@pytest.fixture(autouse=True)
def switches():
    """Leave torch's switches as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UserError, match=r"^device: expected a GPU for 'cuda', found none; set .*"):
        choose_device("cuda")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Start a process that takes one of two GPUs and lives on; return it and the device.

    The second GPU has more memory left.
    """
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_visible_devices", lambda: {"cuda:0": "A", "cuda:1": "B"})
    monkeypatch.setattr(devices, "_free_memory", {"cuda:0": 1, "cuda:1": 2}.get)
    monkeypatch.setattr(devices, "_taken", {})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context, processes = multiprocessing.get_context("fork"), []

    def live(pipe):
        pipe.send(choose_device("auto"))
        signal.pause()

    def call():
        ours, theirs = context.Pipe()
        process = context.Process(target=live, args=(theirs,))
        process.start()
        processes.append(process)
        assert ours.poll(60)
        return process, ours.recv()

    yield call
    for process in processes:
        process.kill()
        process.join()
    for file in devices._taken.values():
        os.close(file)


def test_processes_take_different_gpus_and_then_share(start):
    first, device = start()
    assert [device, *(start()[1] for _ in range(3))] == ["cuda:0", "cuda:1", "cuda:1", "cuda:1"]
    first.kill()
    first.join()
    assert start()[1] == "cuda:0"


def test_other_numbers_of_the_same_gpus(start, monkeypatch):
    # CUDA_VISIBLE_DEVICES=1,0 swaps the numbers, not the devices.
    assert start()[1] == "cuda:0"
    monkeypatch.setattr(devices, "_visible_devices", lambda: {"cuda:0": "B", "cuda:1": "A"})
    assert [start()[1] for _ in range(2)] == ["cuda:0", "cuda:1"]  # B; then the one to share


def test_a_process_keeps_its_gpu_which_multiplies_in_full(start):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    assert [choose_device(name) for name in ("auto", "cuda", "auto")] == ["cuda:0"] * 3
    assert choose_device("cpu") == "cpu"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("precision", ["float32", "tfloat32", "bfloat16"])
def test_products(precision, able, before, monkeypatch):
    device = torch.device("cpu") if before else "cpu"
    monkeypatch.setattr("dwp.devices.has_bfloat16", lambda: able)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = before
    factors = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    with products(precision, device):
        product, total = factors[0] @ factors[1], factors[0] + factors[1]
        assert torch.backends.cudnn.allow_tf32 is (precision == "tfloat32")
        assert torch.backends.cuda.matmul.allow_tf32 is (precision == "tfloat32")
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is before
    half = precision == "bfloat16" and able
    assert product.dtype == (torch.bfloat16 if half else torch.float32)
    assert total.dtype == torch.float32
    exact = factors[0].double() @ factors[1].double()
    error = (product.double() / exact - 1).abs().max()
    assert (1e-3 < error < 2e-2) if half else (error < 1e-6)


def test_weights_may_change_within_the_block():
    weight = torch.ones(4, 4, requires_grad=True)
    with products("bfloat16", "cpu"):
        assert (torch.eye(4) @ weight).sum() == 16
        with torch.no_grad():
            weight.mul_(2)
        assert (torch.eye(4) @ weight).sum() == 32


def test_a_switch_is_as_before_after_the_last_of_blocks_that_overlap():
    changes = ["before"]
    switch = Switch(lambda: changes[-1], changes.append)
    first, second = switch("first"), switch("second")
    with first:
        with switch("inner"):
            pass
        second.__enter__()  # as of another thread
    assert changes[1:] == ["first", "inner", "first", "second", "second"]
    second.__exit__(None, None, None)
    assert changes[-1] == "before"
