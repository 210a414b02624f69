"""By what a saved state knows a spec in another process: its `repr`, but a function by its name instead of its address."""

import functools
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def identity_of(value: Any) -> str:
    """What a saved state says of a frozen dataclass of this package.

    Values are told exactly. A function is told by module and qualified name, a `functools.partial` by its function and
    arguments, another callable by its class: that it still computes the same is up to who wrote it.
    """
    kept = {field.name: getattr(value, field.name) for field in fields(value) if field.repr}
    return f"{type(value).__qualname__}({', '.join(f'{name}={_part(part)}' for name, part in kept.items())})"


def _part(value: Any) -> str:
    if isinstance(value, functools.partial):
        arguments = [*map(_part, value.args), *(f"{name}={_part(part)}" for name, part in value.keywords.items())]
        return f"partial({', '.join([_part(value.func), *arguments])})"
    if isinstance(value, types.MethodType):
        return f"{_part(type(value.__self__))}.{value.__name__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_part(key)}: {_part(part)}' for key, part in value.items())}}}"
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return repr(value)
