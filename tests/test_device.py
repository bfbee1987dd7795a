"""Which precision a processor is given. Under a second."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from oasis.device import autocast, best_precision, find_device, return_freed_memory
from oasis.errors import ConfigError


@pytest.mark.parametrize(
    ("avx512", "amx", "capability", "expected"),
    [
        (True, False, "AVX512", "bf16"),
        (False, True, "AVX512", "bf16"),
        (False, False, "AVX512", "float32"),
        (True, True, "AVX2", "float32"),  # of which torch was told to use no more, by ATEN_CPU_CAPABILITY
    ],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, capability: str, expected: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert best_precision("cpu") == best_precision(torch.device("cpu")) == expected


def test_a_torch_without_the_checks_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert best_precision("cpu") == "float32"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "float32")])
def test_a_gpu_that_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert best_precision("cuda") == expected


def test_other_devices_compute_in_float32() -> None:
    assert best_precision("meta") == "float32"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_convolutions_run_in_the_wanted_precision(precision: str, dtype: torch.dtype) -> None:
    with autocast("cpu", precision):
        assert torch.conv1d(torch.zeros(1, 1, 4), torch.zeros(1, 1, 3)).dtype == dtype
    assert torch.conv1d(torch.zeros(1, 1, 4), torch.zeros(1, 1, 3)).dtype == torch.float32


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x", None, "meta"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(ConfigError, match="not available here; known: cpu"):
        find_device(name)


def test_freed_memory_is_kept_where_the_c_library_can() -> None:
    code = (
        "from oasis.device import keep_freed_memory; print(keep_freed_memory())"  # for a process, not for this one
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(platform.libc_ver()[0] == "glibc")]


def test_freed_memory_is_returned_to_the_system() -> None:
    return_freed_memory()  # wherever it runs
    if platform.libc_ver()[0] == "glibc" and sys.platform == "linux":
        small = [np.ones(2**13) for _ in range(2000)]  # 128 MB on the heap
        kept = small[::100]
        before = resident()
        del small
        return_freed_memory()
        assert resident() < before - 50 * 2**20
        assert len(kept) == 20


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
