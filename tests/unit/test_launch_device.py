"""The device layer: this machine's CPU, and a device named `npu` registered with PyTorch in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from safekeel.errors import EngineError  # noqa: E402
from safekeel.train.launch.device import (  # noqa: E402
    Device,
    find_device,
    peak_memory,
    supports_bf16,
    synchronize,
)

# A device as torch_npu registers one: a name for PrivateUse1, a module, hooks, and later its communication library. No
# monkeypatching: torch.accelerator itself answers.
FAKE_NPU = """
import json, torch
import torch.distributed as dist
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as register
from safekeel.errors import EngineError
from safekeel.train.launch.device import find_device, supports_bf16

class Npu:
    native = True
    def is_available(self): return True
    def device_count(self): return 1
    def current_device(self): return 0
    def is_bf16_supported(self): return self.native

npu = Npu()
register("npu", backend_module=npu)
try:
    find_device()
except EngineError as error:
    print(json.dumps(str(error)))
dist.Backend.register_backend("hccl", lambda *arguments: None, devices=["npu"])
for npu.native in (True, False):
    found = find_device()
    print(json.dumps([found.type, found.count, str(found.dtype), found.backend, found.memory, str(found.of(0))]))
del Npu.is_bf16_supported
print(json.dumps(supports_bf16("npu")))
"""


def test_a_device_that_registers_itself_is_used_as_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", FAKE_NPU], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    without_library, native, not_native, silent = map(json.loads, done.stdout.splitlines())
    assert "torch_npu" in without_library
    assert native == ["npu", 1, "torch.bfloat16", "hccl", None, "npu:0"]
    assert not_native == ["npu", 1, "torch.float32", "hccl", None, "npu:0"]
    assert silent is False  # a device that does not say so is not trusted with bfloat16


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_the_cpu_trains_in_float32_over_gloo() -> None:
    device = find_device()
    assert (device.type, device.dtype, device.backend) == ("cpu", torch.float32, "gloo")
    assert device.memory is not None and device.memory > 2**28
    assert str(device.of(7)) == "cpu"  # any number of processes share it
    assert peak_memory(device) is None and not supports_bf16("cpu")
    synchronize(device)


def test_more_processes_than_devices_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"2 npu device\(s\)"):
        Device("npu", 2, torch.bfloat16, "hccl", None).of(2)
