import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, helper, model_of, onnx, reals
from sparse_engine.onnx_files.pruning import oriented, prune_onnx, weights_of


def network(weight_type=np.float32):
    """A convolution, a global pool, a linear layer either way round, and a weight that is a Constant."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "block.0.fc.weight"], ["e"], transB=1),
        helper.make_node("MatMul", ["e", "w"], ["f"]),
        helper.make_node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(reals(8, 6, seed=5))),
        helper.make_node("MatMul", ["f", "k"], ["y"]),
    ]
    constants = {"conv.weight": reals(16, 4, 3, 3, seed=1), "conv.bias": reals(16, seed=2),
                 "block.0.fc.weight": reals(24, 16, seed=3).astype(weight_type), "w": reals(24, 8, seed=4)}  # fmt: skip
    return model_of(nodes, {"x": ("N", 4, 7, 7)}, ["y"], constants)


def kept(model):
    return {name: int((oriented(weight) != 0).sum()) for name, weight in weights_of(model).items()}


def test_counts_are_exact_and_the_largest_stay():
    model = network()
    pruned = engine.prune(model, engine.Spec(sparsity=0.75))
    assert kept(pruned) == {"conv": 144, "block.0.fc": 96, "w": 48, "k": 12}
    assert kept(model)["conv"] == 576  # what was given is left as it is
    before, after = oriented(weights_of(model)["w"]), oriented(weights_of(pruned)["w"])
    assert np.array_equal(after[after != 0], before[after != 0])
    assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()
    onnx.checker.check_model(pruned)
    check(pruned, reals(2, 4, 7, 7))


def test_patterns_run_along_the_inputs_of_either_orientation():
    pruned = engine.prune(network(), engine.Spec(granularity="2:4"))
    for weight in weights_of(pruned).values():
        array = oriented(weight)
        groups = array.reshape(-1, 4)  # of the weight as a matrix
        assert ((groups != 0).sum(axis=1) == 2).all()


def test_blocks_global_ranking_and_names():
    blocks = engine.prune(network(), engine.Spec(granularity="4x1", sparsity=0.5, include=["w"]))
    array = oriented(weights_of(blocks)["w"])
    assert (np.isin((array.reshape(2, 4, 24) != 0).sum(axis=1), (0, 4))).all()
    assert kept(blocks)["conv"] == 576
    ranked = engine.prune(network(), engine.Spec(sparsity=0.9, scope="global"))
    assert sum(kept(ranked).values()) == round(0.1 * sum(kept(network()).values()))
    some = engine.prune(network(), engine.Spec(sparsity=0.5, exclude=["block.*"]))
    assert kept(some)["block.0.fc"] == 384
    assert kept(some)["w"] == 96


def test_the_files_type_of_a_weight_is_kept():
    pruned = engine.prune(network(np.float16), engine.Spec(sparsity=0.5))
    tensor = next(t for t in pruned.graph.initializer if t.name == "block.0.fc.weight")
    assert tensor.data_type == onnx.TensorProto.FLOAT16
    assert kept(pruned)["block.0.fc"] == 192


def test_files_come_back_with_their_weights_inside(tmp_path):
    onnx.save_model(network(), str(tmp_path / "m.onnx"), save_as_external_data=True, location="d", size_threshold=0)
    pruned = prune_onnx(tmp_path / "m.onnx", engine.Spec(sparsity=0.5))
    assert kept(pruned)["w"] == 96
    (tmp_path / "d").unlink()
    onnx.save(pruned, str(tmp_path / "p.onnx"))
    check(onnx.load(str(tmp_path / "p.onnx")), reals(1, 4, 7, 7))


def test_what_needs_data_and_a_model_without_weights_are_refused():
    with pytest.raises(ValueError, match="data"):
        engine.prune(network(), engine.Spec(sparsity=0.5, criterion="wanda"))
    with pytest.raises(ValueError, match="data, loss and example_inputs are for torch models"):
        engine.prune(network(), engine.Spec(sparsity=0.5), data=[reals(1, 4, 7, 7)])
    with pytest.raises(ValueError, match="no Conv, Gemm or MatMul"):
        engine.prune(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 4)}, ["y"]), engine.Spec(sparsity=0.5))
