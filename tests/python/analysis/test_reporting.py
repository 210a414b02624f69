import json

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))


def test_the_report_counts_parameters_and_multiply_accumulates():
    model = engine.prune(network(), engine.Spec(sparsity=0.75, include="3"))
    report = engine.report(model, example_inputs=torch.randn(2, 3, 8, 8))
    conv, linear = report.layers
    assert (conv.parameters, conv.nonzeros, conv.macs, conv.nonzero_macs) == (216, 216, 2 * 64 * 216, 2 * 64 * 216)
    assert (linear.parameters, linear.nonzeros, linear.density) == (5120, 1280, 0.25)
    assert (linear.macs, linear.nonzero_macs) == (2 * 5120, 2 * 1280)
    assert report.parameters == 216 + 8 + 5120 + 10
    assert report.macs == conv.macs + linear.macs
    assert conv.reason == "not pruned"
    assert all(row.dense_seconds > 0 and row.seconds > 0 for row in report.layers)
    assert linear.kernel in ("csr", "bitmask", "dense")
    if linear.kernel == "dense":
        assert linear.reason == "dense measured faster"


def test_the_report_without_inputs_has_counts_and_no_times():
    report = engine.report(engine.prune(network(), engine.Spec(sparsity=0.5)))
    assert report.macs is None
    assert report.seconds is None
    assert report.layers[0].reason == "not run in inference yet"


def test_the_report_restores_training_flags_and_leaves_no_hooks():
    model = engine.prune(network(), engine.Spec(sparsity=0.5)).train()
    model[0].eval()
    engine.report(model, example_inputs=(torch.randn(1, 3, 8, 8),))
    assert model.training
    assert not model[0].training
    assert all(not module._forward_hooks for module in model.modules())


def test_a_model_called_with_gradients_says_why_it_ran_dense():
    model = engine.prune(network(), engine.Spec(sparsity=0.5)).eval()
    model(torch.randn(1, 3, 8, 8))
    assert "torch.inference_mode()" in engine.report(model).layers[0].reason


def test_the_report_prints_a_table_and_gives_plain_data():
    report = engine.report(engine.prune(network(), engine.Spec(sparsity=0.5)), example_inputs=torch.randn(1, 3, 8, 8))
    text = str(report)
    assert "SparseConv2d" in text
    assert "8×3×3×3" in text
    assert "speed-up" in text
    assert len({len(line) for line in text.splitlines()[1:2]}) == 1
    assert json.loads(json.dumps(report.to_dict()))["layers"][0]["name"] == "0"


def test_layers_that_torchs_fused_path_skips_are_counted():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    report = engine.report(engine.prune(layer, engine.Spec(sparsity=0.5)), example_inputs=torch.randn(1, 3, 16))
    assert all(row.macs is not None for row in report.layers)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_model_never_pruned_is_dense_whatever_its_biases_begin_with():
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Embedding(4, 16, padding_idx=0))
    assert engine.report(model).nonzeros == engine.report(model).parameters
    zero = nn.Linear(4, 4)
    nn.init.zeros_(zero.weight)
    assert engine.report(zero).layers[0].density == 1.0
    engine.prune(zero, engine.Spec(sparsity=0.5))
    assert engine.report(zero).layers[0].density == 0.5
    half = engine.remove_masks(engine.prune(nn.Linear(4, 4), engine.Spec(sparsity=0.5)))
    assert engine.report(half).layers[0].nonzeros == 8
    assert engine.report(half).nonzeros == 12
