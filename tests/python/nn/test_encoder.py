"""torch's transformer encoder calls the pruned layers it holds, instead of its fused dense path."""

import copy
import pickle

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

CAUSAL = {"mask": nn.Transformer.generate_square_subsequent_mask(6), "is_causal": True}
PADDED = {"src_key_padding_mask": torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] * 5 + [True]])}


def encoder(norm_first=False, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first, **options).eval()


@pytest.mark.parametrize("call", [{}, CAUSAL, PADDED], ids=["plain", "causal", "padded"])
@pytest.mark.parametrize("norm", [False, True], ids=["", "norm"])
@pytest.mark.parametrize("norm_first", [False, True], ids=["after", "before"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_the_encoder_gives_what_torchs_fused_path_gives(native_always, norm_first, norm, call):
    model = engine.prune(encoder(norm_first, norm=nn.LayerNorm(32) if norm else None), engine.Spec(sparsity=0.5))
    dense = engine.remove_masks(copy.deepcopy(model))
    assert type(dense) is nn.TransformerEncoder
    assert type(dense.layers[0]) is nn.TransformerEncoderLayer
    x = torch.randn(3, 6, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(x, **call), dense(x, **call), rtol=1e-4, atol=1e-5)
    assert all(layer.linear1._sparse.choices.exact for layer in model.layers), "its own layers ran"


def test_training_copies_and_pickles_go_on_as_before():
    model = engine.prune(encoder(), engine.Spec(sparsity=0.5))
    x = torch.randn(3, 6, 32)
    with torch.inference_mode():
        expected = model(x)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(twin(x), expected, rtol=1e-4, atol=1e-5)
    model.train()(x).sum().backward()
    mask = engine.masks(model)["layers.0.linear1.weight"]
    assert not model.layers[0].linear1.weight.grad[~mask].any()


def test_a_pruned_layer_inside_a_plain_encoder_still_takes_nested_tensors():
    model = encoder()
    engine.prune(model.layers[0], engine.Spec(sparsity=0.5))
    dense = engine.remove_masks(copy.deepcopy(model))
    x = torch.randn(3, 6, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(x, **PADDED), dense(x, **PADDED), rtol=1e-4, atol=1e-5)


def test_attention_and_recurrent_models_prune_and_run():
    attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    engine.prune(attention, engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        fused = attention(x)
    attention.requires_grad_(True)
    torch.testing.assert_close(attention(x), fused, rtol=1e-4, atol=1e-5)
