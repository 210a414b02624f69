"""Weights ranked within each row of a matrix: of every output the same number stay, give or take one."""

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..masking.mask import Mask
from .blocks import BlockGranularity
from .granularity import Element
from .granularity_value import Granularity, Scores, Shape, matrix_of


def pick_in_rows(granularity: Granularity, scores: Scores, shape: Shape, keep: int, norm: _core.Norm) -> Mask:
    """The mask of one layer that keeps `keep` weights, or of blocks as many as fit into each row's part of them."""
    rows, columns = matrix_of(shape)
    if not isinstance(granularity, (Element, BlockGranularity)) or rows == 0 or columns == 0:
        return granularity.pick([scores], [shape], keep, norm)[0]
    counts = row_counts(keep, rows)
    if isinstance(granularity, Element):
        return Mask.from_numpy(largest_in_rows(scores().reshape(rows, columns), counts).reshape(shape))
    _, width = granularity.block(shape)
    worth = _core.score_groups(scores().reshape(-1), (rows, columns), (1, width), norm).reshape(rows, -1)
    flags = _blocks_in_rows(worth, counts, min(width, columns), columns)
    return Mask.from_numpy(np.repeat(flags, width, axis=1)[:, :columns].reshape(shape))


def row_counts(keep: int, rows: int) -> NDArray[np.int64]:
    """`keep` cut into `rows` parts that differ by at most one, the larger spread evenly."""
    counts: NDArray[np.int64] = np.diff(keep * np.arange(rows + 1, dtype=np.int64) // max(1, rows))
    return counts


def largest_in_rows(scores: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the `counts[r]` entries of row r that have the largest magnitudes.

    Of equal ones each row keeps those that follow a position of its own, so that rows which are alike, such as those of a layer
    that begins at 0, do not all keep the same columns.

    Raises:
        ValueError: NaN among the scores.
    """
    worth = np.abs(scores)
    if np.isnan(worth).any():
        raise ValueError("scores hold NaN; magnitudes must be numbers")
    rows, columns = worth.shape
    ranks = np.minimum(columns - counts, columns - 1)  # of the smallest that stays, in ascending order
    ordered = np.partition(worth, np.unique(ranks), axis=1)
    smallest = np.where(counts > 0, ordered[np.arange(rows), ranks], np.inf)[:, None]
    kept: NDArray[np.bool_] = worth > smallest
    equal = (worth == smallest) & (counts > 0)[:, None]
    missing = counts - kept.sum(axis=1)
    several = equal.sum(axis=1) > missing
    kept[~several] |= equal[~several]
    chosen = np.flatnonzero(several)
    around = (np.arange(columns) + chosen[:, None] * columns // rows) % columns
    there = np.take_along_axis(equal[chosen], around, axis=1)
    there &= np.cumsum(there, axis=1) <= missing[chosen, None]
    taken = np.zeros_like(there)
    np.put_along_axis(taken, around, there, axis=1)
    kept[chosen] |= taken
    return kept


def _blocks_in_rows(worth: NDArray[np.float32], counts: NDArray[np.int64], width: int, columns: int) -> NDArray[np.bool_]:
    """Which blocks of each row stay; the last is narrower where `width` does not divide `columns`."""
    rest = columns % width
    if rest == 0:
        return largest_in_rows(worth, counts // width)
    better = (worth[:, :-1] >= worth[:, -1:]).sum(axis=1)  # whole blocks that are taken before the narrow one
    narrow = counts - np.minimum(better, counts // width) * width >= rest
    flags = largest_in_rows(worth[:, :-1], np.minimum((counts - rest * narrow) // width, worth.shape[1] - 1))
    return np.concatenate([flags, narrow[:, None]], axis=1)
