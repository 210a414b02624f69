"""Names of a package that are imported when they are first used, so that importing the package needs numpy only."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package.

    Args:
        package: its `__name__`.
        homes: public name -> the module below the package that it lives in; "" where the name is that of a module itself,
            given in full as "module:pruning.schedules".
    Raises:
        ModuleNotFoundError: on first use of a name that needs torch where torch is not installed, with the way out.
    """
    names = sorted(homes)

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        try:
            module = importlib.import_module(f"{package}.{home.removeprefix('module:')}")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ModuleNotFoundError(
                f"{package}.{name} works on torch models and torch is not installed; pip install 'sparse-engine[torch]'",
                name="torch",
            ) from error
        value = module if home.startswith("module:") else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
