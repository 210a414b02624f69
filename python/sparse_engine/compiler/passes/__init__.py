"""Rewrites of a graph that compute the same: one file each, applied in this order."""

from collections.abc import Callable

from ..graph import Graph
from .absorb_permutations import absorb_permutations
from .crop_kernels import crop_kernels
from .drop_dead import drop_dead
from .drop_dead_channels import drop_dead_channels
from .fold_batch_norm import fold_batch_norm
from .fold_constants import fold_constants
from .fuse_attention import fuse_attention
from .fuse_epilogue import fuse_epilogue
from .fuse_gelu import fuse_gelu
from .fuse_layer_norm import fuse_layer_norm
from .fuse_positions import fuse_positions
from .fuse_rms_norm import fuse_rms_norm
from .share_heads import share_heads
from .simplify import simplify

PASSES: tuple[Callable[[Graph], None], ...] = (
    simplify,
    fold_constants,
    fold_batch_norm,
    crop_kernels,
    fuse_gelu,
    fuse_layer_norm,
    fuse_rms_norm,
    fuse_attention,
    share_heads,
    fuse_positions,
    simplify,
    drop_dead,
    absorb_permutations,
    fuse_epilogue,
    drop_dead_channels,
    drop_dead,
)
