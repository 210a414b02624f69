"""How far results are from what was expected."""

import numpy as np
from numpy.typing import NDArray


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest absolute difference, relative to the largest magnitude expected; infinite where shapes or NaNs differ."""
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    if expected.size == 0 or np.isnan(expected).all():
        return 0.0
    scale = float(np.nanmax(np.abs(expected))) or 1.0
    return float(np.nanmax(np.abs(found.astype(np.float64) - expected))) / scale
