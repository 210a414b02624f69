"""What the user wants pruned: plain, frozen data."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any

from .criteria import criterion_of
from .granularity import Channels, Element, Head, NofM, granularity_of
from .granularity_value import Granularity

SCOPES = ("layer", "row", "global")
BUDGETS = ("sparsity", "nonzeros", "macs", "bytes", "latency_ms", "threshold")


class _GranularityField:
    """The field `granularity`: given as a word or a value, held as the value."""

    def __get__(self, spec: "Spec | None", owner: type) -> Granularity:
        held: Granularity = Element() if spec is None else vars(spec)["granularity"]
        return held

    def __set__(self, spec: "Spec", given: str | Granularity) -> None:
        vars(spec)["granularity"] = granularity_of(given)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What `prune` removes: granularity × criterion × scope × budget. Give exactly one budget; "N:M" and "pattern"
    need none.

    Args:
        sparsity: share of weights removed, 0 <= sparsity < 1; of every layer (`scope="layer"`) or of all layers that are ranked
            together. Or a mapping from glob pattern on module names to share (`scope="layer"` only): the first pattern that
            matches counts, and a layer no pattern matches is left alone.
        nonzeros: number of weights that stay over all selected layers, the lecture's bound on the L0 norm of W. With
            `scope="layer"` every layer keeps the same share.
        macs: multiply-accumulates with a weight that stays, at most, over all selected layers for one call on the
            `example_inputs` of `prune`.
        bytes: size of the selected weights on disk, indices included, at most.
        latency_ms: what a call on the `example_inputs` of `prune` may take on this machine: measured on pruned copies.
        threshold: t keeps the weights with |w| > t · σ, σ the standard deviation of their layer's weights (Han et al.).
        granularity: what is removed as one, by its word or as the value that it stands for, which `spec.granularity` holds
            (`engine.NofM(2, 4)`, `engine.Blocks(4, 1)`, `engine.pruning.Filter()`): "element"; "N:M", n of every m neighbours
            along the input stay; blocks "AxB" of the weight as a matrix (out, in · kernel); "vector", a row of a convolution
            kernel; "kernel"; "filter", an output channel of a convolution; "row", an output of a linear layer;
            "pattern:N:D", N positions of every convolution kernel after one of the layer's D most frequent patterns,
            "pattern" alone being "pattern:4:8"; "channel", output channels with all that belongs to them, removed for good
            (budgets are then of the whole model); "head", an attention head: what makes its queries, keys and values and
            takes its output. Layers that cannot be pruned so are left alone, with a warning. Of groups as many stay as fit
            into the budget, of heads at least one a layer.
        criterion: what a weight is worth: "l1", its magnitude; "l2"; "random"; "taylor", |w · gradient|; "wanda", |w| · ‖x‖;
            "bn_scale", |γ| of the batch norm behind an output channel; "fpgm", its distance from the others; "obs",
            second-order, which moves the weights that stay to make up for those that go; or a function from weight to scores
            of its shape. "taylor", "wanda", "obs" and "bn_scale" (one batch, to see what follows what) look at the `data`
            given to `prune`.
        scope: "layer" ranks weights within their layer, "row" within each output (of a convolution each filter), all of which
            keep the same number, give or take one; "global" across all; a sequence of glob patterns on module names ranks the
            layers that match one together, and each other layer alone. None is what the criterion is for: "layer", but for
            "wanda" the outputs of linear layers, where single weights go (Sun et al., 2024).
        min_density, max_density: least and largest share that stays in any one layer, or mappings from glob pattern to share.
            Where min_density says nothing, the best tenth of every layer goes last when channels of layers are ranked together,
            and a tenth stays of filters, rows and kernels, if the budget allows; {"*": 0.0} lifts that.
        include, exclude: glob patterns on module names ("features.*", "*.fc?"); a layer is selected when some `include`
            pattern and no `exclude` pattern matches. A single string counts as one pattern. Some layers are left alone,
            with one warning, unless a pattern other than "*" names them: frozen and tied weights, embeddings, adapters;
            depthwise convolutions and those of an image's channels, where they hold less than 1% of the weights.
        seed: of criterion "random".
        round_to: with granularity "channel" a layer that loses channels keeps a multiple of this many, such as 8, and one of
            fewer stays whole; the budget is still met.

    Raises:
        ValueError, TypeError: a value or combination that makes no sense, naming it and the way out.
    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015; the lecture's vocabulary.
    """

    sparsity: float | Mapping[str, float] | None = None
    nonzeros: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    threshold: float | None = None
    granularity: _GranularityField = _GranularityField()
    criterion: str | Callable[[Any], Any] = "l1"
    scope: str | Sequence[str] | None = None
    min_density: float | Mapping[str, float] = 0.0
    max_density: float | Mapping[str, float] = 1.0
    include: str | Sequence[str] = ("*",)
    exclude: str | Sequence[str] = ()
    seed: int = 0
    round_to: int = 1

    def __post_init__(self) -> None:
        granularity = self.granularity
        criterion = criterion_of(self.criterion)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _patterns(name, getattr(self, name)))
        if self.scope is None:
            if not (criterion.by_row and isinstance(granularity, Element)):
                object.__setattr__(self, "scope", "layer")
        elif isinstance(self.scope, str):
            if self.scope not in SCOPES:
                raise ValueError(
                    f"scope = {self.scope!r} is not one of: {', '.join(SCOPES)}; for layers that are ranked together give a "
                    f"sequence of patterns, such as [{self.scope!r}]"
                )
        else:
            object.__setattr__(self, "scope", _patterns("scope", self.scope))
        for name in ("min_density", "max_density"):
            object.__setattr__(self, name, _densities(name, getattr(self, name)))
        if self.scope == "row" and not granularity.within_row:
            raise ValueError(
                f'scope = "row" ranks what is within one output, and granularity = {self.granularity!r} takes whole outputs or '
                f'several as one: it needs "element", "N:M", "vector", "kernel" or blocks one row high, such as "1x4"'
            )
        self._check_budget()
        if not isinstance(self.round_to, Integral) or isinstance(self.round_to, bool) or self.round_to < 1:
            raise ValueError(f"round_to = {self.round_to!r} must be a whole number of channels, at least 1")
        if self.round_to > 1 and not isinstance(granularity, Channels):
            raise ValueError(
                f'round_to = {self.round_to} is of channels that really go: it needs granularity="channel", not '
                f"{self.granularity!r}"
            )
        if criterion.groups_only and not granularity.whole_outputs:
            raise ValueError(
                f'criterion = {self.criterion!r} is about output channels: it needs granularity="filter", "row" or "channel", '
                f"not {self.granularity!r}"
            )
        if criterion.within_layer and self.scope != "layer":
            raise ValueError(
                f'criterion = {self.criterion!r} compares the output channels of one layer: it needs scope="layer"'
            )
        if criterion.moves_weights:
            single = isinstance(granularity, (Element, NofM))
            bounded = self.min_density != 0 or self.max_density != 1
            counted = all(getattr(self, name) is None for name in BUDGETS[2:])
            if not (single and self._alone and counted and not bounded):
                raise ValueError(
                    'criterion = "obs" solves one layer after another: it needs granularity="element" or "N:M", scope="layer" '
                    'or "row", a budget in sparsity= or nonzeros=, and no density bounds'
                )
        of_calls = criterion.needs is not None and criterion.needs.of_calls
        if isinstance(granularity, Head) and (of_calls or self.macs is not None):
            what = f"criterion = {self.criterion!r}" if of_calls else "macs"
            raise ValueError(
                f'{what} counts on one input for all weights, and a head has several: use criterion="taylor" or one of the '
                f"weights alone, and sparsity=, nonzeros= or bytes="
            )
        if self.threshold is not None and (granularity, self.criterion, self.scope) != (Element(), "l1", "layer"):
            raise ValueError(
                'threshold compares single weights with their layer\'s spread: it needs granularity="element", criterion="l1" '
                'and scope="layer"; give sparsity= for others'
            )

    def _check_budget(self) -> None:
        granularity = self.granularity
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if granularity.fixes is not None:
            same = given == ["sparsity"] and isinstance(self.sparsity, Real) and granularity.share is not None
            if given and not (same and abs(1 - self.sparsity - granularity.share) < 1e-9):  # type: ignore[operator]
                raise ValueError(f"granularity = {self.granularity!r} {granularity.fixes}; leave {given[0]} out")
            if not self._alone:
                raise ValueError(f'granularity = {self.granularity!r} is the same in every layer; it needs scope="layer"')
            if self.min_density != 0 or self.max_density != 1:
                raise ValueError(f"granularity = {self.granularity!r} fixes the density; leave min_density and max_density out")
            return
        if len(given) != 1:
            found = "neither" if not given else " and ".join(given)
            raise ValueError(
                f"Spec needs exactly one of {', '.join(BUDGETS[:-1])} and {BUDGETS[-1]}, got {found}; for example "
                f"Spec(sparsity=0.9)"
            )
        if isinstance(self.sparsity, Mapping):
            if not self._alone:
                raise ValueError(
                    f'sparsity is a mapping but scope={self.scope!r} ranks layers together; use scope="layer" or one number'
                )
            shares = {str(pattern): _share(f"sparsity[{pattern!r}]", s) for pattern, s in self.sparsity.items()}
            if not shares:
                raise ValueError("sparsity is an empty mapping; give at least one pattern, such as {'*': 0.9}")
            object.__setattr__(self, "sparsity", shares)
        elif self.sparsity is not None:
            object.__setattr__(self, "sparsity", _share("sparsity", self.sparsity))
        for name, what in (("nonzeros", "weights"), ("macs", "multiply-accumulates"), ("bytes", "bytes")):
            object.__setattr__(self, name, _count(name, what, getattr(self, name)))
        if self.latency_ms is not None:
            if not isinstance(self.latency_ms, Real) or isinstance(self.latency_ms, bool) or not self.latency_ms > 0:
                raise ValueError(f"latency_ms = {self.latency_ms!r} must be a number of milliseconds above 0")
            object.__setattr__(self, "latency_ms", float(self.latency_ms))
        if self.threshold is not None:
            if not isinstance(self.threshold, Real) or isinstance(self.threshold, bool) or not self.threshold >= 0:
                raise ValueError(f"threshold = {self.threshold!r} must be a number of standard deviations, at least 0")
            object.__setattr__(self, "threshold", float(self.threshold))

    @property
    def _alone(self) -> bool:
        """Whether no two layers are ranked together."""
        return self.scope in (None, "layer", "row")

    def selects(self, name: str) -> bool:
        """Whether a module called `name` is selected by `include` and `exclude`."""
        return matches(name, self.include) and not matches(name, self.exclude)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether `name` matches one of the glob patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def of_layer(value: Any, name: str, default: Any) -> Any:
    """The value a mapping from glob patterns gives for a layer, the first that matches; or `value` itself, a number."""
    if not isinstance(value, Mapping):
        return value
    return next((share for pattern, share in value.items() if fnmatchcase(name, pattern)), default)


def _patterns(name: str, value: object) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else value
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(f"{name} = {value!r} must be a glob pattern or a sequence of them, such as ['features.*']")
    return tuple(patterns)


def _share(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} = {value!r} is not a number; it is the share of weights removed, 0 <= sparsity < 1")
    share = float(value)
    if math.isnan(share) or not 0 <= share < 1:
        hint = f"; for {share:g} percent write {share / 100:g}" if 1 <= share < 100 else ""
        raise ValueError(f"{name} = {share:g} is outside [0, 1); it is the share of weights removed{hint}")
    return share


def _densities(name: str, value: object) -> float | dict[str, float]:
    if isinstance(value, Mapping):
        return {str(pattern): _density(f"{name}[{pattern!r}]", v) for pattern, v in value.items()}
    return _density(name, value)


def _density(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} = {value!r} must be a number in [0, 1], the share of a layer's weights that stays")
    return float(value)


def _count(name: str, what: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} = {value!r} is not a whole number of {what}; for a share use sparsity=")
    if value < 0:
        raise ValueError(f"{name} = {value} is negative; it is the number of {what} that stay")
    return int(value)
