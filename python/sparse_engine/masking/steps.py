"""Steps of optimizers on parameters under masks: whoever holds a parameter hears of them before and after."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

# Optimizers that treat each weight by itself and leave it zero where its gradient and all that they keep of it are.
KEEP_ZEROS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam)

_hooks: Any = None


def keeps_zeros(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step leaves a weight zero where its gradient and all that the optimizer keeps of it are zero."""
    if type(optimizer) not in KEEP_ZEROS:
        return False
    return all(group.get("eps", 1) != 0 for group in optimizer.param_groups)  # 0 / 0


def kept_by(optimizer: torch.optim.Optimizer, parameter: Tensor) -> list[Tensor]:
    """What the optimizer keeps of every weight of `parameter`: momenta, mean squares."""
    state = optimizer.state.get(parameter, {}).values()
    return [value for value in state if isinstance(value, Tensor) and value.shape == parameter.shape]


def watch_steps() -> None:
    """Have every optimizer's step tell those who hold its parameters; once for a process."""
    global _hooks
    if _hooks is None:
        _hooks = (register_optimizer_step_pre_hook(_before_step), register_optimizer_step_post_hook(_after_step))


def _before_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            held = parameter.__dict__.get("_held")
            if held is not None and not held.small:
                held.clean_before_step = held.version == parameter._version


def _after_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            held = parameter.__dict__.get("_held")
            if held is not None:  # whatever its version says: fused optimizers do not count their writes
                held.after_step(parameter, optimizer)
