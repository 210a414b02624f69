"""Whether a graph that torch is tracing gets an operator for a product with a pruned weight, or torch's own arithmetic.

Which kernel an operator takes is decided when the graph runs, by what the layer measured (`dispatch`): nothing is timed while
tracing, and a graph serves every size and machine. Here only what cannot change while the graph is valid is asked.
"""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from .fallback import native_enabled

_is_exporting: Any = getattr(torch.compiler, "is_exporting", lambda: False)  # since torch 2.7

Function = TypeVar("Function", bound=Callable[..., Any])


def not_traced(function: Function) -> Function:
    """`function`, which Dynamo is not to compile, piece by piece, where it steps around the layer that calls it.

    As `torch.compiler.disable`, but Dynamo, which takes long to import, is left alone by whoever does not use it.
    """
    disabled: list[Any] = []

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    return call  # type: ignore[return-value]


def _enabled() -> bool:
    """`native_enabled` as it is while tracing: Dynamo does not follow a context variable."""
    return native_enabled()


_enabled._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as in `parametrized`


def takes_operators(
    layer: nn.Module, inputs: Sequence[Tensor], parameters: Sequence[Tensor | None], dtype: torch.dtype = torch.float32
) -> bool:
    """Whether what `layer` computes of `inputs` with `parameters`, all of them of `dtype`, becomes operators.

    Not while gradients are needed: training changes weights with every step, and what is packed of them would be packed anew.
    An exported program is one for inference when its layers are in eval mode, whatever `requires_grad` says; its operators can
    be differentiated all the same. ONNX knows torch's operations alone.
    """
    tensors = [*inputs, *(tensor for tensor in parameters if tensor is not None)]
    if layer.training or not all(t.dtype is dtype and t.is_cpu and t.layout is torch.strided for t in tensors):
        return False
    if not _is_exporting() and torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    if torch.is_autocast_enabled("cpu") or forward_ad._current_level >= 0:
        return False
    if torch._C._functorch.maybe_current_level() is not None or torch.onnx.is_in_onnx_export():
        return False
    return (torch.compiler.is_dynamo_compiling() and not _is_exporting()) or _enabled()  # what is compiled asks when it runs
