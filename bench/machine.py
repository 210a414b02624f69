"""What a measurement was taken on."""

import datetime
import platform
from pathlib import Path

import torch

import sparse_engine as engine


def describe() -> str:
    """One sentence: processor, threads, instruction set, versions, date."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    versions = f"sparse-engine {engine.__version__}, torch {torch.__version__}"
    return f"{cpu}, {torch.get_num_threads()} threads, {engine.runtime.isa()}, {versions}, {datetime.date.today().isoformat()}."
