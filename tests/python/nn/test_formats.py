import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.masking.hooks import hold  # noqa: E402
from sparse_engine.masking.mask import Mask  # noqa: E402
from sparse_engine.nn import dispatch as choice  # noqa: E402
from sparse_engine.nn import formats  # noqa: E402
from sparse_engine.nn.convert import attach  # noqa: E402


def mask_of(kept):
    return Mask(np.packbits(kept.reshape(-1), bitorder="little"), kept.shape)


@pytest.mark.parametrize(("rows", "cols"), [(64, 36), (256, 5), (12, 7), (300, 64), (4, 1)])
def test_strips_and_groups_are_found_wherever_they_hold_and_only_there(rng, rows, cols):
    strips = np.repeat(rng.random((rows // 4, cols)) < 0.4, 4, axis=0)
    strips[:4, 0] = True
    assert "bsr4x1" in formats.fitting(mask_of(strips))
    broken = strips.copy()
    broken[-1, -1] ^= True
    assert "bsr4x1" not in formats.fitting(mask_of(broken))
    if cols % 4 == 0:
        groups = rng.permuted(np.tile([True, True, False, False], (rows, cols // 4, 1)), axis=2).reshape(rows, cols)
        assert "nm2:4" in formats.fitting(mask_of(groups))
        groups[-1, -4:] = [True, True, True, False]
        groups[0, :4] = [True, False, False, False]
        assert "nm2:4" not in formats.fitting(mask_of(groups))


def test_a_bitmask_is_worth_timing_for_few_columns_only():
    for density in (0.02, 0.1, 0.5):
        assert "bitmask" not in formats.candidates(("csr", "bitmask"), density, 100)
    assert formats.candidates(("csr", "bitmask"), 0.5, 1)[0] == "bitmask"
    for columns in (1, 4):
        assert "csr" in formats.candidates(("csr", "bitmask"), 0.5, columns), "few columns have a layout of their own"
    assert formats.candidates(("csr", "bitmask"), 0.02, 1)[0] == "csr"
    assert formats.candidates(("csr", "bitmask"), 1.0, 100) == ["csr"]
    assert formats.modelled(["csr"], 1.0, 100) == "dense"


# Formats in the order they are timed in, and what the model takes untimed.
@pytest.mark.parametrize(
    ("density", "columns", "order", "untimed"),
    [
        (0.02, 1, ["nm2:4", "csr", "bsr4x1"], "nm2:4"),
        (0.1, 8, ["nm2:4", "csr", "bsr4x1", "bitmask"], "nm2:4"),
        (0.5, 1, ["nm2:4", "bitmask", "csr", "bsr4x1"], "nm2:4"),
        (1.0, 4, ["nm2:4", "bitmask", "csr", "bsr4x1"], "dense"),
        (0.02, 9, ["bsr4x1", "csr", "nm2:4"], "bsr4x1"),
        (0.5, 100, ["bsr4x1", "csr", "nm2:4"], "bsr4x1"),
        (1.0, 100, ["bsr4x1", "csr", "nm2:4"], "dense"),
    ],
)
def test_the_native_cost_model_orders_the_formats_and_decides_against_dense(density, columns, order, untimed):
    found = formats.candidates(tuple(formats.FORMATS), density, columns)
    assert found == order
    assert formats.modelled(found, density, columns) == untimed


def test_the_native_cost_model_knows_every_format_and_names_them_when_asked_for_another():
    for name in formats.FORMATS:
        assert formats._core.product_cost(name, 0.5, 1) > 0
    with pytest.raises(ValueError, match="format = 'csc' is not one of: " + ", ".join(formats.FORMATS)):
        formats._core.product_cost("csc", 0.5, 1)


@pytest.mark.parametrize("kernel", list(formats.FORMATS))
@pytest.mark.parametrize("columns", [1, 5, 70])
def test_every_format_gives_the_layers_result(monkeypatch, rng, kernel, columns):
    kept = rng.permuted(np.tile([True, True, False, False], (16, 12, 1)), axis=2).reshape(16, 48).repeat(4, axis=0)
    layer = engine.prune(nn.Linear(48, 64), engine.Spec(sparsity=0.9)).eval()
    layer.weight.data = torch.from_numpy(rng.standard_normal((64, 48)).astype(np.float32))
    attach(layer, "weight", mask_of(kept))
    decided = choice.Choice(kernel, {"dense": 1.0, kernel: 1.0})
    monkeypatch.setattr(choice, "_measure", lambda trial, ways, modelled, bounded: (decided, kernel, None))
    x = torch.randn(columns, 48)
    with torch.inference_mode():
        y = layer(x)
    torch.testing.assert_close(y, nn.functional.linear(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-4)
    assert list(layer._sparse.packed["weight"].matrices) == [kernel], "what no decision needs is dropped"
    assert engine.report(layer, x).layers[0].kernel == kernel


def test_a_part_of_a_weight_is_packed_once_for_each_format(rng):
    parameter = nn.Parameter(torch.from_numpy(rng.standard_normal((6, 4, 2)).astype(np.float32)))
    held = hold(parameter, Mask.from_numpy(rng.random((6, 4, 2)) < 0.5))
    whole = formats.Packed(parameter, held)
    part = formats.Packed(parameter, held, lambda weight: weight[2:4].flatten(1).t())
    dense = parameter.detach().numpy()
    np.testing.assert_array_equal(whole.matrix("csr").to_dense(), dense.reshape(6, 8))
    np.testing.assert_array_equal(part.matrix("bitmask").to_dense(), dense[2:4].reshape(2, 8).T)
    assert part.matrix("bitmask") is part.matrix("bitmask")
    assert list(part.matrices) == ["bitmask"]
