"""A decoder of two layers in plain torch, without transformers: its step with caches, and the whole sequence at once."""

import torch
from torch import nn
from torch.nn import functional

CAPACITY, VOCABULARY, WIDTH, HEADS, SHARED = 12, 50, 32, 4, 2
CACHES = [(SHARED, WIDTH // HEADS)] * 4


class Layer(nn.Module):
    """Attention with two heads of keys for four of queries, and an MLP."""

    def __init__(self):
        super().__init__()
        features = WIDTH // HEADS
        self.norm, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, heads * features) for heads in (HEADS, SHARED, SHARED))
        self.out, self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def heads(self, linear, x):
        return linear(x).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)

    def forward(self, x, position, past_k, past_v):
        y = self.norm(x)
        k = past_k.index_copy(2, position, self.heads(self.k, y))
        v = past_v.index_copy(2, position, self.heads(self.v, y))
        seen = torch.arange(past_k.shape[2])[None, :] <= position[:, None]
        y = functional.scaled_dot_product_attention(self.heads(self.q, y), k, v, attn_mask=seen[None, None], enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(functional.silu(self.up(self.norm_2(x)))), k, v


class Decoder(nn.Module):
    """forward(input_ids, position, past_k_0, past_v_0, …) → (logits, k_0, v_0, …)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CAPACITY, WIDTH)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, input_ids, position, *pasts):
        x, made = self.tokens(input_ids) + self.places(position), []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, position, *pasts[2 * i : 2 * i + 2])
            made += [k, v]
        return (self.head(x), *made)


def empty_caches(batch):
    """What a sequence begins with; nothing reads it."""
    return [torch.full((batch, heads, CAPACITY, features), 7.0) for heads, features in CACHES]


def whole(model, ids):
    """Logits of all tokens at once, in torch."""
    with torch.no_grad():
        return model(ids, torch.arange(ids.shape[1]), *empty_caches(ids.shape[0]))[0]
