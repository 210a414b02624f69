"""A transposed convolution as a plain one with stride 1, whose channels are then moved apart.

With stride s, outputs s cells apart read neighbouring inputs through the same taps of the kernel: output s·j + r, in phase r,
reads x[j + (r + padding − dilation·k) / s] by those taps k for which that is an integer (Dumoulin, Visin, "A guide to
convolution arithmetic for deep learning", 2016). So each phase is a plain convolution over blocks j, and all phases together
are one with as many filters for each output channel as there are phases. A filter has a window over what any phase reads. Taps
that are not its own are absent from it, which a sparse product does not notice.

Nothing is computed for zeros put between inputs, and what comes out is written once more, to its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from torch import Tensor

from .. import _core
from ..matrices.arrays import float32_view, new_result
from ..matrices.conv_shape import native_shape
from ..matrices.functional import is_channels_last

_MOST_CELLS = 65536  # of a window; the native convolution takes no larger one


@dataclass(frozen=True)
class Axis:
    """One axis: which input cell a phase reads by a tap, counted from that of its block."""

    taps: tuple[tuple[tuple[int, int], ...], ...]  # by phase: (tap, cell of the window)
    first: int  # the window's first cell
    step: int  # from one of its cells to the next
    cells: int

    @staticmethod
    def of(kernel: int, stride: int, padding: int, dilation: int) -> "Axis":
        """The axis of a transposed convolution."""
        read = [
            [(k, (r + padding - dilation * k) // stride) for k in range(kernel) if (r + padding - dilation * k) % stride == 0]
            for r in range(stride)
        ]
        places = [place for phase in read for _, place in phase]
        first = min(places)
        step = gcd(*(place - first for place in places)) or 1
        taps = tuple(tuple((k, (place - first) // step) for k, place in phase) for phase in read)
        return Axis(taps, first, step, (max(places) - first) // step + 1)


class Blocks(NamedTuple):
    """What the convolution over blocks needs to know of an input's size."""

    shape: Any  # Conv2dParams or Conv3dParams
    cut: tuple[slice, ...] | None  # of the input, what is read at all; None for all
    counts: tuple[int, ...]
    output: tuple[int, ...]  # of the transposed convolution

    def read(self, x: Tensor) -> Tensor:
        """What is read of an input."""
        part: Any = x
        return x if self.cut is None else part[(..., *self.cut)]


@dataclass(frozen=True)
class Phases:
    """The geometry of a transposed convolution, a number for each axis but for `groups`."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def count(self) -> int:
        """Phases: filters for each output channel."""
        return prod(self.stride)

    def matrix(self, weight: Tensor) -> Tensor:
        """(in, out / groups, kernel...) -> (groups · phases · out / groups, in / groups, window...), in this order.

        Four neighbouring output channels stay neighbours, so that strips of a mask are strips of the matrix.
        """
        axes = _axes(self)
        inputs, rows = weight.shape[:2]
        given = weight.reshape(self.groups, inputs // self.groups, rows, *self.kernel).transpose(1, 2)
        window = tuple(axis.cells for axis in axes)
        result = given.new_zeros(self.groups, self.count, rows, inputs // self.groups, *window)
        for phase, taps in enumerate(product(*(axis.taps for axis in axes))):
            for pairs in product(*taps):
                source, target = zip(*pairs, strict=True)
                result[(slice(None), phase, slice(None), slice(None), *target)] = given[(..., *source)]
        return result.reshape(-1, inputs // self.groups, *window)

    def bias(self, bias: Tensor) -> Tensor:
        """That of the output channels, for each row of `matrix`."""
        if self.count == 1:
            return bias
        return bias.reshape(self.groups, 1, -1).expand(-1, self.count, -1).reshape(-1)

    def blocks(self, size: Sequence[int], output_padding: Sequence[int]) -> Blocks:
        """The convolution over blocks for an input of `size`.

        Raises:
            ValueError: there is none: a size or result is empty, or the window too large.
        """
        return _blocks(self, tuple(size), tuple(output_padding))

    def moved_apart(self, y: Tensor, blocks: Blocks) -> Tensor:
        """(..., groups · phases · out / groups, blocks...), float32 -> (..., out, output...) in the same memory order."""
        if self.count == 1:
            return y
        axes = len(self.stride)
        batch = y if y.dim() == axes + 2 else y.unsqueeze(0)
        size = (batch.shape[0], batch.shape[1] // self.count, *blocks.output)
        result, memory = new_result(size, True, is_channels_last(batch))
        as_volumes: Any = (slice(None), slice(None), *[None] * (3 - axes))
        stride: Any = (*[1] * (3 - axes), *self.stride)
        _core.interleave(float32_view(batch, "y")[as_volumes], self.groups, stride, memory[as_volumes])
        return result if y.dim() == axes + 2 else result[0]  # type: ignore[no-any-return]


@lru_cache(256)
def _axes(phases: Phases) -> tuple[Axis, ...]:
    sides = zip(phases.kernel, phases.stride, phases.padding, phases.dilation, strict=True)
    return tuple(Axis.of(*side) for side in sides)


@lru_cache(1024)
def _blocks(phases: Phases, size: tuple[int, ...], output_padding: tuple[int, ...]) -> Blocks:
    axes = _axes(phases)
    before, after, cut, counts, output = [], [], [], [], []
    for axis, n, k, s, p, d, extra in zip(
        axes, size, phases.kernel, phases.stride, phases.padding, phases.dilation, output_padding, strict=True
    ):
        made = s * (n - 1) + d * (k - 1) + 1 + extra - 2 * p
        blocks = -(-made // s)
        sides = -axis.first, blocks - n + axis.first + axis.step * (axis.cells - 1)
        begin, end = max(0, -sides[0]), n - max(0, -sides[1])
        if made < 1 or begin >= end:
            raise ValueError("nothing is read, or nothing made")
        before.append(max(0, sides[0]))
        after.append(max(0, sides[1]))
        cut.append(slice(begin, end))
        counts.append(blocks)
        output.append(made)
    cells = [axis.cells for axis in axes]
    if prod(cells) > _MOST_CELLS:
        raise ValueError(f"a window of {prod(cells)} cells")
    shape = native_shape(cells, [1] * len(axes), before, after, [axis.step for axis in axes], phases.groups)
    whole = all(part == slice(0, n) for part, n in zip(cut, size, strict=True))
    return Blocks(shape, None if whole else tuple(cut), tuple(counts), tuple(output))
