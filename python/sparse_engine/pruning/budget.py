"""How many weights stay, and which: budget and scope of a Spec, resolved over the selected layers."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..masking.encoding import stored_bytes
from ..masking.mask import Mask
from .granularity_value import Granularity, Scores, Shape
from .rows import pick_in_rows
from .spec import Spec, of_layer

FLOOR = 0.1  # of a layer's groups: stays where such layers are ranked together, if the budget allows


@dataclass(frozen=True)
class Candidates:
    """The selected layers, as far as choosing goes."""

    names: list[str]
    scores: list[Scores]
    shapes: list[Shape]
    granularity: Granularity
    norm: _core.Norm
    uses: list[float] | None = None  # how often a call of the model multiplies by each weight of a layer
    held: list[int] | None = None  # of each layer, weights that may stay at most: those that earlier pruning left
    by_row: Sequence[bool] = ()  # whether each layer is ranked within its rows; of none where it is empty
    relative: bool = False  # layers that are ranked together are compared relative to their means

    @property
    def sizes(self) -> list[int]:
        """Weights of each layer."""
        return [math.prod(shape) for shape in self.shapes]

    def pick(self, layers: Sequence[int], keep: int) -> list[Mask]:
        """Masks of some of the layers, ranked together, or of one within its rows."""
        if len(layers) == 1 and self.by_row and self.by_row[layers[0]]:
            return [pick_in_rows(self.granularity, self.scores[layers[0]], self.shapes[layers[0]], keep, self.norm)]
        scores = [self._relative(self.scores[i]) if self.relative and len(layers) > 1 else self.scores[i] for i in layers]
        return self.granularity.pick(scores, [self.shapes[i] for i in layers], keep, self.norm)

    def _relative(self, scores: Scores) -> Scores:
        """Scores divided by the layer's mean, which a factor on the whole layer does not change."""

        def divided() -> NDArray[Any]:
            flat = scores().reshape(-1)
            mean = _core.score_groups(flat, (1, len(flat)), (1, len(flat)), self.norm)[0] if len(flat) else 0
            return flat / mean if 0 < mean < np.inf else flat

        return divided


def choose(spec: Spec, found: Candidates) -> list[Mask]:
    """A mask for each layer.

    Raises:
        ValueError: a budget that cannot be met.
    """
    found = replace(found, relative=spec.granularity.relative_dims > 0)
    if spec.macs is not None:
        assert found.uses is not None
        uses = found.uses
        return _largest_within(
            "macs", spec.macs, spec, found, lambda masks: sum(m.kept * u for m, u in zip(masks, uses, strict=True))
        )
    if spec.bytes is not None:
        return _largest_within("bytes", spec.bytes, spec, found, lambda masks: sum(map(stored_bytes, masks)))
    return _ranked(spec, found, _within_held(spec, found, _counts(spec, found)))


def _within_held(spec: Spec, found: Candidates, counts: list[int]) -> list[int]:
    """No more than earlier pruning left, in layers that are ranked together as a whole."""
    if found.held is not None:
        for layers in _ranked_together(spec, found.names):
            if sum(counts[i] for i in layers) > sum(found.held[i] for i in layers):
                for i in layers:
                    counts[i] = found.held[i]
    return counts


def _ranked(spec: Spec, found: Candidates, counts: list[int]) -> list[Mask]:
    masks: list[Any] = [None] * len(counts)
    for layers in _ranked_together(spec, found.names):
        for layer, mask in zip(layers, _within_bounds(spec, found, layers, sum(counts[i] for i in layers)), strict=True):
            masks[layer] = mask
    return masks


def _ranked_together(spec: Spec, names: list[str]) -> list[list[int]]:
    everything = list(range(len(names)))
    if spec.scope == "global":
        return [everything]
    if spec.scope in (None, "layer", "row"):
        return [[i] for i in everything]
    assert spec.scope is not None
    together: dict[Any, list[int]] = {}
    for i, name in enumerate(names):
        pattern = next((p for p in spec.scope if fnmatchcase(name, p)), None)
        together.setdefault(i if pattern is None else pattern, []).append(i)
    for pattern in spec.scope:
        if pattern not in together:
            raise ValueError(f"scope: pattern {pattern!r} matches no selected layer; they are: {', '.join(names)}")
    return list(together.values())


def _bounds(spec: Spec, found: Candidates) -> tuple[list[int], list[int]]:
    """The least and the largest number of weights that may stay in each layer."""
    named = list(zip(found.names, found.sizes, strict=True))
    least = [math.ceil(of_layer(spec.min_density, name, 0.0) * size) for name, size in named]
    most = [math.floor(of_layer(spec.max_density, name, 1.0) * size) for name, size in named]
    if found.held is not None:
        most = [min(bound, held) for bound, held in zip(most, found.held, strict=True)]
        least = [min(bound, held) for bound, held in zip(least, found.held, strict=True)]
    for name, low, high in zip(found.names, least, most, strict=True):
        if low > high:
            raise ValueError(f"min_density exceeds max_density for layer {name!r}")
    return least, most


