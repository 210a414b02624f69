"""Layers go under masks one parameter at a time, and come back."""

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.masking.mask import Mask  # noqa: E402
from sparse_engine.nn.convert import attach, detach, plain_class, pruned_class  # noqa: E402


def mask(*shape, keep=0.5):
    return Mask.from_numpy(np.random.default_rng(0).random(shape) < keep)


def test_a_mask_leaves_those_of_other_parameters_and_drops_what_was_decided():
    layer = nn.GRU(8, 8).eval()
    first, second = mask(24, 8), mask(24, 8, keep=0.2)
    attach(layer, "weight_ih_l0", first)
    engine.autotune(layer, torch.randn(5, 1, 8))
    assert engine.nn.decisions(layer)[""]
    attach(layer, "weight_hh_l0", second)
    assert layer.masks == {"weight_ih_l0": first, "weight_hh_l0": second}
    assert not engine.nn.decisions(layer)[""], "made for other masks"
    layer.weight_ih_l0.data.fill_(1.0)
    layer.state_dict()
    np.testing.assert_array_equal(layer.weight_ih_l0.detach().numpy() != 0, first.to_numpy())


def test_a_mask_that_a_format_does_not_fit_is_not_served_in_it(native_always):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return x @ self.weight.t()

    layer = engine.prune(engine.nn.register(Own)(), engine.Spec(sparsity=0.5, granularity="2:4")).eval()
    x = torch.randn(3, 8)
    with torch.inference_mode():
        layer(x), layer(x)
    other = np.zeros((8, 8), bool)
    other[:, :3] = True
    attach(layer, "weight", Mask.from_numpy(other))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(other))
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(layer(x), x @ layer.weight.t())


@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 8), lambda: nn.LSTM(8, 8), lambda: nn.Conv3d(2, 4, 3)])
def test_a_layer_gets_its_class_back_and_its_weights_are_plain(make):
    layer = make()
    plain, name = type(layer), next(name for name, _ in layer.named_parameters() if "weight" in name)
    attach(layer, name, mask(*layer._parameters[name].shape))
    assert type(layer) is pruned_class(layer)
    assert plain_class(layer) is plain
    zeros = int((layer._parameters[name] == 0).sum())
    detach(layer)
    assert type(layer) is plain
    assert type(layer._parameters[name]) is nn.Parameter
    assert not hasattr(layer, "_sparse")
    assert int((layer._parameters[name] == 0).sum()) == zeros > 0


def test_a_layer_without_masks_is_left_as_it_is():
    layer = nn.Linear(4, 4)
    detach(layer)
    assert type(layer) is nn.Linear


@pytest.mark.parametrize(("cls", "weight"), [("Linear", "weight"), (int, "weight"), (nn.Identity, ()), (nn.Identity, (1,))])
def test_only_classes_of_modules_and_names_are_registered(cls, weight):
    with pytest.raises(TypeError):
        engine.nn.register(cls, weight=weight)
