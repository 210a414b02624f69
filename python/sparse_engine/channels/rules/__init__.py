"""What each operation of a graph does to channels; importing this package registers every rule."""

from . import moves, products
from .registry import RULES, fallback, rule

__all__ = ["RULES", "fallback", "moves", "products", "rule"]
