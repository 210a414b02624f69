"""The layers that pruned models consist of, and which kernels they take."""

from .attention import MaskedMultiheadAttention
from .autotune import autotune, decisions, set_decisions
from .conv import SparseConv1d, SparseConv2d, SparseConv3d
from .convert import register
from .fallback import dense_only
from .linear import SparseLinear
from .recurrent import SparseGRU, SparseLSTM
from .transposed import SparseConvTranspose1d, SparseConvTranspose2d, SparseConvTranspose3d

__all__ = [
    "MaskedMultiheadAttention",
    "SparseConv1d",
    "SparseConv2d",
    "SparseConv3d",
    "SparseConvTranspose1d",
    "SparseConvTranspose2d",
    "SparseConvTranspose3d",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "autotune",
    "decisions",
    "dense_only",
    "register",
    "set_decisions",
]
