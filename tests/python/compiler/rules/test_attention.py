import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, expect_torch_on, operations

Q, K, V = (3, 7, 8), (3, 9, 8), (3, 9, 4)
attention = F.scaled_dot_product_attention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_torchs(causal, scale):
    expect_torch(lambda q, k, v: attention(q, k, v, is_causal=causal, scale=scale), Q, K, V)
    expect_torch(lambda q, k, v: attention(q, k, v, is_causal=causal, scale=scale), (7, 8), (9, 8), (9, 4))
    assert operations(lambda q, k, v: attention(q, k, v), (2, *Q), (2, *K), (2, *V)) == ["attention"]


@pytest.mark.parametrize("shape", [(1, 9), (7, 9), (7, 1), (1, 7, 9), (5, 1, 7, 9), (5, 3, 1, 9)])
def test_masks_are_added_or_hide(shape):
    torch.manual_seed(2)
    mask = torch.randn(shape)
    q, k, v = (torch.randn(5, *s) for s in (Q, K, V))
    given = (mask,) if len(shape) == 4 else ()
    expect_torch_on(lambda q, k, v, m=mask: attention(q, k, v, m), q, k, v, *given)
    hidden = mask > 0
    expect_torch_on(lambda q, k, v, m=hidden: attention(q, k, v, m), q, k, v, *(g > 0 for g in given))


def test_a_row_that_sees_nothing_is_zero():
    torch.manual_seed(0)
    seen = torch.ones(5, 1, 1, 9, dtype=torch.bool)
    seen[1] = False
    expect_torch_on(attention, *(torch.randn(5, *s) for s in (Q, K, V)), seen)


def test_heads_of_keys_are_shared():
    expect_torch(lambda q, k, v: attention(q, k, v, enable_gqa=True), (6, 7, 8), (2, 9, 8), (2, 9, 4))


def test_layers_of_torch_read_heads_where_they_lie():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    compiled = expect_torch_on(layer, torch.randn(5, 6, 16))
    found = [node["operation"] for node in compiled.nodes]
    assert found.count("attention") == 1
    assert found.count("linear") == 4
    whole = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="gelu"),
        2,
        enable_nested_tensor=False,
    )
    expect_torch_on(whole.eval(), torch.randn(5, 6, 16))


def test_dropout_is_refused():
    expect_refused(
        lambda q, k, v: attention(q, k, v, dropout_p=0.5),
        (2, *Q), (2, *K), (2, *V),
        operation="scaled_dot_product_attention",
        reason="with dropout",
    )  # fmt: skip
