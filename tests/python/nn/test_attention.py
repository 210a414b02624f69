"""Attention of torch with its projections under masks gives what the dense layer gives, on native kernels."""

import copy

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.masking.mask import Mask  # noqa: E402
from sparse_engine.nn.convert import attach  # noqa: E402

PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def pruned(rng, only=PROJECTIONS, **options):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(32, 4, **options).eval()
    for name in only:
        if layer._parameters.get(name) is not None:
            attach(layer, name, Mask.from_numpy(rng.random(layer._parameters[name].shape) > 0.5))
    return layer, engine.remove_masks(copy.deepcopy(layer))


CALLS = {
    "weights": {},
    "no weights": {"need_weights": False},
    "weights of each head": {"average_attn_weights": False},
    "mask of bools": {"attn_mask": torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) > 0.7},
    "mask of each head": {"attn_mask": torch.randn(12, 5, 7), "need_weights": False},
    "padding": {"key_padding_mask": torch.tensor([[False] * 5 + [True] * 2] * 3)},
    "padding and mask": {"key_padding_mask": torch.tensor([[False] * 6 + [True]] * 3), "attn_mask": torch.randn(5, 7)},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"kdim": 24, "vdim": 24}, {"bias": False}], ids=str)
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_attention_between_two_sequences_is_that_of_torch(native_always, rng, options, call):
    layer, dense = pruned(rng, **options)
    query, key = torch.randn(3, 5, 32), torch.randn(3, 7, options.get("kdim", 32))
    if not options.get("batch_first"):
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    with torch.inference_mode():
        (ours, our_weights), (theirs, their_weights) = layer(query, key, key, **call), dense(query, key, key, **call)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (our_weights is None) == (their_weights is None)
    if our_weights is not None:
        torch.testing.assert_close(our_weights, their_weights, rtol=1e-4, atol=1e-5)
    assert any(choice.native for choice in layer._sparse.choices.exact.values())


@pytest.mark.parametrize("shape", [(3, 6, 32), (6, 32)], ids=str)
def test_attention_of_a_sequence_to_itself_takes_one_product_for_all_three(native_always, rng, shape):
    layer, dense = pruned(rng, batch_first=True)
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, x, x), dense(x, x, x), rtol=1e-4, atol=1e-5)
        causal = nn.Transformer.generate_square_subsequent_mask(6)
        for call in ({"attn_mask": causal, "is_causal": True, "need_weights": False}, {"need_weights": False}):
            torch.testing.assert_close(layer(x, x, x, **call)[0], dense(x, x, x, **call)[0], rtol=1e-4, atol=1e-5)
    assert list(layer._sparse.packed) == ["in_proj_weight"]


def test_projections_without_a_mask_run_beside_those_under_one(native_always, rng):
    layer, dense = pruned(rng, only=("k_proj_weight",), kdim=24, vdim=24, batch_first=True)
    x, y = torch.randn(2, 3, 32), torch.randn(2, 4, 24)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, y, y), dense(x, y, y), rtol=1e-4, atol=1e-5)


def test_what_native_attention_does_not_take_runs_dense_and_says_why(rng):
    layer, dense = pruned(rng, add_bias_kv=True)
    x = torch.randn(4, 2, 32)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, x, x), dense(x, x, x))
    assert "keys or values" in next(iter(layer._sparse.fallbacks))
    layer, dense = pruned(rng)
    torch.testing.assert_close(layer(x, x, x), dense(x, x, x))
    layer(x, x, x)[0].sum().backward()
    mask = engine.masks(layer)["in_proj_weight"]
    assert not layer.in_proj_weight.grad[~mask].any()
    assert layer.in_proj_weight.grad[mask].any()


def test_a_changed_projection_is_never_served_stale(native_always, rng):
    layer, _ = pruned(rng, batch_first=True)
    x = torch.randn(2, 3, 32)
    with torch.inference_mode():
        layer(x, x, x)
    layer.in_proj_weight.data[40] = 0
    with torch.inference_mode():
        dense = engine.remove_masks(copy.deepcopy(layer))
        torch.testing.assert_close(layer(x, x, x), dense(x, x, x), rtol=1e-4, atol=1e-5)
    assert np.count_nonzero(layer.in_proj_weight.detach().numpy()[40]) == 0
