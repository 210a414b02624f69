"""Per-layer sparsities for a budget: each weight is taken where the score loses least."""

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..channels.groups import ChannelCost
from ..measure.search import bisected
from .sensitivity_result import Sensitivity

BUDGETS = ("sparsity", "nonzeros", "macs", "latency_ms", "max_drop")
EVALUATIONS = 8  # of pruned models by `evaluate`
Point = tuple[float, float, float]  # sparsity, what it costs still, what it loses


@dataclass(frozen=True)
class _Step:
    """A stretch of a layer's curve: from one sparsity to the next."""

    layer: str
    begin: float
    end: float
    saved: float
    lost: float

    @property
    def slope(self) -> float:
        return self.lost / self.saved if self.saved > 0 else float("inf")


def allocate(
    found: Sensitivity,
    *,
    sparsity: float | None = None,
    nonzeros: int | None = None,
    macs: int | None = None,
    latency_ms: float | None = None,
    max_drop: float | None = None,
    evaluate: Callable[[dict[str, float]], float] | None = None,
) -> dict[str, float]:
    """Sparsity of each layer for one budget over all of them; hand it to `Spec(sparsity=...)`.

    The layers' curves of loss against what is saved are made convex, and their stretches taken from the cheapest on until the
    budget is met, the last one in part: the best there is when losses of layers add up, as the scan of one layer at a time
    supposes.

    Args:
        found: of `sensitivity`; for `macs` and `latency_ms` scanned with `example_inputs`.
        sparsity: share of the weights removed in total. nonzeros: weights that stay.
        macs: multiply-accumulates with a weight that stays, in one call on the example inputs. Of a scan of channels all
            budgets are of the whole model, by exact count.
        latency_ms: sum of the layers' measured times.
        max_drop: the highest sparsity whose score stays within this of the baseline: predicted, or, with `evaluate`, measured.
        evaluate: sparsities by layer -> score of a model pruned so; tried eight times, by halving.
    Returns:
        Layer name -> sparsity.
    Raises:
        ValueError: not exactly one budget, or one that the scanned sparsities cannot meet.
    """
    given = dict(zip(BUDGETS, (sparsity, nonzeros, macs, latency_ms, max_drop), strict=True))
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(f"allocate needs exactly one of {', '.join(BUDGETS)}, got {' and '.join(chosen) or 'none'}")
    budget = chosen[0]
    cost = {"macs": "uses", "latency_ms": "seconds"}.get(budget, "weights")
    if cost != "weights" and not getattr(found, cost):
        raise ValueError(f"{budget} needs a scan with example_inputs=; this one has none")
    if found.channels is not None:
        if cost == "seconds":
            raise ValueError(
                'channels were scanned without times: prune with Spec(latency_ms=..., granularity="channel") instead'
            )
        cost = "uses" if budget == "macs" else "weights"
    curves = {name: _curve(found, name, cost) for name in found.scores}
    steps = sorted((s for name, points in curves.items() for s in _steps(name, points)), key=lambda s: s.slope)
    start = sum(points[0][1] for points in curves.values())
    if max_drop is not None:
        return _within_drop(found, steps, max_drop, evaluate)
    if found.channels is not None:
        return _channels(found, found.channels, steps, budget, given[budget] or 0)
    total = sum(found.weights.values())
    goal = {
        "sparsity": lambda: start - (sparsity or 0.0) * total,
        "nonzeros": lambda: float(nonzeros or 0),
        "macs": lambda: float(macs or 0),
        "latency_ms": lambda: (latency_ms or 0.0) / 1e3,
    }[budget]()
    least = start - sum(step.saved for step in steps)
    if goal < least - 1e-9 * start:
        raise ValueError(
            f"{budget} = {given[budget]} cannot be met: the highest scanned sparsities leave {_shown(budget, least)}"
        )
    return _taken(found, steps, max(0.0, start - goal))


def _channels(found: Sensitivity, costs: ChannelCost, steps: list[_Step], budget: str, bound: float) -> dict[str, float]:
    """Whole channels, taken along the steps until what is left of the model is within the budget: by exact count, because a
    channel that goes makes those before and after it cheaper."""
    what = 1 if budget == "macs" else 0
    goal = bound if budget != "sparsity" else costs.left({})[0] * (1 - bound)
    order: list[str] = []
    for step in steps:
        count = costs.channels[step.layer]
        order += [step.layer] * (min(round(step.end * count), count - 1) - min(round(step.begin * count), count - 1))

    def left(taken: int) -> int:
        return costs.left(Counter(order[:taken]))[what]

    if left(len(order)) > goal:
        raise ValueError(
            f"{budget} = {bound} cannot be met: the highest scanned sparsities leave {left(len(order))} "
            f"{('parameters', 'multiply-accumulates')[what]}"
        )
    taken = bisect_left(range(len(order)), True, key=lambda count: left(count) <= goal)
    gone = Counter(order[:taken])
    return {name: gone[name] / costs.channels[name] for name in found.scores}


def _shown(budget: str, cost: float) -> str:
    return f"{1e3 * cost:.3f} ms" if budget == "latency_ms" else f"{cost:.0f}"


def _curve(found: Sensitivity, name: str, cost: str) -> list[Point]:
    shares = sorted(found.scores[name])
    weights = found.weights[name]
    if cost == "seconds":
        seconds = found.seconds[name]
        return [(0.0, seconds[0.0], 0.0), *((s, seconds[s], found.drop(name, s)) for s in shares)]
    scale = weights * (found.uses[name] if cost == "uses" else 1)
    return [(0.0, float(scale), 0.0), *((s, scale * (1 - s), found.drop(name, s)) for s in shares)]


def _steps(name: str, points: list[Point]) -> list[_Step]:
    """The lower convex hull of loss over what is saved, as stretches of rising slope; what saves nothing drops out."""
    start = points[0]
    hull = [start]
    for point in sorted((p for p in points[1:] if p[1] < start[1]), key=lambda p: (-p[1], p[2])):
        if point[1] == hull[-1][1]:
            continue  # the one before saves as much and loses less
        while len(hull) >= 2 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return [_Step(name, a[0], b[0], a[1] - b[1], max(0.0, b[2] - a[2])) for a, b in itertools.pairwise(hull)]


def _above(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on or above the line from a to c, over what is saved."""
    return (b[2] - a[2]) * (a[1] - c[1]) >= (c[2] - a[2]) * (a[1] - b[1])


def _taken(found: Sensitivity, steps: list[_Step], saved: float) -> dict[str, float]:
    shares = dict.fromkeys(found.scores, 0.0)
    for step in steps:
        if saved <= 0:
            break
        part = min(1.0, saved / step.saved)
        shares[step.layer] = step.begin + part * (step.end - step.begin)
        saved -= step.saved
    return shares


def _within_drop(
    found: Sensitivity, steps: list[_Step], max_drop: float, evaluate: Callable[[dict[str, float]], float] | None
) -> dict[str, float]:
    if max_drop < 0:
        raise ValueError(f"max_drop = {max_drop} is negative; it is what the score may lose")
    total = sum(step.saved for step in steps)
    if evaluate is None:
        left, saved = max_drop, 0.0
        for step in steps:
            part = 1.0 if step.lost <= 0 else min(1.0, left / step.lost)
            saved += part * step.saved
            left -= part * step.lost
            if part < 1:
                break
        return _taken(found, steps, saved)
    saved = bisected(0.0, total, lambda saved: found.baseline - evaluate(_taken(found, steps, saved)) > max_drop, EVALUATIONS)
    return _taken(found, steps, saved)
