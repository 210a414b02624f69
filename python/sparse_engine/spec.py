"""What the user wants pruned: plain, frozen data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Literal

from .criteria import CRITERIA
from .granularity import GRANULARITIES

SCOPES = ("layer", "global")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What `prune` removes. Give exactly one of `sparsity` and `nonzeros`.

    Args:
        sparsity: share of weights removed, 0 <= sparsity < 1; of every layer (`scope="layer"`) or of all selected layers
            together (`scope="global"`). Or a mapping from glob pattern on module names to share (`scope="layer"` only): the
            first pattern that matches counts, and a layer no pattern matches is left alone.
        nonzeros: number of weights that stay over all selected layers, the lecture's bound on the L0 norm of W. With
            `scope="layer"` every layer keeps the same share.
        granularity: what is removed as one: "element".
        criterion: what a weight is worth: "l1", its magnitude.
        scope: "layer" ranks weights within their layer, "global" across layers.
        include, exclude: glob patterns on module names ("features.*", "*.fc?"); a layer is selected when some `include`
            pattern and no `exclude` pattern matches. A single string counts as one pattern.

    Raises:
        ValueError, TypeError: a value that makes no sense, naming it and the way out.
    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015.
    """

    sparsity: float | Mapping[str, float] | None = None
    nonzeros: int | None = None
    granularity: str = "element"
    criterion: str = "l1"
    scope: Literal["layer", "global"] = "layer"
    include: str | Sequence[str] = ("*",)
    exclude: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.nonzeros is None):
            given = "neither" if self.sparsity is None else "both"
            raise ValueError(f"Spec needs exactly one of sparsity and nonzeros, got {given}; for example Spec(sparsity=0.9)")
        _check_choice("granularity", self.granularity, GRANULARITIES)
        _check_choice("criterion", self.criterion, CRITERIA)
        _check_choice("scope", self.scope, SCOPES)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _patterns(name, getattr(self, name)))
        if isinstance(self.sparsity, Mapping):
            if self.scope == "global":
                raise ValueError(
                    'sparsity is a mapping but scope="global" ranks all layers together; use scope="layer" or one number'
                )
            shares = {str(pattern): _share(f"sparsity[{pattern!r}]", s) for pattern, s in self.sparsity.items()}
            if not shares:
                raise ValueError("sparsity is an empty mapping; give at least one pattern, such as {'*': 0.9}")
            object.__setattr__(self, "sparsity", shares)
        elif self.sparsity is not None:
            object.__setattr__(self, "sparsity", _share("sparsity", self.sparsity))
        if self.nonzeros is not None:
            if not isinstance(self.nonzeros, Integral) or isinstance(self.nonzeros, bool):
                raise TypeError(f"nonzeros = {self.nonzeros!r} is not a whole number of weights; for a share use sparsity=")
            if self.nonzeros < 0:
                raise ValueError(f"nonzeros = {self.nonzeros} is negative; it is the number of weights that stay")
            object.__setattr__(self, "nonzeros", int(self.nonzeros))

    def selects(self, name: str) -> bool:
        """Whether a module called `name` is selected by `include` and `exclude`."""
        return matches(name, self.include) and not matches(name, self.exclude)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether `name` matches one of the glob patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_choice(name: str, value: object, choices: object) -> None:
    known = sorted(choices) if isinstance(choices, Mapping) else list(choices)  # type: ignore[call-overload]
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not one of: {', '.join(known)}")


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
