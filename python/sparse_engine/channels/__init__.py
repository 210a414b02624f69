"""Channels that go for good: which go together, which go, and what is left of the model."""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .api import ChannelGroups as ChannelGroups
    from .api import channel_groups as channel_groups
    from .surgery import remove_channels as remove_channels
    from .surgery import removed_channels as removed_channels

# Public names, and the module each lives in.
_HOMES = {
    "ChannelGroups": "api",
    "channel_groups": "api",
    "remove_channels": "surgery",
    "removed_channels": "surgery",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOMES)
