"""Instruction set and threads."""

import importlib.metadata
import platform
from typing import Any

import numpy as np

from . import _core
from .version import __version__


def isa() -> str:
    """Name of the kernels in use: "baseline", "avx2", "avx512" or "neon".

    The strongest that this processor and operating system can run, unless `SPARSE_ENGINE_ISA` in the environment forces one.
    "avx2" and "avx512" give the same bits, the others differ by rounding.
    """
    return _core.isa()


def supported_isas() -> list[str]:
    """Kernels this machine can run, weakest first."""
    return _core.supported_isas()


def set_isa(name: str) -> None:
    """Use the kernels called `name` from now on.

    Raises:
        ValueError: no such kernels, or this machine cannot run them.
    """
    _core.set_isa(name)


def num_threads() -> int:
    """Threads a call may use.

    What `set_num_threads` or `SPARSE_ENGINE_NUM_THREADS` says, else OpenMP's number, which `torch.set_num_threads` sets.
    """
    return _core.num_threads()


def set_num_threads(n: int) -> None:
    """Use at most `n` threads from now on; 0 returns to the default. Other libraries' threads are left alone.

    Raises:
        ValueError: `n` is negative or beyond 4096.
    """
    _core.set_num_threads(n)


def show_config() -> dict[str, Any]:
    """Versions, instruction set and threads, as a dictionary of plain values (for bug reports)."""
    return {
        "sparse_engine": __version__,
        "isa": isa(),
        "supported_isas": supported_isas(),
        "num_threads": num_threads(),
        "thread_backend": _core.thread_backend(),
        "compiler": _core.compiler,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": _torch_version(),
    }


def _torch_version() -> str | None:
    """Asked of the installed files, so that nobody pays torch's import for it; None when it is not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
