"""Why a call of a pruned layer runs on torch's dense arithmetic, and how to ask for that."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

TRAINING = "training or gradients needed: model.eval() and torch.inference_mode()"
PARAMETRIZED = "the weight is computed by a parametrization"
NOT_OWN = "the weight is not the layer's own (functional_call, fully_shard)"
DISABLED = "engine.nn.dense_only() is active"

_dense_only: ContextVar[bool] = ContextVar("sparse_engine.dense_only", default=False)


@contextmanager
def dense_only() -> Iterator[None]:
    """Run pruned layers on torch's dense arithmetic inside the `with` block, for comparison.

    Holds for this thread, or this task of asyncio, alone: calls that others make meanwhile keep their native kernels, those of
    threads started inside the block too.
    """
    before = _dense_only.get()
    _dense_only.set(True)
    try:
        yield
    finally:
        _dense_only.set(before)


def native_enabled() -> bool:
    """Whether no `dense_only` block is active here."""
    return not _dense_only.get()


def transformed(x: Tensor) -> bool:
    """Whether torch follows what becomes of `x` in a way that native code would cut: a trace, a transform, forward-mode AD."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or forward_ad._current_level >= 0 or torch._C._functorch.is_functorch_wrapped_tensor(x)
