"""Models of 16-bit floats: a program computes them in float32, and is given and gives what they were and gave.

Arithmetic in float32 on the very weights of the model is nearer to the exact result than the model's own, which rounds after
every operation. So the copy in float32 is what a program is held against; how far the model's own arithmetic is off is noted.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..channels.export import plain_copy, tensors_of
from ..measure.difference import difference
from ..measure.model_calls import Arguments
from .graph import Graph
from .tensors import NARROW

NARROW_TYPES = tuple(getattr(torch, name) for name in NARROW)


@dataclass(frozen=True)
class Widened:
    """A model and its example in float32, and what they were before.

    Attributes:
        model, arguments: in float32; integers stay.
        given: the model and the example as they were given.
        inputs, outputs: dtypes of tensors, in order.
        rounding: what the model's own arithmetic differs by from that of float32, of the largest output.
    """

    model: nn.Module
    arguments: Arguments
    given: tuple[nn.Module, Arguments]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rounding: float

    def note_types(self, graph: Graph) -> None:
        """Have inputs and outputs of 16 bits in the graph say so."""
        for values, dtypes in ((graph.inputs, self.inputs), (graph.outputs, self.outputs)):
            for value, dtype in zip(values, dtypes, strict=True):
                value.dtype = dtype if dtype in NARROW else value.dtype


def widened(model: nn.Module, arguments: Arguments) -> Widened | None:
    """`model` without masks and its example as float32; None where nothing of them is of 16 bits. Both are left as they are."""
    held = [*model.parameters(), *model.buffers()]
    if not any(tensor.dtype in NARROW_TYPES for tensor in (*held, *arguments.tensors)):
        return None
    wide = plain_copy(model).float()
    args = Arguments(tuple(map(_wide, arguments.args)), {name: _wide(value) for name, value in arguments.kwargs.items()})
    with torch.inference_mode():
        own, right = tensors_of(arguments.call(model)), tensors_of(args.call(wide))
    rounding = [difference(a.float().numpy(), b.float().numpy()) for a, b in zip(own, right, strict=True)]
    inputs, outputs = (tuple(map(_name, tensors)) for tensors in (arguments.tensors, own))
    return Widened(wide, args, (model, arguments), inputs, outputs, max(rounding, default=0.0))


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in NARROW_TYPES else value


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
