from collections import Counter

import torch

import sparse_engine as engine
from refused_operations import Sorted
from sparse_engine.compiler.fallback.description import described
from sparse_engine.compiler.fallback.segment import Contents, Segment
from sparse_engine.compiler.unsupported import Refused


class Nothing(Segment):
    def __init__(self, runtime, contents):
        super().__init__(contents)
        self.runtime = runtime

    def enter(self, values):
        raise NotImplementedError

    def run(self, batch, given):
        raise NotImplementedError

    def with_threads(self, threads):
        raise NotImplementedError


def test_what_runs_where_why_and_what_crossing_costs():
    segments = [
        Nothing("compiled", Contents(("x",), ("a",), Counter(conv2d=2), (), 300)),
        Nothing(
            "torch", Contents(("a",), ("b",), Counter(bmm=1, relu=3), (Refused("bmm", "head", "of two values", 100),), 100)
        ),
    ]
    crossing = [("a", [(0, 1), (8, 0)]), ("b", None)]
    measured = {"milliseconds": 2.0, "torch_milliseconds": 5.0, "crossing_milliseconds": 0.0125}
    text = described(segments, crossing, {"model": "Net", "error": 1e-7}, measured, [])
    assert "Net: 2 segments, 1 of them compiled, with 75.0% of the multiply-adds, 1 in torch" in text
    assert "not covered: bmm (1×, 25.0% of the multiply-adds, in head): of two values" in text
    assert "in torch too, where compiled they would hold no product: relu 3×" in text
    assert (
        "8 elements and those whose size depends on values go from segment to segment at batch 1, in 2 values, 0.013 ms" in text
    )
    assert "2.00 ms on the example, all of it in torch 5.00 ms (2.50×)" in text
    assert "conv2d 2×" in text


def test_a_compiled_model_prints_segments_and_nodes():
    text = str(engine.compile(Sorted().eval(), torch.randn(2, 3, 8, 8), fallback="torch"))
    assert "Sorted: 5 segments, 3 of them compiled" in text
    assert "not covered: topk (1×, in the model itself)" in text
    assert "getitem" not in text
    assert "8×72, 100.0% kept, + residual, relu" in text
