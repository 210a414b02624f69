"""What becomes of each of torch's operations: a function for each, found by name."""

from . import (
    activations,
    arithmetic,
    attention,
    caches,
    comparisons,
    constants,
    moves,
    norms,
    parts,
    permutations,
    pools,
    products,
    recurrent,
    reductions,
    resize,
    tables,
    transposed,
)
from .registry import RULES, RefusedError

__all__ = [
    "RULES",
    "RefusedError",
    "activations",
    "arithmetic",
    "attention",
    "caches",
    "comparisons",
    "constants",
    "moves",
    "norms",
    "parts",
    "permutations",
    "pools",
    "products",
    "recurrent",
    "reductions",
    "resize",
    "tables",
    "transposed",
]
