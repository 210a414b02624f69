import copy
import warnings

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

quantization = pytest.importorskip("torch.ao.quantization")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:Please use quant_min"),
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def pruned():
    return engine.prune(network(), engine.Spec(sparsity=0.75))


def test_dynamic_quantisation_of_a_pruned_model_warns_with_the_way_out():
    with pytest.warns(UserWarning, match=r"passes over pruned ones: call engine\.remove_masks"):
        quantization.quantize_dynamic(pruned(), {nn.Linear}, dtype=torch.qint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = engine.remove_masks(pruned())
        plain.qconfig = None
        copy.deepcopy(plain)
    if "x86" in torch.backends.quantized.supported_engines or "fbgemm" in torch.backends.quantized.supported_engines:
        quantised = quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
        assert "quantized" in type(quantised[0]).__module__
        assert int((quantised[0].weight().int_repr() == 0).sum()) >= 0.75 * 256


def test_training_for_quantisation_of_a_pruned_model_warns():
    model = pruned().train()
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    with pytest.warns(UserWarning, match="passes over pruned ones"):
        quantization.prepare_qat(model, inplace=True)
    assert isinstance(model[0], engine.nn.SparseLinear)


def test_layers_in_training_for_quantisation_are_pruned_and_keep_their_forward():
    model = network().train()
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    model = quantization.prepare_qat(model)
    before = [type(layer) for layer in model]
    engine.prune(model, engine.Spec(sparsity=0.75))
    assert isinstance(model[0], before[0])
    assert int((model[0].weight == 0).sum()) == 192
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(8, 16)).square().sum().backward()
    optimizer.step()
    assert (model[0].weight[~engine.masks(model)["0.weight"]] == 0).all()
    with pytest.warns(UserWarning, match="passes over pruned ones"):
        quantization.convert(model.eval())
    assert [type(layer) for layer in engine.remove_masks(model)] == before


def test_a_layer_without_qconfig_has_no_such_attribute():
    layer = pruned()[0]
    assert not hasattr(layer, "qconfig")
    with pytest.warns(UserWarning, match="passes over"):
        layer.qconfig = None
    del layer.qconfig
    assert not hasattr(layer, "qconfig")


def convolutional():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    return engine.remove_masks(engine.prune(nn.Sequential(*layers), engine.Spec(sparsity=0.75)))


def test_without_masks_modules_are_fused_with_their_zeros():
    model, x = convolutional().eval(), torch.randn(2, 3, 4, 4)
    fused = quantization.fuse_modules(copy.deepcopy(model), [["0", "1", "2"]])
    torch.testing.assert_close(fused(x), model(x))
    assert int((fused[0][0].weight == 0).sum()) == 162


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="torch without x86 quantisation")
def test_without_masks_training_for_quantisation_and_conversion_take_every_layer():
    model, x = convolutional().train(), torch.randn(2, 3, 4, 4)
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    trained = quantization.prepare_qat(model)
    assert [type(trained[place]).__module__.split(".")[3] for place in (0, 4)] == ["qat", "qat"]
    trained(x)
    converted = quantization.convert(trained.eval())
    assert int((converted[4].weight().int_repr() == 0).sum()) >= 384
