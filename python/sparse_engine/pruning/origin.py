"""Where a model was copied from, so that an average can follow the masks of its model."""

import weakref
from typing import Any

from torch import nn

ORIGIN = "_copied_from"


class Origin:
    """Who holds this, and what that was copied from; both weakly, and only within the process."""

    def __init__(self, owner: nn.Module | None = None, source: nn.Module | None = None) -> None:
        self._owner = None if owner is None else weakref.ref(owner)
        self._source = None if source is None else weakref.ref(source)

    @property
    def owner(self) -> nn.Module | None:
        """The module that holds this."""
        return None if self._owner is None else self._owner()

    @property
    def source(self) -> nn.Module | None:
        """The module that the owner is a deep copy of, as long as it lives."""
        return None if self._source is None else self._source()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Origin":
        return Origin(memo.get(id(self.owner)), self.owner)

    def __reduce__(self) -> tuple[type["Origin"], tuple[()]]:
        return Origin, ()


def remember(model: nn.Module) -> None:
    """Have deep copies of `model` know where they are from."""
    origin = vars(model).get(ORIGIN)
    if origin is None or origin.owner is not model:
        vars(model)[ORIGIN] = Origin(model, None if origin is None else origin.source)


def forget(model: nn.Module) -> None:
    """Undo `remember`."""
    vars(model).pop(ORIGIN, None)
