"""What pruning in larger pieces costs in accuracy and gains in time.

    python examples/lecture/granularities.py --data DIRECTORY

DIRECTORY as for resnet20.py. Accuracy: ResNet-20 pruned in one shot at several granularities to the same share, batch-norm
statistics estimated again, nothing trained. Time: one convolution of ResNet-50, 256 to 256 channels, 3×3, 14×14 pixels. What
training gives back stands in the section of resnet20.py.
"""

import copy
import sys
from pathlib import Path

import torch
from cifar10 import DATA, accuracy, load_images, load_network, mended, missing_file
from sections import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    circumstances,
    fail,
    markdown,
    parser,
    picture,
    remember,
    settle,
    write_section,
)
from torch import nn

import sparse_engine as engine
from sparse_engine.measure.progress import Progress
from sparse_engine.measure.timing import time_alternating

GRANULARITIES = {"element": BLUE, "4x1": ORANGE, "vector": GREEN, "kernel": PURPLE, "filter": RED}
SPARSITIES = (0.3, 0.5, 0.7, 0.8)
LEFT_ALONE = ("conv1", "linear")  # by all granularities, so that they compare: 27 inputs, 10 outputs
CHANNELS, SIDE = 256, 14
CALLS = 101


def spec(granularity, sparsity, scope="layer"):
    if ":" in granularity:
        return engine.Spec(granularity=granularity, include="?*", exclude=LEFT_ALONE)
    return engine.Spec(sparsity=sparsity, granularity=granularity, scope=scope, include="?*", exclude=LEFT_ALONE)


def accuracies(network, sparsities, mending, images, labels, path):
    """(granularity, sparsity) -> accuracy in percent; 2:4 has one sparsity."""
    wanted = [(granularity, sparsity) for granularity in GRANULARITIES for sparsity in sparsities] + [("2:4", 0.5)]
    bar = Progress(len(wanted))
    found = {}

    def exact(spec):
        with engine.nn.dense_only():  # nothing is timed here, and deciding which kernel is faster takes time
            return 100 * accuracy(mended(network, spec, mending), images, labels)

    for granularity, sparsity in wanted:
        key = granularity, sparsity
        found[key] = remember(path, f"{granularity} {sparsity}", lambda key=key: exact(spec(*key)))
        bar.advance(f"{granularity} at {sparsity:.0%}")
    bar.close()
    return found


def times(sparsities, calls):
    """(granularity, sparsity) -> milliseconds dense, milliseconds pruned, of one convolution."""
    torch.manual_seed(0)
    dense = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False).eval()
    x = torch.randn(1, CHANNELS, SIDE, SIDE)
    found = {}
    for sparsity in sparsities:
        names = [*GRANULARITIES, *(["2:4"] if sparsity == 0.5 else [])]
        pruned = [engine.prune(copy.deepcopy(dense), spec(name, sparsity)) for name in names]
        before, *after = [1e3 * seconds for seconds in time_alternating([dense, *pruned], x, calls)]
        found |= {(name, sparsity): (before, milliseconds) for name, milliseconds in zip(names, after, strict=True)}
    return found


def draw(path, exact, right, taken):
    sparsities = sorted({sparsity for _, sparsity in taken})
    ticks = [100 * s for s in sparsities]
    with picture(path, columns=2) as (left, other):
        left.axhline(exact, color=GREY, linestyle="--", label=f"dense ({exact:.1f}%)")
        for (name, color), mark in zip(GRANULARITIES.items(), "os^Dv", strict=True):
            left.plot(ticks, [right[name, s] for s in sparsities], f"{mark}-", color=color, label=name)
            other.plot(ticks, [taken[name, s][0] / taken[name, s][1] for s in sparsities], f"{mark}-", color=color, label=name)
        left.plot([50], [right["2:4", 0.5]], "k*", markersize=11, label="2:4")
        other.plot([50], [taken["2:4", 0.5][0] / taken["2:4", 0.5][1]], "k*", markersize=11, label="2:4")
        other.axhline(1, color=GREY, linestyle="--", label="dense")
        left.set_ylabel("accuracy, nothing trained (%)")
        left.set_title("ResNet-20 on CIFAR-10")
        other.set_ylabel("speed-up over dense (times)")
        other.set_title(f"3×3, {CHANNELS} to {CHANNELS} channels, {SIDE}×{SIDE} pixels, batch 1")
        for axes in (left, other):
            axes.set_xlabel("weights removed (%)")
            axes.set_xticks(ticks)
            axes.legend(frameon=False)


def main(arguments=None):
    options = parser(__doc__, "100 images, one sparsity")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    mended_on, tested, sparsities, calls = (100, 100, (0.5,), 5) if options.quick else (500, 1_000, SPARSITIES, CALLS)
    network = load_network(options.data)
    cache = None if options.quick else options.state
    mending, _ = load_images(options.data, "train", mended_on, cache)
    images, labels = load_images(options.data, "test", tested, cache)
    exact = 100 * accuracy(network, images, labels)
    right = accuracies(network, sparsities, mending, images, labels, options.state / "granularities.json")
    taken = times(sparsities, calls)
    rows = []
    for name in [*GRANULARITIES, "2:4"]:
        row = [name]
        for s in sparsities:
            row += [f"{right[name, s]:.2f}%", f"{taken[name, s][1]:.3f} ms"] if (name, s) in right else ["", ""]
        rows.append(row)
    head = ["granularity"] + [cell for s in sparsities for cell in (f"{s:.0%}", "time")]
    lines = [
        circumstances(__file__, options),
        "",
        f"Accuracy of ResNet-20 on {tested:,} test images (dense {exact:.2f}%), pruned in one shot, the same share of every "
        "layer but "
        f"{' and '.join(LEFT_ALONE)}; batch-norm statistics estimated again on {mended_on:,} training images, nothing "
        "trained. Beside it "
        f"the time of one 3×3 convolution, {CHANNELS} to {CHANNELS} channels, {SIDE}×{SIDE} pixels, one image (dense "
        f"{taken[next(iter(taken))][0]:.3f} ms; medians of {calls} calls, all of a sparsity taking turns). All are masks on "
        "weights: "
        "whole filters can leave the network altogether, see channels below.",
        "",
        *markdown(head, rows),
        "",
        "![accuracy and speed-up by granularity](lecture/granularities.png)",
    ]
    figures = [("granularities", lambda path: draw(path, exact, right, taken))]
    write_section(options, "granularities", "Granularities at equal density", lines, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
