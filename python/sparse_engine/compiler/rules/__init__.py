"""What becomes of each of torch's operations: a function for each, found by name."""

from . import activations, arithmetic, comparisons, moves, norms, pools, products, reductions, transposed
from .registry import RULES, RefusedError

__all__ = [
    "RULES",
    "RefusedError",
    "activations",
    "arithmetic",
    "comparisons",
    "moves",
    "norms",
    "pools",
    "products",
    "reductions",
    "transposed",
]
