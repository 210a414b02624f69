"""What only moves elements: views, permutations, parts, padding, repetition, concatenation, resizing."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import Call, Known, RefusedError, rule


@rule("Identity")
def _identity(c: Call) -> Tensor:
    return c.x()


@rule("Dropout")
def _dropout(c: Call) -> Tensor:
    if c.has(2) and bool(c.known(2, "training mode").item()):
        raise RefusedError("in training mode")
    if c.outputs > 1:
        raise RefusedError("its mask is read")
    return c.x()


@rule("Reshape")
def _reshape(c: Call) -> Tensor:
    x = c.x()
    shape = c.integers(1, "shape") if c.has(1) else [int(n) for n in c.get("shape")]
    if not c.get("allowzero", 0):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return x.reshape(shape)


@rule("Flatten")
def _flatten(c: Call) -> Tensor:
    x, axis = c.x(), c.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1) if axis != 1 else x.flatten(1)


@rule("Squeeze")
def _squeeze(c: Call) -> Tensor:
    x, axes = c.x(), c.listed("axes", 1, "axes")
    dropped = [i for i in range(x.ndim) if x.shape[i] == 1] if axes is None else [a % x.ndim for a in axes]
    return x.reshape([n for i, n in enumerate(x.shape) if i not in dropped])


@rule("Unsqueeze")
def _unsqueeze(c: Call) -> Tensor:
    x, axes = c.x(), c.listed("axes", 1, "axes") or []
    rank = x.ndim + len(axes)
    shape = list(x.shape)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    return x.reshape(shape)


@rule("Transpose")
def _transpose(c: Call) -> Tensor:
    return c.x().permute(c.get("perm", list(range(c.x().ndim))[::-1]))


@rule("Concat")
def _concat(c: Call) -> Tensor:
    parts = [c.x(i) for i in range(len(c.inputs))]
    return torch.cat([p for p in parts if p.numel() > 0 or p.ndim > 1] or parts, c.get("axis", 1))


@rule("Split")
def _split(c: Call) -> list[Tensor]:
    x, axis = c.x(), c.get("axis", 0)
    sizes = c.listed("split", 1, "sizes")
    if sizes is None:
        each = -(-x.shape[axis] // c.get("num_outputs", c.outputs))
        sizes = [min(each, x.shape[axis] - start) for start in range(0, x.shape[axis], each)]
    return list(torch.split(x, sizes, axis))


@rule("Slice")
def _slice(c: Call) -> Tensor:
    x = c.x()
    starts, ends = (c.listed(name, i, name) for i, name in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        raise RefusedError("without starts or ends")
    axes = c.listed("axes", 3, "axes") or list(range(len(starts)))
    steps = c.listed("steps", 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        begin, stop, step = slice(start, end, step).indices(x.shape[axis])
        if step < 0:
            x = x.index_select(axis, torch.arange(begin, stop, step))
        elif begin > 0 or stop < x.shape[axis] or step > 1:
            cut = [slice(None)] * x.ndim
            cut[axis] = slice(begin, max(begin, stop), step)
            x = x[tuple(cut)]
    return x


@rule("Gather")
def _gather(c: Call) -> Tensor:
    x, axis = c.x(), c.get("axis", 0)
    axis %= x.ndim
    if not isinstance(c.inputs[1], Known):
        if axis != 0 or not isinstance(c.inputs[0], Known):
            raise RefusedError("by computed numbers along another axis than the first of a constant")
        return F.embedding(c.x(1), x) if x.ndim == 2 else x[c.x(1)]
    indices = c.known(1, "indices")
    if indices.ndim == 0:
        return x.select(axis, int(indices))
    flat = np.where(indices < 0, indices + x.shape[axis], indices).reshape(-1).astype(np.int64)
    made = x.index_select(axis, torch.from_numpy(flat))
    return made.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@rule("Expand")
def _expand(c: Call) -> Tensor:
    x, shape = c.x(), c.integers(1, "shape")
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape)))


@rule("Tile")
def _tile(c: Call) -> Tensor:
    return c.x().repeat(c.integers(1, "repeats"))


@rule("Pad")
def _pad(c: Call) -> Tensor:
    x = c.x()
    pads = c.listed("pads", 1, "pads") or c.get("paddings")
    assert pads is not None
    axes = [a % x.ndim for a in (c.integers(3, "axes") if c.has(3) else range(x.ndim))]
    number = float(c.known(2, "value").item()) if c.has(2) else float(c.get("value", 0.0))
    around = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    mode = c.text("mode", "constant")
    if mode == "constant":
        flat = [n for axis in range(x.ndim - 1, -1, -1) for n in around.get(axis, (0, 0))]
        return F.pad(x, flat, value=number)
    for axis, (before, after) in around.items():
        if before or after:
            x = x.index_select(axis, torch.from_numpy(_mirrored(x.shape[axis], before, after, mode)))
    return x


def _mirrored(length: int, before: int, after: int, mode: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """The elements of an axis with what is filled in around it."""
    if mode not in ("reflect", "edge", "wrap") or before < 0 or after < 0:
        raise RefusedError(f"in mode {mode!r} by {before} and {after}")
    padded: Any = np.pad  # numpy's types ask for a literal mode
    made: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = padded(np.arange(length), (before, after), mode)
    return made


@rule("DepthToSpace")
def _depth_to_space(c: Call) -> Tensor:
    x, r = c.x(), c.get("blocksize")
    n, channels, height, width = x.shape
    if c.text("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, r)
    apart = x.reshape(n, r, r, channels // r**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(n, channels // r**2, height * r, width * r)


@rule("SpaceToDepth")
def _space_to_depth(c: Call) -> Tensor:
    x, r = c.x(), c.get("blocksize")
    n, channels, height, width = x.shape
    apart = x.reshape(n, channels, height // r, r, width // r, r)
    if c.text("mode", "DCR") == "CRD":
        return apart.permute(0, 1, 3, 5, 2, 4).reshape(n, channels * r**2, height // r, width // r)
    apart = apart.permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, channels * r**2, height // r, width // r)


@rule("Upsample", "Resize")
def _resize(c: Call) -> Tensor:
    x = c.x()
    scales, sizes = _scales_and_sizes(c, x)
    mode = c.text("mode", "nearest")
    coordinates = c.text("coordinate_transformation_mode", "half_pixel" if c.op == "Resize" and c.opset > 10 else "asymmetric")
    if all(new == old for old, new in zip(x.shape, sizes, strict=True)):
        return x
    if coordinates == "tf_crop_and_resize" or c.get("antialias", 0) or mode not in ("nearest", "linear"):
        raise RefusedError(f"mode {mode!r} with coordinates {coordinates!r}; nearest and linear without cropping are covered")
    for axis, (old, new, scale) in enumerate(zip(x.shape, sizes, scales, strict=True)):
        if old == new:
            continue
        where = _coordinates(old, new, scale, coordinates)
        x = _nearest(c, x, axis, where) if mode == "nearest" else _between(x, axis, where)
    return x


def _scales_and_sizes(c: Call, x: Tensor) -> tuple[list[float], list[int]]:
    """How much longer each axis becomes, and how long."""
    index = 2 if c.op == "Resize" and c.opset > 10 else 1
    scales = [float(s) for s in c.known(index, "scales").reshape(-1)] if c.has(index) else []
    scales = scales or [float(s) for s in c.get("scales", [])]
    axes = [a % x.ndim for a in c.get("axes", range(x.ndim))]
    every_scale, every_size = [1.0] * x.ndim, list(x.shape)
    if scales:
        for axis, scale in zip(axes, scales, strict=True):
            every_scale[axis], every_size[axis] = scale, int(np.floor(x.shape[axis] * scale))
    else:
        wanted = c.integers(3, "sizes")
        policy = c.text("keep_aspect_ratio_policy", "stretch")
        ratios = [n / x.shape[axis] for axis, n in zip(axes, wanted, strict=True)]
        if policy != "stretch":
            one = (min if policy == "not_larger" else max)(ratios)
            ratios = [one] * len(ratios)
            wanted = [int(np.floor(x.shape[axis] * one + 0.5)) for axis in axes]
        for axis, n, ratio in zip(axes, wanted, ratios, strict=True):
            every_scale[axis], every_size[axis] = ratio, n
    return every_scale, every_size


def _coordinates(old: int, new: int, scale: float, mode: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Where each element of the new axis lies on the old one."""
    at = np.arange(new, dtype=np.float64)
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners":
        return at * (old - 1) / (old * scale - 1) if new > 1 else at * 0
    if mode == "pytorch_half_pixel":
        return (at + 0.5) / scale - 0.5 if new > 1 else at * 0
    if mode == "half_pixel_symmetric":
        return old / 2 * (1 - new / (scale * old)) + (at + 0.5) / scale - 0.5
    if mode == "half_pixel":
        return (at + 0.5) / scale - 0.5
    raise RefusedError(f"with coordinates {mode!r}")


