"""Rows and columns of a kernel that lie in the padding wherever the window stands go, as in wide dilation on a small plane.

DeepLab's rates of 24 and 36 leave the middle cell alone on a plane of 16 × 16, and a plane without their padding is narrow.
"""

import numpy as np

from ..graph import Array, Graph, Node


def crop_kernels(graph: Graph) -> None:
    """Make kernels of convolutions as small as the plane lets them be; results stay, as padding is 0."""
    cropped: dict[tuple[int, ...], Array] = {}  # shared weights stay shared
    for node in graph:
        if node.op == "conv2d":
            _crop(node, cropped)


def _crop(node: Node, cropped: dict[tuple[int, ...], Array]) -> None:
    numbers, weight = list(node.numbers), node.weight
    assert weight is not None
    kernel = (numbers[0], numbers[1])
    kept = []
    for axis in range(2):
        size, outputs = (1, 1) if axis == 0 and len(node.output.shape) == 3 else _sizes(node, axis)
        size_of, stride, before, after, dilation = (numbers[i + axis] for i in (0, 2, 4, 6, 8))
        first, last = _live(size_of, stride, before, dilation, size, outputs)
        while before - first * dilation < 0:
            first -= 1
        while after - (size_of - 1 - last) * dilation < 0:
            last += 1
        kept.append((first, last + 1))
        numbers[axis] = last + 1 - first
        numbers[4 + axis] = before - first * dilation
        numbers[6 + axis] = after - (size_of - 1 - last) * dilation
    if tuple(numbers) == tuple(node.numbers):
        return
    (top, bottom), (left, right) = kept
    key = (id(weight), top, bottom, left, right)
    if key not in cropped:
        cells = weight.reshape(len(weight), -1, *kernel)[:, :, top:bottom, left:right]
        cropped[key] = np.ascontiguousarray(cells).reshape(len(weight), -1)
    node.weight, node.numbers = cropped[key], tuple(numbers)


def _sizes(node: Node, axis: int) -> tuple[int, int]:
    """Of what is read and of the result, along an axis of the plane."""
    return node.inputs[0].shape[axis - 2].fixed, node.output.shape[axis - 2].fixed


def _live(kernel: int, stride: int, before: int, dilation: int, size: int, outputs: int) -> tuple[int, int]:
    """The first and the last cell along an axis that some window puts on the plane; all of them where there is none."""
    live = [
        cell
        for cell in range(kernel)
        if any(0 <= output * stride + cell * dilation - before < size for output in range(outputs))
    ]
    return (live[0], live[-1]) if live else (0, kernel - 1)
