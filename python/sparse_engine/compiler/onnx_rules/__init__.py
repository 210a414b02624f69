"""What ONNX's operations compute, in torch: a function for each, found by name."""

from . import elementwise, moves, norms, pools, products, recurrent, reductions
from .constants import CONSTANTS
from .registry import DTYPES, RULES, Call, Known

__all__ = [
    "CONSTANTS",
    "DTYPES",
    "RULES",
    "Call",
    "Known",
    "elementwise",
    "moves",
    "norms",
    "pools",
    "products",
    "recurrent",
    "reductions",
]