def _nearest(c: Call, x: Tensor, axis: int, where: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Tensor:
    rounding = c.text("nearest_mode", "round_prefer_floor" if c.op == "Resize" and c.opset > 10 else "floor")
    shifted = {"round_prefer_floor": np.ceil(where - 0.5), "round_prefer_ceil": np.floor(where + 0.5)}
    shifted |= {"floor": np.floor(where), "ceil": np.ceil(where)}
    chosen = np.clip(shifted[rounding], 0, x.shape[axis] - 1).astype(np.int64)
    times, rest = divmod(len(chosen), x.shape[axis])
    if rest == 0 and np.array_equal(chosen, np.repeat(np.arange(x.shape[axis]), times)):
        kept = list(x.shape)
        apart = x.unsqueeze(axis + 1).expand(*kept[: axis + 1], times, *kept[axis + 1 :])
        return apart.reshape(*kept[:axis], len(chosen), *kept[axis + 1 :])
    return x.index_select(axis, torch.from_numpy(chosen))


def _between(x: Tensor, axis: int, where: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Tensor:
    """Each new element is a sum of two neighbours: a product with a matrix of two numbers a row."""
    old = x.shape[axis]
    where = np.clip(where, 0, old - 1)
    low = np.clip(np.floor(where).astype(np.int64), 0, old - 1)
    high, part = np.minimum(low + 1, old - 1), where - low
    matrix = np.zeros((len(where), old), np.float32)
    np.add.at(matrix, (np.arange(len(where)), low), 1 - part)
    np.add.at(matrix, (np.arange(len(where)), high), part)
    weight = torch.from_numpy(matrix)
    return F.linear(x.movedim(axis, -1), weight).movedim(-1, axis)
