"""Pools over windows, in one dimension and in two."""

from torch import fx

from ..graph import Size, Value
from .products import integers
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation


def _window(c: Translation, node: fx.Node, a: Bound) -> tuple[Value, tuple[int, ...]]:
    """What is pooled, and the numbers of max_pool. (N, C, W) has height 1."""
    x = c.value(a["self"])
    axes = 1 if "1d" in name_of(node) else 2
    if len(x.shape) != axes + 2:
        raise RefusedError(f"over a value of {len(x.shape)} axes; its first one must be the batch")
    made = c.shapes(node)[0] if name_of(node).endswith("indices") else c.shape(node)
    kernel = integers(a["kernel_size"], axes)
    stride = kernel if a["stride"] in (None, []) else integers(a["stride"], axes)
    before = integers(a["padding"], axes)
    # The last window decides how far the padding reaches: further with ceil_mode, less where rows are left over.
    after = tuple(
        max(0, (made[2 + i].fixed - 1) * stride[i] + kernel[i] - x.shape[2 + i].fixed - before[i]) for i in range(axes)
    )
    height: list[tuple[int, ...]] = [()] * 4 if axes == 2 else [(1,), (1,), (0,), (0,)]
    pairs = zip(height, (kernel, stride, before, after), strict=True)
    return x, tuple(n for alone, along in pairs for n in (*alone, *along))


@rule("max_pool1d", "max_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices")
def _max_pool(c: Translation, node: fx.Node, a: Bound) -> "Value | list[Value]":
    if integers(a["dilation"], 2) != (1, 1):
        raise RefusedError("with dilation")
    x, numbers = _window(c, node, a)
    if name_of(node).endswith("indices"):
        return [c.emit("max_pool", node, [x], c.shapes(node)[0], numbers=numbers)]
    return c.emit("max_pool", node, [x], numbers=numbers)


@rule("avg_pool1d", "avg_pool2d")
def _average_pool(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("divisor_override") is not None:
        raise RefusedError("with divisor_override")
    x, numbers = _window(c, node, a)
    return c.emit("average_pool", node, [x], numbers=(*numbers, int(a["count_include_pad"])))


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d")
def _adaptive_pool(c: Translation, node: fx.Node, a: Bound) -> "Value | list[Value]":
    maximum = "max" in name_of(node)
    x, shape = c.value(a["self"]), c.shapes(node)[0] if maximum else c.shape(node)
    axes = 1 if "1d" in name_of(node) else 2
    if len(x.shape) != axes + 2:
        raise RefusedError(f"over a value of {len(x.shape)} axes; its first one must be the batch")
    sizes, out = (_plane(s[2:]) for s in (x.shape, shape))
    kernel = tuple(size // n for size, n in zip(sizes, out, strict=True))
    if sizes == out:
        y = c.emit("reshape", node, [x], shape)
    elif out == (1, 1) and not maximum:
        y = c.emit("mean", node, [x], shape, numbers=(axes, 1))
    elif any(size % n for size, n in zip(sizes, out, strict=True)):
        y = c.emit("adaptive_max_pool" if maximum else "adaptive_average_pool", node, [x], shape, numbers=out)
    elif maximum:
        y = c.emit("max_pool", node, [x], shape, numbers=(*kernel, *kernel, 0, 0, 0, 0))
    else:
        y = c.emit("average_pool", node, [x], shape, numbers=(*kernel, *kernel, 0, 0, 0, 0, 0))
    return [y] if maximum else y


def _plane(sizes: tuple[Size, ...]) -> tuple[int, int]:
    return (sizes[0].fixed if len(sizes) == 2 else 1, sizes[-1].fixed)
