from types import SimpleNamespace

from sparse_engine.compiler.description import description, shape_of

PLAIN, RELU = SimpleNamespace(name="none"), SimpleNamespace(name="relu")
LINEAR = {"operation": "linear", "name": "fc", "shape": [(0, 1), (4, 0)], "weight": (4, 8, 16)}
RESHAPE = {"operation": "reshape", "name": "", "shape": [(0, 1), (2, 0), (2, 0)], "weight": None}
NODES = [LINEAR | {"residual": True, "activation": RELU}, RESHAPE | {"residual": False, "activation": PLAIN}]


def test_sizes_say_how_they_grow_with_the_batch():
    assert shape_of([(0, 1), (3, 0), (0, 4), (1, 2)]) == ("N", 3, "4N", "2N+1")


def test_every_node_has_a_line_with_its_kernel():
    about = {"model": "Net", "captured": 4, "gone": [["simplify", 0], ["fuse_epilogue", 2]], "error": 1e-6}
    measured = {"milliseconds": 0.5, "torch_milliseconds": 2.0}
    lines = description(NODES, about, measured, 1, 3 << 19, {0: "gemv, csr"}).splitlines()
    assert lines[:5] == [
        "Net: 2 nodes, 1 of them products, 16 of 32 weights (50.0%)",
        "4 operations were captured; gone by pass: fuse epilogue 2",
        "1 thread, 1.5 MiB for intermediate values at batch 1",
        "largest error on the example 1.0e-06 of the largest output",
        "0.50 ms on the example, dense in torch 2.00 ms (4.00×)",
    ]
    assert all(part in lines[-2] for part in ("fc", "linear 4×8, 50.0% kept, + residual, relu", "gemv, csr"))
    assert lines[-2].endswith("(N, 4)")
    assert lines[-1].startswith("(model)")


def test_what_is_not_known_is_left_out():
    lines = description(NODES, {}, {}, 0, None, {}).splitlines()
    assert lines[0].startswith("model: 2 nodes")
    assert lines[1] == ""
