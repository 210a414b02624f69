"""Whether a model in segments computes what the whole one does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...measure.difference import difference
from ..verification import TOLERANCE

DIFFERING = 0.01  # share of whole numbers that may differ: sums that round differently swap what is almost equal


def agreement(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]], names: Sequence[str]) -> float:
    """The largest difference of an output, relative to its largest value.

    Indices and truth values may differ in one of a hundred elements, or in two: where two scores are almost equal, which is the
    first depends on how sums are rounded.
    Raises:
        ValueError: it is above 1e-4, or more indices differ; the message names the output.
    """
    worst = 0.0
    for array, right, name in zip(found, expected, names, strict=True):
        if array.shape != right.shape or array.dtype.kind != right.dtype.kind:
            raise ValueError(
                f"output {name} of the compiled model has shape {array.shape} and dtype {array.dtype}, that of the model "
                f"{right.shape} and {right.dtype}. Please report it with the model"
            )
        if right.dtype.kind == "f":
            error = difference(array, right.astype(np.float32, copy=False))
            if not error <= TOLERANCE:
                raise ValueError(
                    f"output {name} of the compiled model differs from the model's by {error:.1e} of its largest value, above "
                    f"{TOLERANCE:.0e}. Please report it with the model"
                )
            worst = max(worst, error)
        elif (count := int((array != right).sum())) > max(2, DIFFERING * right.size):
            raise ValueError(
                f"output {name} of the compiled model differs from the model's in {count} of {right.size} elements. Please "
                f"report it with the model"
            )
    return worst
