"""Sparse matrices of scipy and torch, read as data from a stranger.

Conversions of scipy and torch (`tocsr`, `tobsr`, `sum_duplicates`, ...) follow indices without looking at them, so a damaged
matrix makes them read and write beyond their arrays. Nothing of theirs is called here: the arrays that a matrix holds are
copied, the copies are validated, and everything else is done on these.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import is_tensor
from .base import index_array, matrix_shape

Indices = NDArray[np.int64]
FORMATS = "csr, csc, coo, bsr, dia, lil, dok"


@dataclass
class Entries:
    """What a sparse matrix stores, in any order: numbers, or blocks of `block` numbers at the place (row, col) of a block."""

    rows: Indices  # (n,), each within its side of the shape
    cols: Indices  # (n,)
    values: NDArray[Any]  # (n,) real numbers of any type, or (n, height, width)
    shape: tuple[int, int]  # in numbers
    block: tuple[int, int] = (1, 1)

    def compressed(self) -> tuple[Indices, Indices, NDArray[np.float32]]:
        """Row starts, columns and float32 values, rows and columns ascending, what shares a place added up.

        Raises:
            ValueError: a finite value does not fit float32.
        """
        rows, cols, values = self.rows, self.cols, self.values
        step = np.diff(rows)
        if not np.all((step > 0) | ((step == 0) & (np.diff(cols) > 0))):
            order = np.lexsort((cols, rows))
            rows, cols, values = rows[order], cols[order], values[order]
            first = np.concatenate([[True], (np.diff(rows) != 0) | (np.diff(cols) != 0)])
            if not first.all():
                values = _sums(values, np.flatnonzero(first))
                rows, cols = rows[first], cols[first]
        counts = np.bincount(rows, minlength=self.shape[0] // self.block[0])
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]), cols, _float32(values, rows, cols)

    def numbers(self) -> "Entries":
        """The same with a row and a column for every number, the zeros inside blocks too."""
        if self.values.ndim == 1:
            return self
        height, width = self.block
        count = len(self.values)
        rows = self.rows[:, None, None] * height + np.arange(height)[:, None]
        cols = self.cols[:, None, None] * width + np.arange(width)
        every = (count, height, width)
        return Entries(
            np.broadcast_to(rows, every).reshape(-1),
            np.broadcast_to(cols, every).reshape(-1),
            self.values.reshape(-1),
            self.shape,
        )

    def blocks(self, block: tuple[int, int]) -> "Entries":
        """The same in blocks of `block`, which must divide the shape; what shares a place is added up."""
        if self.values.ndim == 3 and self.block == block:
            return self
        height, width = block
        if self.shape[0] % height or self.shape[1] % width:
            raise ValueError(f"block = {block} does not divide the shape {self.shape}; pad the weights")
        starts, cols, values = self.numbers().compressed()
        rows = np.repeat(np.arange(self.shape[0]), np.diff(starts))
        places, place = np.unique(np.stack([rows // height, cols // width]), axis=1, return_inverse=True)
        filled = np.zeros((places.shape[1], height, width), np.float32)
        filled[place.reshape(-1), rows % height, cols % width] = values
        return Entries(places[0], places[1], filled, self.shape, block)


def scipy_entries(matrix: Any) -> Entries:
    """What a scipy sparse matrix or array of any format stores, copied and validated; scipy's own code is not trusted with it.

    Raises:
        TypeError: no scipy sparse matrix; indices that are not integers, values that are not real numbers.
        ValueError: not two dimensions, or arrays that make no matrix; the message names the entry.
    """
    kind = getattr(matrix, "format", None)
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise TypeError(f"matrix must be a scipy sparse matrix or array ({FORMATS}), not {type(matrix).__name__}")
    try:
        shape = matrix_shape(matrix.shape)
        if min(shape) < 0:
            raise ValueError(f"matrix has shape {shape}; sides are at least 0")
        return read(matrix, shape)
    except AttributeError as error:
        raise ValueError(f"matrix calls itself {kind!r} and lacks what such a matrix holds: {error}") from None


def torch_parts(tensor: Any, layout: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32], tuple[int, int]]:
    """Row starts, columns, values and shape of a tensor of `layout` ("sparse_csr" or "sparse_bsr"); not validated, not copied.

    Raises:
        TypeError: no tensor, another layout, not on the CPU, not float32.
        ValueError: a batch of matrices.
    """
    if not is_tensor(tensor):
        raise TypeError(f"tensor must be a torch tensor of layout torch.{layout}, not {type(tensor).__name__}")
    if str(tensor.layout) != f"torch.{layout}":
        raise TypeError(f"tensor has layout {tensor.layout}; it must be torch.{layout} (tensor.to_{layout}(...))")
    if tensor.device.type != "cpu":
        raise TypeError(f"tensor is on {tensor.device}; it must be on the CPU (tensor.cpu())")
    if str(tensor.dtype) != "torch.float32":
        raise TypeError(f"tensor has dtype {tensor.dtype}; it must be torch.float32 (tensor.to(torch.float32))")
    parts = (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    starts, columns, values = (part.detach().numpy() for part in parts)
    return starts, columns, values, matrix_shape(tensor.shape)


def _compressed(matrix: Any, count: int, majors: tuple[int, str], minors: tuple[int, str]) -> tuple[Indices, Indices]:
    """The major and minor index of every stored entry of `count`; what lies behind the last line's end is none.

    `majors` and `minors` are how many lines there are and what to call them.
    """
    indptr, indices = index_array(matrix.indptr, "indptr"), index_array(matrix.indices, "indices")
    _check_count("indices", len(indices), count)
    lines, name = majors
    if len(indptr) != lines + 1:
        raise ValueError(f"indptr has {len(indptr)} entries; a matrix of {lines} {name} needs {lines} + 1")
    if indptr[0] != 0:
        raise ValueError(f"indptr[0] = {indptr[0]}; it must be 0")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        i = falls[0]
        raise ValueError(f"indptr[{i + 1}] = {indptr[i + 1]} is less than indptr[{i}] = {indptr[i]}; it must never decrease")
    if indptr[-1] > count:
        raise ValueError(f"indptr[{lines}] = {indptr[-1]} but there are {count} indices; it must not exceed them")
    indices = indices[: indptr[-1]]
    _check_inside("indices", indices, *minors)
    return np.repeat(np.arange(lines), np.diff(indptr)), indices


def _csr(matrix: Any, shape: tuple[int, int]) -> Entries:
    values = _real(matrix.data, 1)
    rows, cols = _compressed(matrix, len(values), (shape[0], "rows"), (shape[1], "columns"))
    return Entries(rows, cols, values[: len(cols)], shape)


def _csc(matrix: Any, shape: tuple[int, int]) -> Entries:
    values = _real(matrix.data, 1)
    cols, rows = _compressed(matrix, len(values), (shape[1], "columns"), (shape[0], "rows"))
    return Entries(rows, cols, values[: len(cols)], shape)


def _bsr(matrix: Any, shape: tuple[int, int]) -> Entries:
    values = _real(matrix.data, 3)
    height, width = block = values.shape[1:]
    if min(block) < 1 or shape[0] % height or shape[1] % width:
        raise ValueError(f"data holds blocks of {block}, which do not divide the shape {shape}")
    lines = ((shape[0] // height, "rows of blocks"), (shape[1] // width, "columns of blocks"))
    rows, cols = _compressed(matrix, len(values), *lines)
    return Entries(rows, cols, values[: len(cols)], shape, (height, width))


def _coo(matrix: Any, shape: tuple[int, int]) -> Entries:
    rows, cols = index_array(matrix.row, "row"), index_array(matrix.col, "col")
    values = _real(matrix.data, 1)
    _check_places(("row", rows), ("col", cols), len(values), shape)
    return Entries(rows, cols, values, shape)


def _dia(matrix: Any, shape: tuple[int, int]) -> Entries:
    offsets = index_array(matrix.offsets, "offsets")
    values = _real(matrix.data, 2)
    _check_count("offsets", len(offsets), len(values))
    cols = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    rows = cols - offsets[:, None]
    stored = (values != 0) & (cols < shape[1]) & (rows >= 0) & (rows < shape[0])
    return Entries(rows[stored], cols[stored], values[stored], shape)


def _lil(matrix: Any, shape: tuple[int, int]) -> Entries:
    lines = [matrix.rows, matrix.data]
    for line, name in zip(lines, ("rows", "data"), strict=True):
        if np.shape(line) != shape[:1] or not all(isinstance(row, list) for row in line):
            raise ValueError(f"{name} must hold a list for each of the {shape[0]} rows")
    counts, others = (np.fromiter(map(len, line), np.int64, shape[0]) for line in lines)
    if not np.array_equal(counts, others):
        i = np.flatnonzero(counts != others)[0]
        raise ValueError(f"rows[{i}] has {counts[i]} entries and data[{i}] {others[i]}; they must be equally many")
    cols, values = (list(chain.from_iterable(line)) for line in lines)
    columns = index_array(cols, "rows")
    _check_inside("rows", columns, shape[1], "columns")
    return Entries(np.repeat(np.arange(shape[0]), counts), columns, _real(values, 1), shape)


def _dok(matrix: Any, shape: tuple[int, int]) -> Entries:
    items = list(matrix.items())
    places = [place for place, _ in items]
    if not all(isinstance(place, tuple) and len(place) == 2 for place in places):
        raise ValueError("every key must be a pair (row, column)")
    rows, cols = (index_array([place[axis] for place in places], "keys") for axis in (0, 1))
    values = _real([value for _, value in items], 1)
    _check_places(("keys", rows), ("keys", cols), len(values), shape)
    return Entries(rows, cols, values, shape)


_READERS = {"csr": _csr, "csc": _csc, "bsr": _bsr, "coo": _coo, "dia": _dia, "lil": _lil, "dok": _dok}


def _check_places(rows: tuple[str, Indices], cols: tuple[str, Indices], count: int, shape: tuple[int, int]) -> None:
    for (name, indices), side, lines in ((rows, shape[0], "rows"), (cols, shape[1], "columns")):
        _check_count(name, len(indices), count)
        _check_inside(name, indices, side, lines)


def _check_count(name: str, found: int, count: int) -> None:
    if found != count:
        raise ValueError(f"{name} has {found} entries and data {count}; they must be equally many")


def _check_inside(name: str, indices: Indices, side: int, lines: str) -> None:
    outside = np.flatnonzero((indices < 0) | (indices >= side))
    if len(outside):
        i = outside[0]
        raise ValueError(f"{name}[{i}] = {indices[i]} is outside [0, {side}), the {lines} of the matrix")


def _real(data: Any, rank: int) -> NDArray[Any]:
    """A copy of `data`, real numbers in an array of `rank` dimensions."""
    array = np.asarray(data)
    if array.dtype.kind == "c":
        raise TypeError(f"matrix has dtype {array.dtype}; weights are real numbers (matrix.real, or abs(matrix))")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"matrix has dtype {array.dtype}; weights are real numbers (matrix.astype('float32'))")
    if array.ndim != rank:
        raise ValueError(f"data has {array.ndim} dimensions; it needs {rank}")
    return array.copy()


def _sums(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of runs along the first axis, in float64; of truth values whether any holds, as in scipy."""
    if values.dtype.kind == "b":
        return np.logical_or.reduceat(values, starts, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.add.reduceat(values.astype(np.float64), starts, axis=0)


def _float32(values: NDArray[Any], rows: Indices, cols: Indices) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = values.astype(np.float32)
    lost = np.isinf(single) & ~np.isinf(values)
    if lost.any():
        entry = np.argwhere(lost)[0]
        place = f"({rows[entry[0]]}, {cols[entry[0]]})" if values.ndim == 1 else f"block ({rows[entry[0]]}, {cols[entry[0]]})"
        raise ValueError(f"matrix has {values[tuple(entry)]!s} at {place}, which does not fit float32; scale the matrix")
    return single
