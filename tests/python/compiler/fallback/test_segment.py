from sparse_engine.compiler.fallback.segment import Contents
from sparse_engine.compiler.unsupported import Refused


def test_what_is_not_covered_is_counted_by_name():
    contents = Contents(("x",), ("y",), refused=(Refused("sort", "a"), Refused("sort", "b"), Refused("topk", "")))
    assert contents.names == {"sort": 2, "topk": 1}
