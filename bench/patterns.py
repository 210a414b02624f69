"""Which weights are pruned: really pruned networks when their patterns are at hand, else rows as uneven as theirs."""

import functools
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parents[2] / "shared" / "data" / "dlmc_subset.npz"


@functools.cache
def _collection() -> dict[tuple[int, int, float], NDArray[np.uint8]]:
    """Packed patterns of the Deep Learning Matrix Collection by rows, columns and sparsity; none where the file is missing."""
    if not DATA.exists():
        return {}
    with np.load(DATA) as arrays:
        found = {}
        for i, entry in enumerate(json.loads(str(arrays["index"]))):
            sparsity = float(entry["name"].split("/")[2])
            found.setdefault((entry["rows"], entry["cols"], sparsity), arrays[f"mask{i}"])
        return found


def source() -> str:
    """Where patterns of `pruned_pattern` come from, for the head of a table."""
    return (
        "patterns of pruned networks (DLMC) where one of the size exists, else random" if _collection() else "random patterns"
    )


def pruned_pattern(rows: int, cols: int, sparsity: float) -> NDArray[np.bool_]:
    """Which weights of a rows × cols matrix stay.

    A pattern of a network pruned by magnitude when there is one of this size and sparsity. Otherwise exactly
    round(sparsity · rows · cols) weights go; the rows' shares are log-normal with a deviation of 0.3 of the mean, which is what
    the collection's matrices show.
    """
    packed = _collection().get((rows, cols, sparsity))
    if packed is not None:
        return np.unpackbits(packed)[: rows * cols].reshape(rows, cols).astype(bool)
    generator = np.random.default_rng(rows * cols)
    scores = generator.random((rows, cols)) / generator.lognormal(0, 0.3, (rows, 1))
    keep = rows * cols - round(sparsity * rows * cols)
    pattern = np.zeros(rows * cols, bool)
    pattern[np.argpartition(scores.ravel(), keep - 1)[:keep]] = True
    return pattern.reshape(rows, cols)
