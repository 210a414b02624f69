"""Memory for a model made on the meta device, which has shapes and no values, before a file's values are read into it."""

from collections.abc import Collection

import torch
from torch import Tensor, nn


def materialize(model: nn.Module, given: Collection[str]) -> None:
    """Give every parameter and buffer on the meta device memory on the CPU, in place; tied ones stay tied.

    Args:
        model: any. Parameters become new objects: make the optimizer afterwards.
        given: names, as in `state_dict`, of the tensors that get values.
    Raises:
        ValueError: a tensor on the meta device that nothing gives a value to. The model is unchanged then.
    """
    lost = [name for name in _on_meta(model) if name not in given]
    if lost:
        raise ValueError(
            f"the model is on the meta device, and the file does not hold {', '.join(map(repr, lost[:3]))}: a buffer that "
            f"state_dict leaves out, or a plain attribute. Make the model on the CPU, or move it with to_empty() and set these"
        )
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None and tensor.is_meta:
                if id(tensor) not in made:
                    memory = torch.empty_like(tensor, device="cpu")
                    parameter = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(memory, tensor.requires_grad) if parameter else memory
                setattr(module, name, made[id(tensor)])  # recurrent layers keep lists of their own up to date here


def _on_meta(model: nn.Module) -> list[str]:
    found = []
    for prefix, module in model.named_modules():
        for held in (module._parameters, module._buffers, vars(module)):
            for name, value in held.items():
                if isinstance(value, Tensor) and value.is_meta:
                    found.append(f"{prefix}.{name}" if prefix else name)
    return found
