"""Functions of tensors as models, compiled and compared with torch."""

import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.unsupported import UnsupportedModel


class Calls(nn.Module):
    """A function of tensors as a model; its modules are attributes of the first argument."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            if isinstance(module, torch.Tensor):
                self.register_buffer(name, module)
            else:
                self.add_module(name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def as_model(function, **modules):
    """A module, or a function of tensors as one, in eval mode."""
    return (function if isinstance(function, nn.Module) else Calls(lambda m, *x: function(*x), **modules)).eval()


def operations(function, *inputs):
    """What a module or function of tensors, or of random ones of these shapes, becomes before any pass."""
    given = tuple(x if isinstance(x, torch.Tensor) else torch.randn(x) for x in inputs)
    g = capture(as_model(function), given, {})
    g.check()
    return [node.op for node in g]


def expect_torch(function, *shapes, tolerance=1e-5):
    """Compile a module, or a function of tensors of these shapes without their batch, and compare it with torch.

    At batches 1 to 5 and 1 to 3 threads, from an arena of NaN.
    """
    torch.manual_seed(0)
    expect_torch_on(function, *(torch.randn(5, *shape) for shape in shapes), tolerance=tolerance)


def expect_torch_on(function, *inputs, tolerance=1e-5):
    """The same on these inputs, of a batch of 5; returns the program."""
    model = as_model(function)
    compiled = engine.compile(model, tuple(x[:2].clone() for x in inputs))
    with torch.no_grad():
        expected = {batch: _tensors(model(*(x[:batch].clone() for x in inputs))) for batch in range(1, 6)}
    for threads in (1, 2, 3):
        session = compiled.with_threads(threads)
        session._session.fill_arena(True)
        for batch, outputs in expected.items():
            found = session(*(x[:batch].numpy() for x in inputs))
            for y, output in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
                np.testing.assert_allclose(y, output.numpy(), rtol=tolerance, atol=tolerance, strict=True)
    return compiled


def expect_refused(function, *shapes, operation, reason=""):
    """The only thing that is in the way of compiling it."""
    with pytest.raises(UnsupportedModel) as caught:
        operations(function, *shapes)
    assert [one.operation for one in caught.value.refused] == [operation]
    assert reason in caught.value.refused[0].reason


def _tensors(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]
