"""Where a pruned model must not be slower than the dense one: layouts, sizes that vary, gradients, training steps.

    python bench/never_slower.py                    all of it, some minutes
    python bench/never_slower.py --parts sizes      layouts | sizes | memory | gradients | training

Pruned and dense models take turns in one process on the same threads; figures are ratios of medians, dense over pruned, so that
more is better. Results are compared before anything is timed. Sizes: each pass makes every size once, in the order of
a stream that never repeats one, on models that have never run; the sum and the worst single call are held against dense.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import sparse_engine as engine

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "lecture"))
from networks import ResNet50, drawn

SPARSITY = 0.8
ROUNDS = 15


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        same = stride == 1 and width == out
        self.short = nn.Identity() if same else nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return (self.nb(self.b(self.na(self.a(x)).relu())) + self.short(x)).relu()


def resnet18() -> nn.Module:
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *[BasicBlock(*w) for w in widths], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000))


class First(nn.Module):
    """The output of a recurrent layer alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP 4096, batch 64": (mlp, (64, 4096)),
    "ResNet-18, 64×64, batch 8": (resnet18, (8, 3, 64, 64)),
    "ResNet-50, 64×64, batch 2": (lambda: drawn(ResNet50), (2, 3, 64, 64)),
    "20 × Linear(64, 64), one row": (lambda: nn.Sequential(*[nn.Linear(64, 64) for _ in range(20)]), (1, 64)),
    "LSTM(256), 32 steps, batch 8": (lambda: First(nn.LSTM(256, 256, batch_first=True)), (8, 32, 256)),
}

# Name: how the model is made, and the input of the i-th of sixty sizes.
STREAMS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor]]] = {
    "LSTM(256), 10 to 69 steps": (lambda: First(nn.LSTM(256, 256, batch_first=True)), lambda i: torch.randn(1, 10 + i, 256)),
    "GRU(256), 10 to 69 steps": (lambda: First(nn.GRU(256, 256, batch_first=True)), lambda i: torch.randn(1, 10 + i, 256)),
    "Conv1d, 256 channels, 200 to 790 long": (
        lambda: nn.Sequential(*[nn.Conv1d(256, 256, 5, padding=2) for _ in range(3)]),
        lambda i: torch.randn(1, 256, 200 + 10 * i),
    ),
    "Conv2d, 64 channels, 96×96 to 132×116": (
        lambda: nn.Sequential(*[nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)]),
        lambda i: torch.randn(1, 64, 96 + i % 13 * 3, 96 + i // 13 * 5),
    ),
    "Linear, 10 to 69 tokens": (lambda: nn.Linear(1024, 1024), lambda i: torch.randn(10 + i, 1024)),
}


def pair(make: Callable[[], nn.Module], sparsity: float = SPARSITY) -> tuple[nn.Module, nn.Module]:
    """A pruned model, and a dense one with the same weights, zeros included."""
    torch.manual_seed(0)
    pruned = engine.prune(make(), engine.Spec(sparsity=sparsity)).eval()
    return pruned, engine.remove_masks(copy.deepcopy(pruned)).eval()


def in_turns(dense: Callable[[], object], pruned: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of each."""
    for call in (dense, pruned, pruned):
        call()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, taken in zip((dense, pruned), seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def verify(pruned: nn.Module, dense: nn.Module, x: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(pruned(x), dense(x), rtol=1e-3, atol=1e-3)


def say(what: str, dense: float, pruned: float, goal: str) -> None:
    print(
        f"{what:50} dense {dense * 1e3:9.2f} ms, pruned {pruned * 1e3:9.2f} ms, {dense / pruned:5.2f}x   ({goal})", flush=True
    )


def layouts() -> None:
    for size in (64, 224):
        pruned, dense = pair(lambda: drawn(ResNet50))
        pruned, dense = (model.to(memory_format=torch.channels_last) for model in (pruned, dense))
        x = torch.randn(1, 3, size, size).contiguous(memory_format=torch.channels_last)
        verify(pruned, dense, x)
        engine.autotune(pruned, x)
        with torch.inference_mode():
            say(f"channels_last ResNet-50, {size}×{size}", *in_turns(lambda: dense(x), lambda: pruned(x)), "goal at 224: 2")  # noqa: B023


def sizes() -> None:
    for name, (make, made) in STREAMS.items():
        inputs = [made(i) for i in range(60)]
        pruned, dense = pair(make)
        with torch.inference_mode():
            for x in inputs[:5]:
                dense(x)
            taken: dict[str, list[float]] = {"dense": [], "pruned": []}
            for x in inputs:
                for key, model in (("dense", dense), ("pruned", pruned)):
                    start = time.perf_counter()
                    model(x)
                    taken[key].append(time.perf_counter() - start)
            verify(pruned, dense, inputs[7])
        first, *later = (p / d for p, d in zip(taken["pruned"], taken["dense"], strict=True))
        sums = {key: sum(values) for key, values in taken.items()}
        say(
            f"first pass: {name}",
            sums["dense"],
            sums["pruned"],
            f"goal 0.77; first call {first:.1f}x dense's, worst later {max(later):.1f}x, goal 3",
        )


def memory() -> None:
    code = """
import resource, sys, torch, sparse_engine as engine
sys.path[:0] = {path!r}
from networks import ResNet50, drawn
model = engine.prune(drawn(ResNet50), engine.Spec(sparsity=0.8)).eval()
with torch.inference_mode():
    for i in range({count}):
        x = torch.randn(1, 3, 96 + 16 * (11 - i), 96)
        for _ in range(4):
            model(x)
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""
    found = {}
    for count in (1, 12):
        run = [sys.executable, "-c", code.format(path=[str(Path(__file__).parents[1] / "examples" / "lecture")], count=count)]
        found[count] = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    print(
        f"memory of ResNet-50 80%: one size {found[1] / 2**20:.0f} MB, twelve {found[12] / 2**20:.0f} MB, "
        f"{found[12] / found[1] - 1:+.0%}   (goal +25%)"
    )


def gradients() -> None:
    for name, (make, shape) in MODELS.items():
        pruned, dense = pair(make)
        x = torch.randn(shape)
        verify(pruned, dense, x)
        say(f"evaluation with gradients on: {name}", *in_turns(lambda: dense(x), lambda: pruned(x)), "goal 0.9")  # noqa: B023


def training() -> None:
    for name, (make, shape) in MODELS.items():
        x = torch.randn(shape)

        def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            optimizer.zero_grad()
            model(x).square().mean().backward()  # noqa: B023
            optimizer.step()

        calls = []
        for model in reversed(pair(make)):
            model.train()
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
            calls.append(lambda m=model, o=optimizer: step(m, o))
        say(f"training step: {name}", *in_turns(*calls), "goal 0.9")


PARTS = {"layouts": layouts, "sizes": sizes, "memory": memory, "gradients": gradients, "training": training}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    print(f"{engine.runtime.isa()}, {torch.get_num_threads()} threads, sparsity {SPARSITY:.0%}")
    for part in parser.parse_args().parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
