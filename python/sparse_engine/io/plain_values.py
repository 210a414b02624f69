"""What a module keeps beside its tensors (`get_extra_state`), as JSON: numbers, text, None, containers of these, and tensors.

Each container becomes an object of one key that says what it is, so that everything comes back as the type it was; a tensor
becomes the name it has in the file. Nothing else is taken, since reading anything else would mean to run what a file says.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

ALLOWED = "None, bool, int, float, str, tensors, and lists, tuples and dicts with str keys of these"
DEEPEST = 64


def to_json(value: Any, where: str, keep: Callable[[Tensor], str]) -> Any:
    """`value` as JSON.

    Args:
        value: of `ALLOWED` types, exactly: a subclass would come back as another type.
        where: whose value it is, for the error.
        keep: stores a tensor and returns its name.
    Raises:
        TypeError: it holds something else.
    """

    def told(part: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise TypeError(f"{where} is nested deeper than {DEEPEST} containers, or holds itself")
        if isinstance(part, Tensor):
            return {"tensor": keep(part)}
        if part is None or type(part) in (bool, int, float, str):
            return part
        if type(part) in (list, tuple):
            return {type(part).__name__: [told(inner, depth + 1) for inner in part]}
        if type(part) is dict and all(type(key) is str for key in part):
            return {"dict": {key: told(inner, depth + 1) for key, inner in part.items()}}
        kind = "dict with other keys than str" if type(part) is dict else type(part).__name__
        raise TypeError(f"{where} holds a {kind}; files hold {ALLOWED}, never pickles: let it return these")

    return told(value, 0)


def from_json(told: Any, where: str, take: Callable[[str], Tensor]) -> Any:
    """The inverse of `to_json`; nothing in `told` is trusted.

    Raises:
        ValueError: it is not of that form.
    """

    def read(part: Any, depth: int) -> Any:
        if part is None or isinstance(part, (bool, int, float, str)):
            return part
        if isinstance(part, dict) and len(part) == 1 and depth <= DEEPEST:
            ((kind, inner),) = part.items()
            if kind == "tensor" and isinstance(inner, str):
                return take(inner)
            if kind in ("list", "tuple") and isinstance(inner, list):
                parts = [read(one, depth + 1) for one in inner]
                return parts if kind == "list" else tuple(parts)
            if kind == "dict" and isinstance(inner, dict):
                return {key: read(one, depth + 1) for key, one in inner.items()}
        raise ValueError(f"metadata: {where} holds {part!r:.80}, which is not of the form engine.save writes")

    return read(told, 0)