def _within_bounds(spec: Spec, found: Candidates, layers: list[int], keep: int) -> list[Mask]:
    """Masks of layers that are ranked together, none of them beyond its bounds."""
    least, most = _bounds(spec, found)
    if spec.min_density == 0:
        floor = [_floor(shape[: spec.granularity.relative_dims], shape) for shape in found.shapes]
        if found.relative and len(layers) > 1 and sum(floor[i] for i in layers) <= keep:
            least = [min(low, high) for low, high in zip(floor, most, strict=True)]
        elif spec.max_density == 1:
            return found.pick(layers, keep)
    if not sum(least[i] for i in layers) <= keep <= sum(most[i] for i in layers):
        raise ValueError(
            f"{keep} of {sum(found.sizes[i] for i in layers)} weights are to stay in "
            f"{', '.join(found.names[i] for i in layers)}, but min_density and max_density allow "
            f"{sum(least[i] for i in layers)} to {sum(most[i] for i in layers)}"
        )
    masks: dict[int, Mask] = {}

    def ranked(free: list[int], left: int) -> list[int]:
        masks.update(zip(free, found.pick(free, left), strict=True))
        return [masks[i].kept for i in free]

    for i, count in _bounded(layers, keep, least, most, ranked).items():
        masks[i] = found.pick([i], count)[0]
    return [masks[i] for i in layers]


def _floor(groups: Shape, shape: Shape) -> int:
    """Weights of the least number of groups of a layer, their number given by its first dimensions."""
    count = math.prod(groups)
    return math.ceil(FLOOR * count) * (math.prod(shape) // count) if count else 0


def _bounded(
    layers: Sequence[int], keep: int, least: list[int], most: list[int], share: Callable[[list[int], int], list[int]]
) -> dict[int, int]:
    """`share` gives each of some layers its part of a number; those whose part is beyond their bounds get the bound, and the
    others share the rest anew. Returns what the bounds decided."""
    fixed: dict[int, int] = {}
    while free := [i for i in layers if i not in fixed]:
        parts = dict(zip(free, share(free, keep - sum(fixed.values())), strict=True))
        low = {i: least[i] for i, part in parts.items() if part < least[i]}
        high = {i: most[i] for i, part in parts.items() if part > most[i]}
        if not low and not high:
            break
        # What one side takes away the other may need: the larger side first.
        missing = sum(bound - parts[i] for i, bound in low.items())
        fixed |= low if missing >= sum(parts[i] - bound for i, bound in high.items()) else high
    return fixed


def _largest_within(name: str, budget: int, spec: Spec, found: Candidates, cost: Callable[[list[Mask]], float]) -> list[Mask]:
    """Masks that keep as many weights as cost no more than `budget`, by bisection: each weight more costs more."""
    sizes = found.sizes
    lower, upper = _bounds(spec, found)

    def masks_of(keep: int) -> list[Mask]:
        return _ranked(spec, found, _split(keep, sizes, lower, upper))

    least, most = sum(lower), sum(upper)
    best = masks_of(least)
    if (lowest := cost(best)) > budget:
        raise ValueError(f"{name} = {budget} cannot be met: {lowest:.0f} are left when {least} weights stay")

    def exceeds(keep: int) -> bool:
        nonlocal best
        masks = masks_of(keep)
        if cost(masks) > budget:
            return True
        best = masks  # what fits is asked for in rising order
        return False

    bisect_left(range(least + 1, most + 1), True, key=exceeds)
    return best


def _counts(spec: Spec, found: Candidates) -> list[int]:
    """Weights that stay in each layer; of layers that are ranked together only the sum counts."""
    sizes, names = found.sizes, found.names
    total = sum(sizes)
    fixed = [found.granularity.fixed(shape) for shape in found.shapes]
    if all(count is not None for count in fixed):
        return [count for count in fixed if count is not None]
    if spec.threshold is not None:
        return [_above(scores(), spec.threshold) for scores in found.scores]
    if spec.nonzeros is not None:
        if spec.nonzeros > total:
            raise ValueError(f"nonzeros = {spec.nonzeros} exceeds the {total} weights of the selected layers")
        least = sum(map(found.granularity.least, found.shapes))
        if spec.nonzeros < least:
            raise ValueError(f"nonzeros = {spec.nonzeros}: granularity {spec.granularity!r} needs {least}, one a layer")
        keep = spec.nonzeros if found.held is None else min(spec.nonzeros, sum(found.held))
        return _split(keep, sizes, *_bounds(spec, found))
    if isinstance(spec.sparsity, Mapping):
        shares: list[Any] = [of_layer(spec.sparsity, name, None) for name in names]
    else:
        shares = [spec.sparsity] * len(names)
    counts = [size - round(share * size) for share, size in zip(shares, sizes, strict=True)]
    for layers in _ranked_together(spec, names):
        if len(layers) > 1:
            together = [sizes[i] for i in layers]
            for i, count in zip(layers, _split(sum(together) - round(shares[0] * sum(together)), together), strict=True):
                counts[i] = count
    return counts


def _above(scores: Any, threshold: float) -> int:
    deviation = float(np.std(scores, dtype=np.float64))
    return int(np.count_nonzero(np.abs(scores) > threshold * deviation))


def _split(keep: int, sizes: list[int], least: list[int] | None = None, most: list[int] | None = None) -> list[int]:
    """`keep` cut in proportion to `sizes`, exactly and within the bounds: the largest remainders get one more."""
    if least is not None and most is not None and sum(least) <= keep <= sum(most):
        parts = dict(enumerate(_split(keep, sizes)))

        def share(free: list[int], left: int) -> list[int]:
            parts.update(zip(free, _split(left, [sizes[i] for i in free]), strict=True))
            return [parts[i] for i in free]

        parts |= _bounded(range(len(sizes)), keep, least, most, share)
        return [parts[i] for i in range(len(sizes))]
    total = sum(sizes)
    shares = [keep * size // total if total else 0 for size in sizes]
    remainders = sorted(range(len(sizes)), key=lambda i: -(keep * sizes[i] % total) if total else 0)
    for i in remainders[: keep - sum(shares)]:
        shares[i] += 1
    return shares
