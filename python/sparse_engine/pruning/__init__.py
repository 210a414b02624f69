"""What is removed, and how it is kept at zero: specs, criteria, schedules, pruners, masks of a model."""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .attachment import masks as masks
    from .attachment import remove_masks as remove_masks
    from .blocks import Blocks as Blocks
    from .blocks import Filter as Filter
    from .blocks import Kernel as Kernel
    from .blocks import Row as Row
    from .blocks import Vector as Vector
    from .given_masks import masks_from_zeros as masks_from_zeros
    from .given_masks import set_masks as set_masks
    from .granularity import Channels as Channels
    from .granularity import Element as Element
    from .granularity import Head as Head
    from .granularity import NofM as NofM
    from .granularity import Pattern as Pattern
    from .lottery import LotteryTicket as LotteryTicket
    from .lottery import rewind as rewind
    from .pruner import Pruner as Pruner
    from .regularizers import penalty as penalty
    from .spec import Spec as Spec

# Public names, and the module each lives in.
_HOMES = {
    "Blocks": "blocks",
    "Channels": "granularity",
    "Element": "granularity",
    "Filter": "blocks",
    "Head": "granularity",
    "Kernel": "blocks",
    "NofM": "granularity",
    "Pattern": "granularity",
    "Row": "blocks",
    "Vector": "blocks",
    "LotteryTicket": "lottery",
    "Pruner": "pruner",
    "Spec": "spec",
    "masks": "attachment",
    "masks_from_zeros": "given_masks",
    "penalty": "regularizers",
    "remove_masks": "attachment",
    "rewind": "lottery",
    "set_masks": "given_masks",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOMES)
