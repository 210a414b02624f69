"""Which weights stay, and what keeps the others at zero."""

from .mask import Mask, keep_largest

__all__ = ["Mask", "keep_largest"]
