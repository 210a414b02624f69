"""Every cell of granularity × criterion × scope × budget, tried on a small model: it works, or is refused with a reason.

python tests/python/combinations.py --markdown docs/combinations.md
"""

import argparse
import itertools
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine

GRANULARITIES = ("element", "2:4", "4x1", "1x4", "4x4", "vector", "kernel", "filter", "row", "channel", "pattern", "head")
CRITERIA = {name: name for name in ("l1", "l2", "random", "taylor", "wanda", "obs", "bn_scale", "fpgm")} | {
    "function": lambda w: w.square()
}
SCOPES = {"layer": "layer", "row": "row", "global": "global", "patterns": ("[2-9]",)}
AMOUNTS = {
    "sparsity": {"sparsity": 0.6},
    "per layer": {"sparsity": {"*": 0.6}},
    "nonzeros": {"nonzeros": 200},
    "macs": {"macs": 20_000},
    "bytes": {"bytes": 2_500},
    "latency_ms": {"latency_ms": 1000.0},
    "threshold": {"threshold": 1.0},
    "none": {},
}
INPUTS = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3])


class Attending(nn.Sequential):
    """Two attention layers over the same inputs, cut into tokens."""

    def __init__(self) -> None:
        attention = [nn.MultiheadAttention(6, 3, batch_first=True) for _ in range(2)]
        super().__init__(attention[0], nn.LayerNorm(6), attention[1], nn.LayerNorm(6), nn.Linear(6, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(len(x), -1, 6)
        for attention, norm in ((self[0], self[1]), (self[2], self[3])):
            tokens = norm(tokens + attention(tokens, tokens, tokens)[0])
        return self[4](tokens.mean(1))


def network(granularity: str) -> nn.Module:
    torch.manual_seed(0)
    if granularity == "head":
        return Attending()
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(32, 8),
        nn.BatchNorm1d(8),
    )


def attempt(granularity: str, criterion: str, scope: str, amount: str) -> tuple[nn.Module | None, str]:
    """The pruned model, or None and why the combination is refused."""
    model = network(granularity)
    try:
        spec = engine.Spec(granularity=granularity, criterion=CRITERIA[criterion], scope=SCOPES[scope], **AMOUNTS[amount])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # layers that are left alone
            engine.prune(model, spec, data=[(INPUTS, TARGETS)], loss=F.cross_entropy, example_inputs=INPUTS[:1])
    except ValueError as error:
        return None, str(error)
    return model, ""


def cells() -> list[tuple[str, str, str, str]]:
    return list(itertools.product(GRANULARITIES, CRITERIA, SCOPES, AMOUNTS))


def markdown() -> str:
    lines = [
        "# What goes together",
        "",
        "Written by `python tests/python/combinations.py --markdown docs/combinations.md`, which tries every combination; the",
        'tests try them all and check the budgets. L: `scope="layer"`, R: `"row"`, G: `"global"`, P: patterns. A number is the',
        "reason of a refusal, below.",
    ]
    reasons: dict[str, int] = {}
    for granularity in GRANULARITIES:
        lines += ["", f"## {granularity}", "", f"| criterion | {' | '.join(AMOUNTS)} |", "|---" * (len(AMOUNTS) + 1) + "|"]
        for criterion in CRITERIA:
            row = []
            for amount in AMOUNTS:
                tried = {scope: attempt(granularity, criterion, scope, amount) for scope in SCOPES}
                works = " ".join(scope[0].upper() for scope, (model, _) in tried.items() if model is not None)
                why = sorted({reasons.setdefault(text, len(reasons) + 1) for model, text in tried.values() if model is None})
                row.append(" ".join(filter(None, [works, ",".join(map(str, why)) and f"({','.join(map(str, why))})"])))
            lines.append(f"| {criterion} | {' | '.join(row)} |")
    lines += ["", "## Why not", "", *(f"{number}. {text}" for text, number in reasons.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, required=True)
    parser.parse_args().markdown.write_text(markdown())
