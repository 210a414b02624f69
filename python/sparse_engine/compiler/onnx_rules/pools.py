"""Pools over windows, and over all of a plane."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .products import around, flat
from .registry import Call, RefusedError, rule


def _window(c: Call) -> tuple[Tensor, list[int], list[int], list[int], list[int]]:
    """What is pooled, kernel, stride, and the padding before and after."""
    x, kernel = c.x(), [int(n) for n in c.get("kernel_shape")]
    if not 1 <= len(kernel) <= 3:
        raise RefusedError(f"over {len(kernel)} axes; one to three are covered")
    dilation = [int(n) for n in c.get("dilations", [1] * len(kernel))]
    if any(d != 1 for d in dilation):
        raise RefusedError("with dilation")
    stride = [int(n) for n in c.get("strides", [1] * len(kernel))]
    before, after = around(c, x, kernel, stride, dilation)
    if c.get("ceil_mode", 0):  # as far as the last window reaches that begins within the padded axis
        for i, size in enumerate(x.shape[2:]):
            padded = size + before[i] + after[i]
            count = -(-(padded - kernel[i]) // stride[i]) + 1
            if (count - 1) * stride[i] >= size + before[i]:
                count -= 1
            after[i] = max(after[i], (count - 1) * stride[i] + kernel[i] - size - before[i])
    return x, kernel, stride, before, after


@rule("MaxPool")
def _max_pool(c: Call) -> Tensor:
    if c.outputs > 1:
        raise RefusedError("its indices are read")
    x, kernel, stride, before, after = _window(c)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    if before == after and all(2 * n <= k for n, k in zip(before, kernel, strict=True)):
        return pool(x, kernel, stride, before)
    return pool(F.pad(x, flat(before, after), value=float("-inf")), kernel, stride)


@rule("AveragePool")
def _average_pool(c: Call) -> Tensor:
    x, kernel, stride, before, after = _window(c)
    counted = bool(c.get("count_include_pad", 0))
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    ceil = bool(c.get("ceil_mode", 0))
    if before == after and not (ceil and counted) and all(2 * n <= k for n, k in zip(before, kernel, strict=True)):
        return pool(x, kernel, stride, before, False, counted)
    # What windows hold of the plane, or of the plane with its padding, but never of what only ceil_mode adds.
    cells = torch.ones(1, 1, *x.shape[2:])
    if counted:
        given_before, given_after = around(c, x, kernel, stride, [1] * len(kernel))
        cells = F.pad(cells, flat(given_before, given_after), value=1.0)
        rest = [a - g for a, g in zip(after, given_after, strict=True)]
        cells = F.pad(cells, flat([0] * len(rest), rest))
    else:
        cells = F.pad(cells, flat(before, after))
    share = pool(cells, kernel, stride)
    return pool(F.pad(x, flat(before, after)), kernel, stride) / share


@rule("GlobalAveragePool")
def _global_average(c: Call) -> Tensor:
    return c.x().mean(tuple(range(2, c.x().ndim)), keepdim=True)


@rule("GlobalMaxPool")
def _global_max(c: Call) -> Tensor:
    return torch.amax(c.x(), tuple(range(2, c.x().ndim)), keepdim=True)
