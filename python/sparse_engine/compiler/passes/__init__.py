"""Rewrites of a graph that compute the same: one file each, applied in this order."""

from collections.abc import Callable

from ..graph import Graph
from .drop_dead import drop_dead
from .drop_dead_channels import drop_dead_channels
from .fold_batch_norm import fold_batch_norm
from .fuse_epilogue import fuse_epilogue
from .simplify import simplify

PASSES: tuple[Callable[[Graph], None], ...] = (simplify, fold_batch_norm, fuse_epilogue, drop_dead_channels, drop_dead)
