"""Torch's quantisation looks layers up by their exact class and passes over pruned ones without a word; here is the word."""

import warnings
from typing import Any

MESSAGE = (
    "torch's quantisation looks layers up by their exact class and passes over pruned ones: call engine.remove_masks(model) "
    "first; the zeros stay, and what is trained afterwards is no longer kept at zero"
)


class NotQuantised:
    """Mixin of a pruned layer: `qconfig`, by which torch.ao marks what it quantises and asks for it, warns."""

    @property
    def qconfig(self) -> Any:
        """As it was set."""
        if "qconfig" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute 'qconfig'")
        value = self.__dict__["qconfig"]
        if value is not None:
            warnings.warn(MESSAGE, stacklevel=2)
        return value

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        self.__dict__["qconfig"] = value
        warnings.warn(MESSAGE, stacklevel=3)

    @qconfig.deleter
    def qconfig(self) -> None:
        del self.__dict__["qconfig"]
