"""GPUs: what they must be able to do, and that nothing else is taken for one."""

import re

import pytest

from tests.refusals import refused
from xray.common.errors import DeviceError
from xray.config.run import RunnerConfig
from xray.runners import devices
from xray.runners.devices import Gpu, check_gpus, choose_backend, parse_capability


def gpus(*capabilities: tuple[int, int] | None) -> list[Gpu]:
    return [
        Gpu(f"GPU number {n}", f"gpu:{n}", capability)
        for n, capability in enumerate(capabilities)
    ]


@pytest.mark.parametrize(
    ("text", "capability"),
    [("9.0", (9, 0)), ("10.3", (10, 3)), ("gfx90a", None), ("", None), ("8", None)],
)
def test_compute_capability(text, capability):
    assert parse_capability(text) == capability


ABLE = [
    ("float32", (5, 2)),
    ("mixed_float16", (7, 0)),
    ("mixed_float16", (7, 5)),
    ("mixed_bfloat16", (8, 0)),
    ("mixed_bfloat16", (10, 0)),
    ("mixed_bfloat16", None),  # not NVIDIA's: the library will tell
]


@pytest.mark.parametrize(("precision", "capability"), ABLE)
def test_gpu_that_can(precision, capability):
    check_gpus(gpus(capability), RunnerConfig(precision=precision))


UNABLE = [
    ("mixed_float16", (6, 1), "capability 7.0 or more. Got .* with 6.1. .*=float32"),
    ("mixed_bfloat16", (7, 5), "capability 8.0 or more. .* 7.5. .*=mixed_float16"),
    ("mixed_bfloat16", (5, 2), "capability 8.0 or more. .* 5.2. .*=float32"),
]


@pytest.mark.parametrize(("precision", "capability", "message"), UNABLE)
def test_precision_that_the_gpu_lacks_is_refused(precision, capability, message):
    with refused(f"runner.precision={precision} needs a GPU of .*{message}"):
        check_gpus(gpus(capability), RunnerConfig(precision=precision))


def test_every_gpu_that_is_used_is_checked():
    runner = RunnerConfig(backend="jax", devices=2, precision="mixed_float16")
    with refused("Got GPU number 1 with 6.0"):
        check_gpus(gpus((9, 0), (6, 0)), runner)
    check_gpus(gpus((9, 0), (9, 0), (6, 0)), runner)


def test_too_few_gpus_are_a_missing_device():
    runner = RunnerConfig(backend="jax", devices=3)
    with refused("devices=3 needs as many GPUs. Got 2: GPU number 0", DeviceError):
        check_gpus(gpus((9, 0), (9, 0)), runner)


def test_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(devices.sys.modules, "keras", raising=False)
    with refused("runner.backend=jax needs the package jax, which is not installed"):
        choose_backend("jax")


def test_backend_cannot_change_once_keras_is_imported(monkeypatch):
    monkeypatch.setitem(devices.sys.modules, "keras", re)
    with pytest.raises(RuntimeError, match="give each run its own process"):
        choose_backend("jax")
