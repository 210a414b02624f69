"""What pruning itself costs, and a recurrent layer against torch: one figure a line, with the goal it has to reach.

python bench/pruning.py --markdown docs/pruning.md
"""

import argparse
import copy
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from machine import describe
from torch import nn

import sparse_engine as engine
from sparse_engine import _core
from sparse_engine.measure import latency
from sparse_engine.measure.latency import alternating, milliseconds

CALLS, TRIALS = 101, 5


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def row(what, figure, goal, reached):
    return f"| {what} | {figure} | {goal} | {'yes' if reached else 'NO'} |"


def global_selection():
    """AlexNet's layers, as Han pruned them."""
    shapes = [(3, 96, 11, 1), (96, 256, 5, 2), (256, 384, 3, 1), (384, 384, 3, 2), (384, 256, 3, 2)]
    model = nn.ModuleList([nn.Conv2d(i, o, k, groups=g) for i, o, k, g in shapes])
    model.extend([nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)])
    count = sum(layer.weight.numel() for layer in model)
    spec = engine.Spec(sparsity=0.9, scope="global")
    taken = statistics.median(seconds(partial(engine.prune, copy.deepcopy(model), spec)) for _ in range(3))
    return row(f"prune {count / 1e6:.1f} M weights of AlexNet globally to 90%", f"{taken:.2f} s", "< 1 s", taken < 1)


def second_order():
    """2:4 of one layer, the error of its output beside that of magnitude."""
    dense = nn.Linear(3072, 768)
    mixing = torch.randn(3072, 3072) / 3072**0.5  # features that depend on one another
    data = [torch.randn(512, 3072) @ mixing for _ in range(4)]
    errors, taken = {}, 0.0
    for criterion in ("l1", "obs"):
        layer = copy.deepcopy(dense)
        taken = seconds(partial(engine.prune, layer, engine.Spec(granularity="2:4", criterion=criterion), data=data))
        with torch.no_grad():
            lost = sum(float((layer(x) - dense(x)).square().sum()) for x in data)
            errors[criterion] = (lost / sum(float(dense(x).square().sum()) for x in data)) ** 0.5
    ratio = f"{errors['obs']:.3f} of the output, magnitude {errors['l1']:.3f}"
    return [
        row('"obs" at 2:4 on 768×3072, 2,048 inputs', f"{taken:.1f} s", "< 10 s", taken < 10),
        row("its error", ratio, "less than magnitude", errors["obs"] < errors["l1"]),
    ]


def recurrent(kind, goal):
    """Interleaved calls on one sequence."""
    dense = kind(600, 600).eval()
    sparse = engine.prune(copy.deepcopy(dense), engine.Spec(sparsity=0.9)).eval()
    x = torch.randn(20, 1, 600)
    ratios, ours = [], []
    with torch.inference_mode():
        zeroed = kind(600, 600).eval()
        zeroed.load_state_dict(sparse.state_dict())
        torch.testing.assert_close(sparse(x)[0], zeroed(x)[0], rtol=1e-4, atol=1e-5)
        for _ in range(CALLS):
            theirs = seconds(lambda: dense(x))
            ours.append(seconds(lambda: sparse(x)))
            ratios.append(theirs / ours[-1])
    ratio = statistics.median(ratios)
    what = f"nn.{kind.__name__}(600, 600), 90%, batch 1, 20 steps, over dense torch"
    return row(what, f"{ratio:.2f}× ({statistics.median(ours) * 1e3:.2f} ms)", f"≥ {goal}×", ratio >= goal)


def one_team():
    """The recurrence alone: its steps in one team of threads, and each with a team of its own."""
    dense = nn.LSTM(600, 600)
    weight = engine.prune(dense, engine.Spec(sparsity=0.9)).weight_hh_l0.detach().numpy()
    matrix = _core.Csr.from_dense(weight)
    inputs = torch.randn(20, 1, 2400).numpy()
    y, h, c = (np.zeros(shape, np.float32) for shape in ((20, 1, 600), (1, 600), (1, 600)))
    together, apart = [], []
    for _ in range(CALLS):
        gates = inputs.copy()
        together.append(seconds(lambda g=gates: _core.lstm(matrix, g, h, c, y)))
        gates = inputs.copy()
        steps = [(gates[t : t + 1], y[t : t + 1]) for t in range(20)]
        apart.append(seconds(lambda s=steps: [_core.lstm(matrix, g, h, c, part) for g, part in s]))
    ratio = statistics.median(a / t for a, t in zip(apart, together, strict=True))
    step = f"{statistics.median(together) / 20 * 1e6:.0f} µs a step, {min(together) / 20 * 1e6:.0f} at best"
    return row("its recurrence in one team of threads, over a team a step", f"{ratio:.2f}× ({step})", "≥ 1×", ratio >= 1)


def recorded(seen, models, inputs):
    """`alternating`, what the first of the models takes put down."""
    times = alternating(models, inputs)
    seen.append(times[0])
    return times


def budget(what, model, x, share):
    """Budgets that are a share of what the model takes at that time, and how far from them new measurements end up.

    A machine with neighbours may be half as fast a second later. So besides the plain milliseconds of the pruned model there is
    its share of the whole model's, in turns, times what the whole model took on average while the search for the sparsity ran.
    """
    steady, plain, pruned = [], [], []
    for _ in range(TRIALS):
        whole, copied = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
        asked = share * statistics.median(milliseconds(whole, x) for _ in range(5))
        seen: list[float] = []
        with patch.object(latency, "alternating", partial(recorded, seen)):
            engine.prune(copied, engine.Spec(latency_ms=asked, scope="global"), example_inputs=x)
        during = statistics.median(seen)
        times = [alternating([whole, copied], x) for _ in range(5)]
        steady.append(statistics.median(now / before for before, now in times) * during / asked - 1)
        plain.append(statistics.median(now for _, now in times) / asked - 1)
        masks = engine.masks(copied).values()
        pruned.append(1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks))
    name = f"latency_ms = {share:.0%} of what {what} takes ({asked:.2f} ms), measured anew; median of {TRIALS} times"
    figure = (
        f"{statistics.median(steady):+.1%} ({min(steady):+.1%} to {max(steady):+.1%}) at the speed the machine had while it "
        f"searched; in plain ms {statistics.median(plain):+.1%} ({min(plain):+.1%} to {max(plain):+.1%}); "
        f"{min(pruned):.0%} to {max(pruned):.0%} pruned"
    )
    return row(name, figure, "within 5%", abs(statistics.median(steady)) <= 0.05)


def vgg_like():
    """Eight 3×3 convolutions on 32×32 images, as VGG's for CIFAR-10."""
    layers, channels = [], 3
    for width, count in ((64, 2), (128, 2), (256, 2), (512, 2)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 4, 10))


def budgets():
    """A network of convolutions, and the two linear layers of a transformer's block."""
    mlp = nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))
    return [
        budget("a VGG for 32×32 images, batch 4,", vgg_like(), torch.randn(4, 3, 32, 32), 0.6),
        budget("a transformer's MLP, 768 to 3072, 64 tokens,", mlp, torch.randn(64, 768), 0.5),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    rows = [global_selection(), *second_order(), recurrent(nn.LSTM, 3), one_team(), recurrent(nn.GRU, 3), *budgets()]
    text = "\n".join(["| what | measured | goal | reached |", "|---|---|---|---|", *rows])
    print(text)
    if options.markdown:
        written = f"Written by `python bench/pruning.py {' '.join(sys.argv[1:])}`. {describe()}"
        options.markdown.write_text(f"# What pruning costs\n\n{written}\n\n{text}\n")


if __name__ == "__main__":
    main()
