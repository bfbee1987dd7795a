"""Device and precision: backbones run in bfloat16 where the hardware supports it; losses and heads in float32."""

import ctypes
import os
import platform
from contextlib import AbstractContextManager
from functools import cache
from typing import Literal

import torch

from oasis.errors import ConfigError

MALLOC_OPTIONS = {
    -4: 0,
    -1: -1,
}  # of glibc: M_MMAP_MAX, no separate mappings; M_TRIM_THRESHOLD, never trim the heap


def is_first_process() -> bool:
    """Return whether this process is the first or only one of those that share a training, on the first node."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
    return all(int(rank) == 0 for rank in ranks if rank.isdecimal())


def best_device() -> torch.device:
    """Return the GPU where torch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def find_device(name: torch.device | str) -> torch.device:
    """Return a device by its name: `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        ConfigError: no such name, or a device that this computer does not have.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise NotImplementedError("its tensors have no values")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        count = torch.cuda.device_count()
        known = ["cpu", *(f"cuda:{number}" for number in range(count))]
        raise ConfigError(f"device {str(name)!r}: not available here; known: {', '.join(known)}") from error
    return device


def best_precision(device: torch.device | str) -> Literal["bf16", "float32"]:
    """Return the fastest precision in which a device computes with hardware support.

    Example:
        >>> best_precision("cpu") in ("bf16", "float32")
        True
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if kind == "cpu":
        # Without these instructions bfloat16 is emulated; an old torch has no such checks, and they do not know
        # whether torch was restricted to AVX2.
        checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
        found = any(check() for check in checks if check is not None)
        return "bf16" if found and vector_bits() == 512 else "float32"
    return "float32"


def vector_bits() -> int:
    """Return the width in bits of the vector registers that torch uses on this CPU, 0 if unknown.

    Example:
        >>> vector_bits() in (0, 256, 512)
        True
    """
    return {"AVX2": 256, "AVX512": 512}.get(torch.backends.cpu.get_cpu_capability(), 0)


def autocast(
    device: torch.device | str, precision: Literal["auto", "bf16", "float32"] = "auto"
) -> AbstractContextManager[None]:
    """Return a context in which convolutions run in the wanted precision; `auto` is `best_precision`."""
    wanted = best_precision(device) if precision == "auto" else precision
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=wanted == "bf16")


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for the next tensors, if its C library has the option; return whether.

    By default glibc returns each tensor above 32 MiB to the system, which clears its pages again for the next one:
    a seventh of a training step on large images. The peak grows, by a tenth to a fifth.
    """
    if not _has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(option, value) == 1 for option, value in MALLOC_OPTIONS.items()]
    return all(taken)


def return_freed_memory() -> None:
    """Return freed memory to the system, if the C library is glibc, which else keeps it between what is in use.

    Without it a process that separates image after image grows by some 0.2 MB per image of 256 x 256 pixels.
    """
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
