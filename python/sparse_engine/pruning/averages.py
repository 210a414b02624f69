"""Averages follow the masks of the model they average.

Torch's `AveragedModel` (EMA, SWA) is a deep copy that would keep the masks of the moment it was made, and lose what the model
grows elsewhere. So a model that is pruned remembers itself, a deep copy of it remembers weakly what it was copied from, and at
the end of every `update_parameters`, where torch reports the new count of averages to buffer hooks, the average takes the
masks of its model. Other copies are left alone: a snapshot stays what it was.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_buffer_registration_hook
from torch.optim.swa_utils import AveragedModel

from .attachment import pruned_weights, put_masks, put_named
from .origin import ORIGIN

_hook: Any = None


def watch_averages() -> None:
    """Have every `AveragedModel` of a remembered model follow its masks from here on; process-wide, once."""
    global _hook
    if _hook is None:
        _hook = register_module_buffer_registration_hook(_after_update)


def _after_update(module: nn.Module, name: str, _buffer: Tensor | None) -> None:
    if name == "n_averaged" and isinstance(module, AveragedModel):
        for part in list(module.module.modules()):
            origin = vars(part).get(ORIGIN)
            if origin is not None and origin.source is not None:
                _follow(part, origin.source)


def _follow(copy: nn.Module, source: nn.Module) -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in copy.named_parameters(remove_duplicate=False)}
    wanted = {name: mask for name, mask in pruned_weights(source).items() if shapes.get(name) == mask.shape}
    own = pruned_weights(copy)
    if own.keys() - wanted.keys():
        put_masks(copy, wanted)
    else:  # layers whose masks did not change keep their decisions
        put_named(copy, {name: mask for name, mask in wanted.items() if own.get(name) != mask})
