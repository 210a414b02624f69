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

import torch
from machine import describe
from torch import nn

import sparse_engine as engine

CALLS = 101


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    rows = [global_selection(), *second_order(), recurrent(nn.LSTM, 3), recurrent(nn.GRU, 3)]
    text = "\n".join(["| what | measured | goal | reached |", "|---|---|---|---|", *rows])
    print(text)
    if options.markdown:
        written = f"Written by `python bench/pruning.py {' '.join(sys.argv[1:])}`. {describe()}"
        options.markdown.write_text(f"# What pruning costs\n\n{written}\n\n{text}\n")


if __name__ == "__main__":
    main()
