"""Sparse matrices and the operations on them, for numpy arrays and torch tensors; torch is not needed."""

from .base import Matrix
from .bitmask import BitmaskMatrix
from .bsr import BSRMatrix
from .csr import CSRMatrix
from .functional import conv1d, conv2d, linear
from .nm import NMMatrix

__all__ = ["BSRMatrix", "BitmaskMatrix", "CSRMatrix", "Matrix", "NMMatrix", "conv1d", "conv2d", "linear"]
