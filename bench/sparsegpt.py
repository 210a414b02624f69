"""Time and output error of `criterion="obs"` beside a plain SparseGPT (Frantar and Alistarh, ICML 2023), on a stack of
transformer blocks as wide as MiniLM: six blocks of 384, 64 sequences of 128 tokens, random weights.

    PYTHONPATH=python python bench/sparsegpt.py [--blocks 6] [--sequences 64]

The plain one is written as the paper describes it: float32 throughout, block by block; one pass of a block over all sequences
gathers the Hessians of its layers, which are pruned then, and a second gives the inputs of the next.
"""

import argparse
import copy
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_engine as engine


class Block(nn.Module):
    """Attention and two layers, normalised afterwards, as BERT has them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        x = self.first(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return self.second(x + self.down(F.gelu(self.up(x))))


def plain_layer(layer: nn.Linear, hessian: Tensor, sparsity: float, block: int = 128) -> None:
    """One layer as in the paper's algorithm: masks chosen for `block` columns at a time, column by column made up for."""
    w = layer.weight.data
    h = hessian.clone()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    for first in range(0, w.shape[1], block):
        last = min(first + block, w.shape[1])
        part, own = w[:, first:last].clone(), factor[first:last, first:last]
        worth = part**2 / own.diagonal()[None] ** 2
        gone = worth <= worth.flatten().sort().values[int(worth.numel() * sparsity) - 1]
        errors = torch.zeros_like(part)
        for i in range(last - first):
            column = part[:, i].clone()
            column[gone[:, i]] = 0
            errors[:, i] = (part[:, i] - column) / own[i, i]
            part[:, i:] -= errors[:, i : i + 1] @ own[i : i + 1, i:]
            part[:, i] = column
        w[:, first:last] = part
        w[:, last:] -= errors @ factor[first:last, last:]


@torch.no_grad()
def plain(model: nn.Sequential, data: list[Tensor], sparsity: float) -> None:
    """SparseGPT of a stack of blocks."""
    inputs = list(data)
    for block in model:
        hessians: dict[nn.Module, Tensor] = {}

        def gather(layer: nn.Module, args: tuple[Tensor, ...], found: dict[nn.Module, Tensor] = hessians) -> None:
            x = args[0].flatten(0, 1)
            found[layer] = found.get(layer, 0) + x.t() @ x

        hooks = [m.register_forward_pre_hook(gather) for m in block.modules() if isinstance(m, nn.Linear)]
        for x in inputs:
            block(x)
        for hook in hooks:
            hook.remove()
        for layer, hessian in hessians.items():
            plain_layer(layer, hessian, sparsity)
        inputs = [block(x) for x in inputs]


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sparsity", type=float, default=0.5)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(options.width, 12) for _ in range(options.blocks))).eval()
    mixing = torch.randn(options.width // 3, options.width)
    x = torch.randn(options.sequences, options.tokens, options.width // 3) @ mixing
    x = F.layer_norm(x + torch.randn_like(x), (options.width,))
    held_out, data = x[:8], list(x[8:].split(8))
    with torch.inference_mode():
        dense = model(held_out)
    spec = engine.Spec(sparsity=options.sparsity, criterion="obs")
    ways = {"plain": lambda m: plain(m, data, options.sparsity), "obs": lambda m: engine.prune(m, spec, data=data)}
    for name in ("plain", "obs", "plain", "obs"):
        pruned = copy.deepcopy(model)
        start = time.perf_counter()
        ways[name](pruned)
        seconds = time.perf_counter() - start
        with torch.inference_mode(), engine.nn.dense_only():
            error = float((pruned(held_out) - dense).square().mean() / dense.square().mean())
        print(f"{name:6} {seconds:6.2f} s  relative error of the outputs {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
