import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from sparse_engine.compiler.onnx_rules.registry import RULES, Call, Known, rule
from sparse_engine.compiler.rules import RefusedError


def test_a_known_value_is_a_tensor_of_float32_or_of_its_integers():
    assert Known(np.array([1.5], np.float64)).tensor.dtype == torch.float32
    assert Known(np.array([1, 2])).tensor.dtype == torch.int64
    held = torch.ones(2)
    assert Known(np.ones(2, np.float32), held).tensor is held


def test_a_call_gives_inputs_attributes_and_what_is_either():
    call = Call("Op", {"axes": [3, 1]}, [torch.ones(2), None, Known(np.array([2, 0]))], 1, 13)
    assert call.has(0)
    assert not call.has(1)
    assert not call.has(7)
    assert call.listed("axes", 1, "axes") == [3, 1]
    assert call.listed("axes", 2, "axes") == [2, 0]
    assert call.listed("none", 1, "none") is None
    assert call.get("none", 5) == 5
    with pytest.raises(RefusedError, match="its size is computed"):
        call.known(0, "size")
    with pytest.raises(RefusedError, match="without its input 2"):
        call.x(1)


def test_rules_are_found_by_name():
    @rule("FirstOfTest", "SecondOfTest")
    def made(call):
        return call.x()

    assert RULES.pop("FirstOfTest") is RULES.pop("SecondOfTest") is made
