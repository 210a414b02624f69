import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.masking.mask import Mask

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.targets import (  # noqa: E402
    Gate,
    Slice,
    as_stored,
    held_count,
    held_mask,
    is_linear,
    mask_updates,
    outputs_first,
    owners_of,
    parameters_of,
    weight_of,
)


def test_a_transposed_convolution_is_ranked_outputs_first_and_turned_back_exactly():
    layer = nn.ConvTranspose2d(4, 6, (3, 2), groups=2)
    ranked = weight_of(layer)
    assert ranked.shape == (6, 2, 3, 2)
    for group in range(2):
        for out in range(3):
            for i in range(2):
                assert torch.equal(ranked[3 * group + out, i], layer.weight[2 * group + i, out])
    assert torch.equal(as_stored(layer, ranked), layer.weight)
    assert torch.equal(as_stored(layer, outputs_first(layer, layer.weight)), layer.weight)


def test_a_gate_is_its_rows_and_its_mask_speaks_of_them_alone():
    rnn = nn.LSTM(3, 4)
    gate = Gate(rnn, "weight_hh_l0", 2)
    assert torch.equal(weight_of(gate), rnn.weight_hh_l0[8:12])
    assert owners_of(gate) == [(rnn, "weight_hh_l0")]
    assert parameters_of(gate)[0] is rnn.weight_hh_l0
    kept = np.eye(4, dtype=bool)
    ((module, name, rows, flags),) = mask_updates(gate, Mask.from_numpy(kept))
    assert (module, name, rows) == (rnn, "weight_hh_l0", slice(8, 12))
    assert np.array_equal(flags, kept)


def test_a_slice_stored_inputs_first_is_ranked_turned():
    module = nn.Module()
    module.experts = nn.Parameter(torch.arange(24.0).reshape(2, 3, 4))
    expert = Slice(module, "experts", 1, transposed=True)
    assert torch.equal(weight_of(expert), module.experts[1].t())
    kept = np.zeros((4, 3), bool)
    kept[3, 0] = True
    ((_, _, index, flags),) = mask_updates(expert, Mask.from_numpy(kept))
    assert index == 1
    assert np.argwhere(flags).tolist() == [[0, 3]]


def test_what_earlier_pruning_left_is_seen_in_the_order_of_ranking():
    layer = nn.ConvTranspose1d(2, 3, 2)
    assert held_mask(layer) is None
    assert held_count(layer) == 12
    mask = torch.zeros(2, 3, 2, dtype=torch.bool)
    mask[0, 2, 1] = True
    engine.set_masks(layer, {"weight": mask})
    held = held_mask(layer)
    assert held.shape == (3, 2, 2)
    assert held.nonzero().tolist() == [[2, 0, 1]]
    assert held_count(layer) == 1


def test_linear_is_what_multiplies_by_rows_and_no_convolution():
    assert is_linear(nn.Linear(2, 2))
    assert not is_linear(nn.Conv1d(2, 2, 1))
    assert not is_linear(nn.LSTM(2, 2))
    assert not is_linear(Gate(nn.LSTM(2, 2), "weight_hh_l0", 0))
