"""How a convolution slides: what callers say, as native code takes it."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import _core

Sides: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int | Sequence[int]]
ConvShape: TypeAlias = _core.Conv2dParams | _core.Conv3dParams

_AXES = {2: "two (height, width)", 3: "three (depth, height, width)"}
_PAIRS = {2: "((top, bottom), (left, right))", 3: "((front, back), (top, bottom), (left, right))"}


def native_shape(
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """The native geometry over one, two or three axes, each argument with a number for each; one axis is a row of height 1.

    Args:
        before, after: padding.
    Returns:
        Conv2dParams, of three axes Conv3dParams.
    """
    if len(kernel) == 1:
        kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        before, after = (0, *before), (0, *after)
    if len(kernel) == 2:
        return _core.Conv2dParams(kernel, stride, (*before, *after), dilation, groups)  # type: ignore[arg-type]
    plane = native_shape(kernel[1:], stride[1:], before[1:], after[1:], dilation[1:], groups)
    return _core.Conv3dParams(kernel[0], stride[0], (before[0], after[0]), dilation[0], plane)


def conv_shape(axes: int, kernel_size: Sides, stride: Sides, padding: Padding, dilation: Sides, groups: int) -> Any:
    """`native_shape` of what a caller gave, checked.

    Raises:
        ValueError: anything that is no geometry.
    """
    key = repr((axes, kernel_size, stride, padding, dilation, groups))  # unlike the values, tells 3 from 3.0 and True
    shape = _shapes.get(key)
    if shape is None:
        shape = _new_conv_shape(axes, kernel_size, stride, padding, dilation, groups)
        if len(_shapes) >= _KEPT_SHAPES:
            _shapes.clear()
        _shapes[key] = shape
    return shape


# Checking the arguments takes longer than a small convolution; a network asks for few geometries, again and again.
_KEPT_SHAPES = 256
_shapes: dict[str, ConvShape] = {}


def _new_conv_shape(axes: int, kernel_size: Sides, stride: Sides, padding: Padding, dilation: Sides, groups: int) -> ConvShape:
    kernel, steps, reach = (
        _sides(name, value, axes) for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    )
    if padding == "same":
        if any(step != 1 for step in steps):
            raise ValueError(f"padding = 'same' needs stride 1, not {stride!r}; give the padding in numbers")
        total = [d * (k - 1) for k, d in zip(kernel, reach, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = _pads(0 if padding == "valid" else padding, axes)
    before, after = zip(*pads, strict=True)
    return native_shape(kernel, steps, before, after, reach, groups)  # type: ignore[no-any-return]


def _sides(name: str, value: Sides, axes: int) -> tuple[int, ...]:
    sides = (value,) * axes if isinstance(value, int) else value
    if not isinstance(sides, (tuple, list)) or len(sides) != axes or not all(isinstance(v, int) for v in sides):
        raise ValueError(f"{name} = {value!r} must be one integer{f' or {_AXES[axes]}' if axes > 1 else ''}")
    return tuple(sides)


def _pads(padding: Padding, axes: int) -> list[tuple[int, int]]:
    """Cells before and after, axis by axis."""
    sides: Any = (padding,) * axes if isinstance(padding, int) else padding
    if axes == 1 and isinstance(sides, (tuple, list)) and len(sides) == 2:  # (before, after) of the only axis
        sides = (sides,)
    pads = []
    if isinstance(sides, (tuple, list)) and len(sides) == axes:
        pads = [(side, side) if isinstance(side, int) else side for side in sides]
    if not pads or not all(isinstance(p, (tuple, list)) and len(p) == 2 and all(isinstance(v, int) for v in p) for p in pads):
        forms = f"{_AXES[axes]}, {_PAIRS[axes]}" if axes > 1 else "two (before, after)"
        raise ValueError(f"padding = {padding!r} must be one integer, {forms}, 'same' or 'valid'")
    return [(before, after) for before, after in pads]
