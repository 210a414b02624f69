"""One family of pruned layers: one mask or several, kept, copied, moved and saved in one way."""

import copy
import pickle

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.masking.mask import Mask  # noqa: E402
from sparse_engine.nn.base import Pruned, masks_on, on_stand_ins  # noqa: E402


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        return torch.relu(x @ self.up.t()) @ self.down.t()


engine.nn.register(Own, weight=("up", "down"))

# A layer, the parameters it has under masks, an input.
LAYERS = {
    "linear": (lambda: nn.Linear(8, 8), ["weight"], (2, 8)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3), ["weight"], (2, 3, 8, 8)),
    "dense under a mask": (lambda: nn.Conv3d(2, 4, 3), ["weight"], (1, 2, 5, 5, 5)),
    "recurrent": (lambda: nn.LSTM(8, 8), ["weight_ih_l0", "weight_hh_l0"], (5, 2, 8)),
    "own forward": (Own, ["up", "down"], (2, 8)),
}
every_layer = pytest.mark.parametrize(("make", "names", "shape"), LAYERS.values(), ids=LAYERS)


def pruned(make):
    torch.manual_seed(0)
    return engine.prune(make(), engine.Spec(sparsity=0.5)).eval()


def assert_masked(layer, names):
    assert sorted(layer.masks) == sorted(names)
    for name in names:
        weight, kept = getattr(layer, name).detach(), torch.from_numpy(layer.masks[name].to_numpy())
        assert bool((weight[~kept] == 0).all()), name
        assert bool((weight[kept] != 0).all()), name


@every_layer
def test_every_pruned_layer_is_of_one_class_and_names_its_masks(make, names, shape):
    layer = pruned(make)
    assert isinstance(layer, Pruned)
    assert_masked(layer, names)
    assert masks_on(layer) == layer.masks
    assert hasattr(layer, "mask") == (names == ["weight"])
    assert "density=0.5" in repr(layer)
    assert masks_on(engine.remove_masks(layer)) == {}


@every_layer
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"])
def test_a_copy_has_masks_decisions_and_weights_of_its_own(make, names, shape, copied):
    layer = pruned(make)
    engine.autotune(layer, torch.randn(shape))
    twin = copied(layer)
    assert engine.nn.decisions(twin) == engine.nn.decisions(layer)
    assert type(twin) is type(layer)
    with torch.no_grad():
        for name in names:
            getattr(layer, name).fill_(3.0)
            getattr(twin, name).fill_(2.0)
    twin.state_dict()
    assert_masked(twin, names)
    assert all(float(getattr(twin, name).detach().max()) == 2.0 for name in names)


WRITES = {
    "in place": lambda layer, name: getattr(layer, name).data.fill_(2.0),
    "another parameter": lambda layer, name: setattr(layer, name, nn.Parameter(torch.ones_like(getattr(layer, name)))),
    "a state_dict": lambda layer, name: layer.load_state_dict(
        {key: torch.ones_like(value) for key, value in layer.state_dict().items()}
    ),
    "a state_dict taken over": lambda layer, name: layer.load_state_dict(
        {key: torch.ones_like(value) for key, value in layer.state_dict().items()}, assign=True
    ),
    "a tensor of inference": lambda layer, name: replaced_in_inference(layer, name),
    "another type and back": lambda layer, name: layer.to(torch.float64).to(torch.float32),
}


def replaced_in_inference(layer, name):
    with torch.inference_mode():
        setattr(layer, name, nn.Parameter(torch.ones_like(getattr(layer, name)), requires_grad=False))


@every_layer
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_masks_hold_whatever_writes_to_the_weights(make, names, shape, write):
    layer = pruned(make)
    for name in names:
        write(layer, name)
    with torch.inference_mode():
        layer(torch.randn(shape))
    assert_masked(layer, names)


@every_layer
def test_a_weight_of_another_shape_is_refused_with_the_way_out(make, names, shape):
    layer = pruned(make)
    setattr(layer, names[-1], nn.Parameter(torch.ones(3, 3)))
    with pytest.raises(ValueError, match=rf"{names[-1]} has shape \(3, 3\), its mask .*remove_masks"):
        layer(torch.randn(shape))


def test_what_stands_in_for_weights_is_gone_after_a_call_that_fails():
    layer = nn.Linear(2, 2)
    weight = layer.weight

    def call():
        assert layer.weight is not weight
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        on_stand_ins([(layer, "weight", torch.zeros(2, 2))], call)
    assert layer.weight is weight


def test_a_file_brings_back_every_mask(tmp_path):
    model = nn.ModuleList([pruned(make) for make, *_ in LAYERS.values()])
    engine.save(model, tmp_path / "model.safetensors")
    plain = nn.ModuleList([make() for make, *_ in LAYERS.values()])
    engine.load(tmp_path / "model.safetensors", plain)
    for layer, (_, names, _) in zip(plain, LAYERS.values(), strict=True):
        assert_masked(layer, names)


def test_masks_of_layers_are_those_that_were_given():
    layer = nn.Linear(4, 4)
    kept = np.eye(4, dtype=bool)
    engine.pruning.set_masks(layer, {"weight": torch.from_numpy(kept)})
    np.testing.assert_array_equal(layer.mask.to_numpy(), kept)
    assert layer.masks == {"weight": layer.mask}
    assert isinstance(layer.mask, Mask)
