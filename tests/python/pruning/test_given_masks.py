"""Masks as data: given ones, those of another model, those of zeros in a checkpoint."""

import copy

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))


def pruned(sparsity=0.8, **options):
    return engine.prune(network(), engine.Spec(sparsity=sparsity, **options))


def step(model):
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model(torch.randn(8, 20)).square().sum().backward()
    optimizer.step()


FORMS = {
    "tensors": lambda masks: masks,
    "arrays": lambda masks: {name: mask.numpy() for name, mask in masks.items()},
    "masks": lambda masks: {name: engine.masking.Mask.from_numpy(mask.numpy()) for name, mask in masks.items()},
    "not contiguous": lambda masks: {name: mask.T.contiguous().T for name, mask in masks.items()},
    "names of a wrapper": lambda masks: {f"module.{name}": mask for name, mask in masks.items()},
    "a model": lambda _: pruned(),
    "an average": lambda _: torch.optim.swa_utils.AveragedModel(pruned()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrap", [lambda m: m, torch.optim.swa_utils.AveragedModel], ids=["plain", "averaged"])
def test_set_masks_is_the_inverse_of_masks(form, wrap):
    masks = engine.masks(pruned())
    outer = wrap(network())
    assert engine.set_masks(outer, FORMS[form](masks)) is outer
    inner = getattr(outer, "module", outer)
    found = engine.masks(inner)
    assert list(found) == list(masks)
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())
    assert all(not dict(inner.named_parameters())[name][~mask].any() for name, mask in masks.items())
    step(inner)
    assert all(not dict(inner.named_parameters())[name][~mask].any() for name, mask in masks.items())


def test_weights_that_are_not_named_keep_what_they_have():
    model = pruned(include="0")
    before = engine.masks(model)["0.weight"]
    engine.set_masks(model, {"2.weight": torch.eye(10, 30, dtype=torch.bool)})
    assert torch.equal(engine.masks(model)["0.weight"], before)
    assert engine.masks(model)["2.weight"].sum() == 10
    engine.set_masks(model, {})
    assert len(engine.masks(model)) == 2


def test_one_gate_of_several_weights_and_all_kinds_of_layers_take_masks():
    model = nn.Sequential(nn.LSTM(4, 6), nn.MultiheadAttention(4, 2), nn.Conv2d(3, 4, 3), nn.ConvTranspose1d(3, 4, 2))
    masks = {name: torch.rand(p.shape) < 0.5 for name, p in model.named_parameters() if p.dim() > 1}
    engine.set_masks(model, masks)
    assert engine.masks(model).keys() == masks.keys()
    assert all(torch.equal(engine.masks(model)[name], mask) for name, mask in masks.items())
    engine.set_masks(model, {"0.weight_hh_l0": torch.ones(24, 6, dtype=torch.bool)})
    assert torch.equal(engine.masks(model)["0.weight_ih_l0"], masks["0.weight_ih_l0"])
    assert engine.masks(model)["0.weight_hh_l0"].all()


def test_layers_that_share_a_weight_get_its_mask_together():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    mask = torch.rand(6, 6) < 0.5
    engine.set_masks(model, {"1.weight": mask})
    assert all(torch.equal(engine.masks(model)[f"{i}.weight"], mask) for i in (0, 1))
    with pytest.raises(ValueError, match="are one weight"):
        engine.set_masks(model, {"1.weight": mask, "0.weight": ~mask})


WRONG = {
    "unknown": ("9.weight", torch.ones(30, 20, dtype=torch.bool), "'9.weight'"),
    "bias": ("0.bias", torch.ones(30, dtype=torch.bool), "'0.bias'"),
    "shape": ("0.weight", torch.ones(20, 30, dtype=torch.bool), r"'0.weight' has shape \(20, 30\)"),
    "broadcast": ("0.weight", torch.ones(1, 20, dtype=torch.bool), "shape"),
    "mask's shape": ("0.weight", engine.masking.Mask.from_numpy(np.ones((2, 3), np.bool_)), r"shape \(2, 3\)"),
    "float": ("0.weight", torch.ones(30, 20), "'0.weight' is of torch.float32"),
    "uint8 array": ("0.weight", np.ones((30, 20), np.uint8), "'0.weight' is of uint8"),
    "list": ("0.weight", [[True]], "'0.weight' is a list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_masks_that_do_not_fit_are_refused_by_name_and_nothing_changes(name):
    key, mask, words = WRONG[name]
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=words):
        engine.set_masks(model, {"2.weight": torch.zeros(10, 30, dtype=torch.bool), key: mask})
    assert not engine.masks(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_mapping_and_models_without_values_are_refused():
    with pytest.raises(TypeError, match="mapping"):
        engine.set_masks(network(), [torch.ones(3)])
    with pytest.raises(ValueError, match="meta device"):
        engine.set_masks(network().to("meta"), engine.masks(pruned()))


def test_zeros_of_a_checkpoint_are_taken_over_as_masks():
    checkpoint = {name: value.clone() for name, value in pruned().state_dict().items()}
    model = network()
    model.load_state_dict(checkpoint)
    engine.set_masks(model, engine.pruning.masks_from_zeros(model))
    assert all(torch.equal(mask, engine.masks(pruned())[name]) for name, mask in engine.masks(model).items())
    step(model)
    assert sum(int((p != 0).sum()) for p in (model[0].weight, model[2].weight)) == 180


def test_zeros_by_chance_and_layers_that_have_not_begun_are_left_out():
    model = nn.Sequential(*(nn.Linear(20, 20) for _ in range(4)), nn.Embedding(20, 20))
    with torch.no_grad():
        model[0].weight[0, :3] = 0  # 0.75%
        model[1].weight[0, :4] = 0  # 1%
        model[2].weight.zero_()
        model[3].weight[:10] = 0
        model[4].weight[:10] = 0
    assert list(engine.pruning.masks_from_zeros(model)) == ["1.weight", "3.weight"]
    assert list(engine.pruning.masks_from_zeros(model, min_sparsity=0.4)) == ["3.weight"]
    assert list(engine.pruning.masks_from_zeros(model, min_sparsity=0.001, include=["0", "2"])) == ["0.weight"]
    with pytest.raises(ValueError, match="min_sparsity = 0 "):
        engine.pruning.masks_from_zeros(model, min_sparsity=0)
