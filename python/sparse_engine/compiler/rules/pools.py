"""Pools over windows, in one dimension to three."""

from torch import fx

from ..graph import Shape, Size, Value
from .products import integers
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation

Window = tuple[int, int, int, int]  # along one axis: kernel, stride, padding before and after
_WHOLE: Window = (1, 1, 0, 0)


def _axes(node: fx.Node, x: Value) -> int:
    """Over how many axes a pool goes."""
    axes = next(axes for axes in (1, 2, 3) if f"{axes}d" in name_of(node))
    if len(x.shape) != axes + 2:
        raise RefusedError(f"over a value of {len(x.shape)} axes; its first one must be the batch")
    return axes


def _made(c: Translation, node: fx.Node) -> Shape:
    """The shape of what is pooled, also where indices come with it."""
    val = node.meta["val"]
    return c.shapes(node)[0] if isinstance(val, (list, tuple)) else c.shape(node)


def _windows(c: Translation, node: fx.Node, a: Bound) -> tuple[Value, list[Window]]:
    """What is pooled, and the windows along each axis."""
    x = c.value(a["self"])
    axes = _axes(node, x)
    kernel = integers(a["kernel_size"], axes)
    stride = kernel if a["stride"] in (None, []) else integers(a["stride"], axes)
    before = integers(a["padding"], axes)
    # The last window decides how far the padding reaches: further with ceil_mode, less where rows are left over.
    sizes = zip(x.shape[2:], _made(c, node)[2:], kernel, stride, before, strict=True)
    return x, [(k, s, b, max(0, (made.fixed - 1) * s + k - size.fixed - b)) for size, made, k, s, b in sizes]


def _pooled(c: Translation, node: fx.Node, op: str, x: Value, windows: list[Window], extra: tuple[int, ...] = ()) -> Value:
    """One after another, the plane and the depth of a volume; (N, C, W) has height 1."""
    shape = _made(c, node)
    given = None if shape == c.shape(node) else shape

    def numbers(height: Window, width: Window) -> tuple[int, ...]:
        return (*(n for pair in zip(height, width, strict=True) for n in pair), *extra)

    if len(windows) < 3:
        height, width = windows if len(windows) == 2 else (_WHOLE, windows[0])
        return c.emit(op, node, [x], given, numbers=numbers(height, width))
    along, height, width = windows
    y = x
    if (height, width) != (_WHOLE, _WHOLE):
        y = c.emit(op, node, [_planes(c, node, x)], (*_planes_shape(x)[:2], *shape[3:]), numbers=numbers(height, width))
    if along != _WHOLE:
        rows = _rows(c, node, y, x.shape, shape)
        y = c.emit(op, node, [rows], (*rows.shape[:2], shape[2], rows.shape[3]), numbers=numbers(along, _WHOLE))
    return c.copied(node, x) if y is x else c.view(node, y, given)


def _planes_shape(x: Value) -> Shape:
    batch, channels, depth, *plane = x.shape
    if channels.per_item or depth.per_item:
        raise RefusedError("over a depth that is not always the same")
    return (batch, Size(channels.fixed * depth.fixed), *plane)


def _planes(c: Translation, node: fx.Node, x: Value) -> Value:
    """A volume (N, C, D, H, W) with its slices as channels."""
    return c.view(node, x, _planes_shape(x))


def _rows(c: Translation, node: fx.Node, x: Value, before: Shape, after: Shape) -> Value:
    """A volume with its slices as rows, (N, C, D, H · W), its planes as large as `after` has them."""
    return c.view(node, x, (*before[:3], Size(after[3].fixed * after[4].fixed)))


@rule(*(f"max_pool{axes}d{indices}" for axes in (1, 2, 3) for indices in ("", "_with_indices")))
def _max_pool(c: Translation, node: fx.Node, a: Bound) -> "Value | list[Value]":
    if set(integers(a["dilation"], 3)) != {1}:
        raise RefusedError("with dilation")
    x, windows = _windows(c, node, a)
    y = _pooled(c, node, "max_pool", x, windows)
    return [y] if name_of(node).endswith("indices") else y


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _average_pool(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("divisor_override") is not None:
        raise RefusedError("with divisor_override")
    x, windows = _windows(c, node, a)
    return _pooled(c, node, "average_pool", x, windows, (int(a["count_include_pad"]),))


@rule(*(f"adaptive_{kind}_pool{axes}d" for kind in ("avg", "max") for axes in (1, 2, 3)))
def _adaptive_pool(c: Translation, node: fx.Node, a: Bound) -> "Value | list[Value]":
    maximum = "max" in name_of(node)
    x, shape = c.value(a["self"]), _made(c, node)
    axes = _axes(node, x)
    sizes, out = ([size.fixed for size in s[2:]] for s in (x.shape, shape))
    op = "max_pool" if maximum else "average_pool"
    if sizes == out:
        y = c.emit("reshape", node, [x], shape)
    elif set(out) == {1} and not maximum:
        y = c.emit("mean", node, [x], shape, numbers=(axes, 1))
    elif not any(size % n for size, n in zip(sizes, out, strict=True)):
        windows = [(size // n, size // n, 0, 0) for size, n in zip(sizes, out, strict=True)]
        y = _pooled(c, node, op, x, windows, () if maximum else (0,))
    else:
        y = _unevenly(c, node, f"adaptive_{'max' if maximum else 'average'}_pool", x, shape)
    return [y] if maximum else y


def _unevenly(c: Translation, node: fx.Node, op: str, x: Value, shape: Shape) -> Value:
    out = tuple(size.fixed for size in shape[2:])
    if len(out) < 3:
        return c.emit(op, node, [x], shape, numbers=(1, *out)[-2:])
    plane = c.emit(op, node, [_planes(c, node, x)], (*_planes_shape(x)[:2], *shape[3:]), numbers=out[1:])
    rows = _rows(c, node, plane, x.shape, shape)
    y = c.emit(op, node, [rows], (*rows.shape[:2], shape[2], rows.shape[3]), numbers=(out[0], out[1] * out[2]))
    return c.view(node, y, shape)
