import numpy as np
import pytest
import torch

import sparse_engine as engine
from refused_operations import Sorted
from sparse_engine.compiler.compiled import CompiledModel


@pytest.fixture(scope="module")
def example():
    torch.manual_seed(0)
    return torch.randn(2, 3, 8, 8)


@pytest.fixture(scope="module")
def compiled(example):
    torch.manual_seed(0)
    return engine.compile(Sorted().eval(), example, threads=2, fallback="torch")


def test_it_is_used_as_any_compiled_model_is(compiled, example):
    assert isinstance(compiled, CompiledModel)
    assert compiled.threads == 2
    assert compiled.with_threads(1).threads == 1
    assert [(t.name, t.shape, t.dtype) for t in compiled.inputs] == [("x", ("N", 3, 8, 8), "float32")]
    assert compiled.input_shapes(5) == [[5, 3, 8, 8]]
    assert all(isinstance(result, np.ndarray) for result in compiled(example.numpy()))
    for a, b in zip(compiled(example), compiled.with_threads(1)(x=example), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(TypeError, match="input x is missing"):
        compiled()
    with pytest.raises(ValueError, match="has shape"):
        compiled(example[:, :2])
    with pytest.raises(ValueError, match="is float64"):
        compiled(example.double())


def test_an_empty_batch_gives_empty_outputs(compiled):
    assert [tuple(result.shape) for result in compiled(torch.zeros(0, 3, 8, 8))] == [(0, 4), (0, 3)]


def test_a_profile_has_a_row_for_each_segment_elsewhere_and_one_for_crossing(compiled, example):
    profile = compiled.profile(example, rounds=3)
    rows = [(node.name, node.kernel) for node in profile.nodes]
    assert ("segment 2", "torch") in rows
    assert ("segment 4", "torch") in rows
    assert rows[-1][0] == "between segments"
    assert rows[0][0] == "first"
    assert all(node.milliseconds > 0 for node in profile.nodes if node.kernel == "torch")
    assert [node.name for node in profile.nodes].index("segment 2") < [node.name for node in profile.nodes].index("middle")
    with pytest.raises(ValueError, match="rounds is 0"):
        compiled.profile(example, rounds=0)


def test_what_crosses_is_counted_and_timed(compiled, example):
    assert [shape for _, shape in compiled.crossing] == [
        [(0, 1), (8, 0)],
        [(0, 1), (8, 0)],
        [(0, 1), (10, 0)],
        [(0, 1), (10, 0)],
    ]
    whole, between = compiled.crossing_milliseconds(example)
    assert 0 < between < whole


def test_saving_is_refused_with_the_way_out(compiled, tmp_path):
    with pytest.raises(ValueError, match=r"2 of the model's 5 segments run in torch \(sort, topk, scatter\).*Keep the ONNX"):
        compiled.save(tmp_path / "model.sparse")
    assert not list(tmp_path.iterdir())


def test_it_is_closed_and_says_so(compiled, example):
    with compiled.with_threads(1) as other:
        other(example)
    with pytest.raises(ValueError, match="closed"):
        other(example)
    with pytest.raises(ValueError, match="closed"):
        other.profile(example)
    assert "5 segments" in str(other)
    compiled(example)
