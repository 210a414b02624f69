"""The graph of a model that channels are followed on, and the copies that it is taken of and tried on."""

import copy
import functools
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..pruning.attachment import remove_masks

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Arguments(NamedTuple):
    """What a model is called with."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def to(self, model: nn.Module) -> Any:
        """The model called with them."""
        return model(*self.positional, **self.named)


def exported(model: nn.Module, inputs: Arguments, training: bool) -> Any:
    """The graph of a copy that shares its tensors: modules may keep what they work out, which is not real while exporting.

    Of what the model returns only tensors are outputs of the graph; a cache for the next token, say, is none.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    copied = copy.deepcopy(model, shared).train(training)
    forward: Any = copied.forward

    @functools.wraps(forward)
    def returned(*args: Any, **kwargs: Any) -> list[Tensor]:
        return tensors_of(forward(*args, **kwargs))

    copied.__dict__["forward"] = returned
    fast = torch.backends.mha.get_fastpath_enabled()  # torch's fused encoder would be one operation
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(copied, inputs.positional, inputs.named, strict=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def held_tensors(program: Any) -> dict[str, Tensor]:
    """Parameters, buffers and constants of an exported program by the names of their placeholders; others are inputs."""
    held, signature = {**program.state_dict, **program.constants}, program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    return {name: held[kept] for name, kept in named.items()}


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors that a model returned, in order, inside mappings, tuples and lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in tensors_of(part)]
    return [tensor for part in value for tensor in tensors_of(part)] if isinstance(value, (list, tuple)) else []


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode without masks and without the user's hooks, which are to see no run but the user's."""
    empty: dict[int, Any] = {}
    for module in model.modules():
        for kind in HOOKS:
            hooks = module.__dict__.get(kind)
            if hooks:
                empty[id(hooks)] = OrderedDict((key, hook) for key, hook in hooks.items() if is_of_torch(hook))
    return remove_masks(copy.deepcopy(model, empty)).eval()


def is_of_torch(hook: Any) -> bool:
    """Whether a hook is part of a layer's arithmetic, as torch's weight_norm and pruning put it there."""
    return str(getattr(hook, "__module__", "") or type(hook).__module__).startswith("torch.nn.utils.")
