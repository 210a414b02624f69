"""When a `Pruner` prunes, and how far: frozen data, steps counted in calls of `Pruner.step`."""

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar


@dataclass(frozen=True)
class Schedule:
    """Prunes at `begin`, every `every` steps after it, and at `end`, where the final budget is reached."""

    begin: int
    end: int
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("begin", "end", "every"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} = {value!r} is not a whole number of steps")
        if not 0 <= self.begin <= self.end or self.every < 1:
            raise ValueError(
                f"begin = {self.begin}, end = {self.end}, every = {self.every}: 0 <= begin <= end and every >= 1 are needed"
            )

    def due(self, step: int) -> bool:
        """Whether something happens at `step`."""
        return step == self.end or (self.begin <= step < self.end and (step - self.begin) % self.every == 0)

    def sparsity(self, step: int, final: float, initial: float = 0.0) -> float:
        """Share of weights removed once `step` is done, on the way to `final` from `initial`; never less than `initial`."""
        if step >= self.end:
            return max(initial, final)
        if step < self.begin or initial >= final:
            return initial
        # The first time prunes already: one part of as many as there are times.
        times = math.ceil((self.end - self.begin) / self.every) + 1
        return self._share(((step - self.begin) // self.every + 1) / times, final, initial)

    def _share(self, progress: float, final: float, initial: float) -> float:
        raise AssertionError("every schedule defines this")


@dataclass(frozen=True, repr=False)
class Gradual(Schedule):
    """Prunes by and by.

    Args:
        initial: share of weights removed to begin with. What is removed from a layer already, by masks, counts if it is more.
    """

    initial: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.initial, bool) or not isinstance(self.initial, Real) or not 0 <= self.initial < 1:
            raise ValueError(f"initial = {self.initial!r} is outside [0, 1); it is the share of weights removed to begin with")

    def __repr__(self) -> str:
        # A default is left out: pruners' states of before there was one hold this.
        told = f"begin={self.begin}, end={self.end}, every={self.every}" + f", initial={self.initial}" * bool(self.initial)
        return f"{type(self).__name__}({told})"


@dataclass(frozen=True, repr=False)
class Cubic(Gradual):
    """Fast at first, slow towards the end: final + (initial − final) · (1 − t)³.

    Source: Zhu and Gupta, "To prune, or not to prune", ICLR workshops 2018.
    """

    def _share(self, progress: float, final: float, initial: float) -> float:
        return float(initial + (final - initial) * (1 - (1 - progress) ** 3))


@dataclass(frozen=True, repr=False)
class Linear(Gradual):
    """The same number of weights every time: initial + (final − initial) · t."""

    def _share(self, progress: float, final: float, initial: float) -> float:
        return initial + (final - initial) * progress


@dataclass(frozen=True, repr=False)
class Exponential(Gradual):
    """The same share of what is left every time, Han's iterative pruning: what is left is (1 − initial)¹⁻ᵗ · (1 − final)ᵗ."""

    def _share(self, progress: float, final: float, initial: float) -> float:
        return float(1 - (1 - initial) * ((1 - final) / (1 - initial)) ** progress)


@dataclass(frozen=True, repr=False)
class Cosine(Gradual):
    """Slow at both ends: initial + (final − initial) · (1 − cos πt) / 2."""

    def _share(self, progress: float, final: float, initial: float) -> float:
        return initial + (final - initial) * (1 - math.cos(math.pi * progress)) / 2


class OneShot(Schedule):
    """Everything at step `at`."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(at, at)

    def __repr__(self) -> str:
        return f"OneShot(at={self.begin})"

    def _share(self, progress: float, final: float, initial: float) -> float:
        return final


@dataclass(frozen=True)
class Regrowth(Schedule):
    """Prunes to the final budget at `begin`; after it every `every` steps some of the smallest weights go and as many come.

    Args:
        fraction: share of a layer's weights exchanged first; it falls to 0 at `end` along a cosine.
    """

    fraction: float = 0.3
    grows_by: ClassVar[str] = ""  # "gradient" or "chance"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction = {self.fraction!r} is outside (0, 1]; it is the share of weights exchanged")

    def sparsity(self, step: int, final: float, initial: float = 0.0) -> float:
        """`final` from `begin` on, or `initial` if that is more."""
        return max(initial, final) if step >= self.begin else initial

    def exchanged(self, step: int) -> float:
        """Share of the weights that stay which is exchanged at `step`."""
        if step <= self.begin or step >= self.end:
            return 0.0
        progress = (step - self.begin) / (self.end - self.begin)
        return self.fraction * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class RigL(Regrowth):
    """Grows where the loss falls fastest, the largest gradients of the last backward pass.

    Source: Evci et al., "Rigging the Lottery", ICML 2020.
    """

    grows_by: ClassVar[str] = "gradient"


@dataclass(frozen=True)
class SET(Regrowth):
    """Grows by chance.

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity", 2018.
    """

    grows_by: ClassVar[str] = "chance"
