"""What onnx's reference implementation does not know of constants, in numpy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Sequence["NDArray[Any] | None"]


def _dequantized(inputs: Arrays, attributes: Mapping[str, Any]) -> NDArray[np.float32]:
    """(x − zero point) · scale; both are numbers, or one for each element of an axis."""
    x, scale = inputs[0], inputs[1]
    assert x is not None
    assert scale is not None
    zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros(scale.shape, x.dtype)
    if attributes.get("block_size", 0):
        axis, size = attributes.get("axis", 1), attributes["block_size"]
        scale, zero = (np.repeat(a, size, axis).take(range(x.shape[axis]), axis) for a in (scale, zero))
    elif scale.ndim == 1 and scale.size > 1:
        shape = [1] * x.ndim
        shape[attributes.get("axis", 1)] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    made: NDArray[np.float32] = (x.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return made


def _gathered(inputs: Arrays, attributes: Mapping[str, Any]) -> NDArray[Any]:
    """x[…, indices[i], …] along an axis; the reference takes at most 64 rows."""
    x, indices = inputs[0], inputs[1]
    assert x is not None
    assert indices is not None
    axis = attributes.get("axis", 0) % x.ndim
    part = x[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(indices.shape))]
    made: NDArray[Any] = np.take_along_axis(part, np.where(indices < 0, indices + x.shape[axis], indices), axis)
    return made


CONSTANTS: dict[str, Callable[[Arrays, Mapping[str, Any]], NDArray[Any]]] = {
    "DequantizeLinear": _dequantized,
    "GatherElements": _gathered,
}
