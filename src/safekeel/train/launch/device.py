"""What this machine trains on: device, number format, process-group backend, memory.

Everything is asked through `torch.accelerator`, so that a device which registers itself with PyTorch (CUDA, ROCm, XPU,
MPS, Ascend's NPU through `torch_npu`, which PyTorch loads by its entry point) needs no code here. Untested on NPU: the
tests run this file against a fake device named `npu`, which proves the choices, not the hardware.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from safekeel.errors import EngineError

CPU_BACKEND = "gloo"


@dataclass(frozen=True)
class Device:
    """The kind of device of this machine; `memory` in bytes, of one device (None where it cannot be asked)."""

    type: str
    count: int
    dtype: torch.dtype
    """Number format of the forward and backward pass; master weights and optimizer are float32 everywhere."""
    backend: str
    """Communication library of `torch.distributed`."""
    memory: int | None

    @property
    def is_cpu(self) -> bool:
        return self.type == "cpu"

    def of(self, local_rank: int) -> torch.device:
        """The device of one process on this machine.

        Raises:
            EngineError: there are more processes than devices.
        """
        if self.is_cpu:
            return torch.device("cpu")
        if local_rank >= self.count:
            raise EngineError(
                f"process {local_rank} of this machine has no device: {self.count} {self.type} device(s) are visible. "
                f"Start at most {self.count} processes per machine."
            )
        return torch.device(self.type, local_rank)


def find_device() -> Device:
    """The device this machine trains on; the CPU where there is no accelerator.

    Raises:
        EngineError: the accelerator has registered no communication library.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return Device("cpu", 1, torch.float32, CPU_BACKEND, _host_memory())
    return Device(
        type=accelerator.type,
        count=torch.accelerator.device_count(),
        dtype=torch.bfloat16 if supports_bf16(accelerator.type) else torch.float32,
        backend=_backend(accelerator.type),
        memory=_device_memory(),
    )


def supports_bf16(device_type: str) -> bool:
    """Whether bfloat16 is native. Never on CPU: measured slower there than float32 (137 against 243 GFLOP/s in matrix
    products on a Xeon with avx512_bf16), and float16 would need loss scaling, which no stage here does."""
    if device_type == "cpu":
        return False
    supported = getattr(torch.get_device_module(device_type), "is_bf16_supported", None)
    if supported is None:
        return False
    try:
        return bool(supported(including_emulation=False))  # CUDA: an emulated bfloat16 is slower than float32
    except TypeError:  # other devices take no argument
        return bool(supported())


@contextmanager
def process_group(device: Device, local_rank: int, timeout_seconds: float) -> Iterator[torch.device]:
    """Join torchrun's process group and leave it again; gives this process' device.

    A collective that waits longer than the timeout fails on every process, so that no rank waits for a dead one.
    """
    mine = device.of(local_rank)
    if not device.is_cpu:
        torch.accelerator.set_device_index(local_rank)
    # The CPU's library beside the accelerator's: gathering and offloading to host memory also communicate.
    backend = device.backend if device.is_cpu else f"cpu:{CPU_BACKEND},{device.type}:{device.backend}"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    try:
        yield mine
    finally:
        dist.destroy_process_group()


def peak_memory(device: Device) -> int | None:
    """Most bytes PyTorch held on this process' accelerator since `reset_peak_memory`; None on CPU."""
    return None if device.is_cpu else int(torch.accelerator.max_memory_allocated())


def reset_peak_memory(device: Device) -> None:
    """Forget the peak so far."""
    if not device.is_cpu:
        torch.accelerator.reset_peak_memory_stats()


def synchronize(device: Device) -> None:
    """Wait for the queued work of this process' device; the CPU has no queue."""
    if not device.is_cpu:
        torch.accelerator.synchronize()


def _backend(device_type: str) -> str:
    try:
        return str(dist.get_default_backend_for_device(device_type))
    except ValueError as error:
        raise EngineError(
            f"the accelerator {device_type!r} has registered no communication library with torch.distributed; install "
            "its PyTorch extension (torch_npu for Ascend) in the version of this PyTorch."
        ) from error


def _device_memory() -> int | None:
    try:
        return int(torch.accelerator.get_memory_info()[1])
    except (RuntimeError, AttributeError, NotImplementedError):  # not every device can be asked
        return None


def _host_memory() -> int | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
