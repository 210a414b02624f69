"""Pruned layers and compiled models of bfloat16 beside torch's dense ones, in turns, every output verified.

    python bench/sixteen_bits.py --types bfloat16 float16 --sparsities 0.8 0.9

A linear layer of 768 to 3072 features on 1 to 512 tokens, by itself and under autocast, and an encoder of BERT-base's layers on
one sequence of 128 tokens, eager and compiled. Dense is torch in the same type, and in float32; all are held against float32
arithmetic on the same weights.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from typing import Any

import torch
from machine import describe
from models import pruned_to
from networks import network
from torch import Tensor, nn

import sparse_engine as engine
from sparse_engine.measure.text_table import table
from sparse_engine.measure.timing import AT_ONCE, interleaved

UNITS = 24  # of the type, that an output of many roundings may be off by, relative to the largest
Calls = dict[str, Callable[[], Tensor]]


def verified(calls: Calls, exact: Tensor, dtype: torch.dtype) -> None:
    """End the program where an output is further off than roundings explain."""
    for name, call in calls.items():
        error = float((call().float() - exact).abs().max() / exact.abs().max())
        if not error <= UNITS * torch.finfo(dtype).eps:
            sys.exit(f"{name}: output differs by {error:.1e} of the largest")


def medians(calls: Calls, rounds: int) -> list[str]:
    """Milliseconds of each, and how many times faster the last is than those before it."""
    times = [1e3 * seconds for seconds in interleaved(list(calls.values()), rounds, AT_ONCE)]
    return [*(f"{taken:.2f}" for taken in times), *(f"{taken / times[-1]:.2f}×" for taken in times[:-1])]


def layer_calls(wide: nn.Module, dtype: torch.dtype, tokens: int, autocast: bool) -> tuple[Calls, Tensor]:
    """Dense in float32, dense in `dtype`, pruned in `dtype`; and what is to come out."""
    narrow = copy.deepcopy(wide).to(dtype)
    plain = engine.remove_masks(copy.deepcopy(narrow)).float()
    x = torch.randn(tokens, 768).to(dtype)
    whole, layer = x.float(), wide if autocast else narrow
    given = whole if autocast else x

    def cast(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=autocast):
            result: Tensor = model(given)
        return result

    dense = engine.remove_masks(copy.deepcopy(layer))
    for _ in range(30):
        cast(layer)
    return {
        "float32": lambda: plain(whole),
        "dense": lambda: cast(dense),
        "pruned": lambda: cast(layer),
    }, plain(whole)


def layers(options: argparse.Namespace) -> list[list[str]]:
    """A row for each type, sparsity and number of tokens."""
    rows = []
    for sparsity in options.sparsities:
        wide = engine.prune(nn.Linear(768, 3072), engine.Spec(sparsity=sparsity)).eval()
        for dtype in options.types:
            for autocast in (False, True):
                for tokens in options.tokens:
                    calls, exact = layer_calls(wide, dtype, tokens, autocast)
                    verified(calls, exact, dtype)
                    what = f"{'autocast ' * autocast}{str(dtype).removeprefix('torch.')}"
                    rows.append([what, f"{sparsity:.0%}", str(tokens), *medians(calls, options.rounds)])
    return rows


def encoder_calls(sparsity: float, count: int, dtype: torch.dtype, threads: int) -> tuple[Calls, Tensor]:
    """Dense in float32, dense in `dtype`, pruned in `dtype`, compiled; and what is to come out."""
    model = network("bert").model
    whole = model.model
    whole.encoder.layer = whole.encoder.layer[:count]
    narrow = pruned_to(model, sparsity).to(dtype)
    wide, dense = copy.deepcopy(narrow).float(), engine.remove_masks(copy.deepcopy(narrow))
    plain, ids = engine.remove_masks(copy.deepcopy(wide)), torch.randint(0, 30000, (1, 128))
    compiled: Any = engine.compile(narrow, ids, threads=threads)
    for _ in range(30):
        narrow(ids)
    return {
        "float32": lambda: plain(ids),
        "dense": lambda: dense(ids),
        "pruned": lambda: narrow(ids),
        "compiled": lambda: compiled(ids),
    }, plain(ids)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=["bfloat16"], choices=["bfloat16", "float16"])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8, 0.9])
    parser.add_argument("--tokens", nargs="*", type=int, default=[1, 16, 128, 512])
    parser.add_argument("--encoder-layers", type=int, default=2, help="0 leaves the encoder out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.types = [getattr(torch, name) for name in options.types]
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    print(describe())
    with torch.inference_mode():
        if options.tokens:
            heads = ["linear 3072×768", "sparsity", "tokens", "dense float32, ms", "dense, ms", "pruned, ms"]
            print(table([*heads, "× dense float32", "× dense"], layers(options)))
        rows = []
        for dtype in options.types if options.encoder_layers else ():
            for sparsity in options.sparsities:
                calls, exact = encoder_calls(sparsity, options.encoder_layers, dtype, options.threads)
                verified(calls, exact, dtype)
                rows.append([str(dtype).removeprefix("torch."), f"{sparsity:.0%}", *medians(calls, options.rounds)])
        heads = ["encoder", "sparsity", "dense float32, ms", "dense, ms", "pruned, ms", "compiled, ms"]
        if rows:
            print(table([*heads, "× dense float32", "× dense", "× pruned"], rows))


if __name__ == "__main__":
    main()
