"""What a weight is worth: criteria against each other, on single weights and on whole filters.

    python examples/lecture/criteria.py --data DIRECTORY

DIRECTORY as for resnet20.py. ResNet-20 is pruned in one shot, every layer by the same share, batch-norm statistics are
estimated again, and nothing is trained, so that what is compared is the choice alone. Criteria that look at data see training
images.
"""

import sys
from itertools import product
from pathlib import Path

from cifar10 import BATCH, DATA, accuracy, load_images, load_network, mended, missing_file
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
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.measure.progress import Progress

# By granularity: the criteria that fit it, and the shares removed. Of single weights l2 ranks as l1 does.
WEIGHTS = ("element", ("l1", "taylor", "wanda", "obs", "random"), (0.5, 0.7, 0.8))
FILTERS = ("filter", ("l1", "l2", "taylor", "bn_scale", "fpgm", "random"), (0.1, 0.2, 0.3))
COLORS = {"l1": BLUE, "l2": "#56b4e9", "taylor": ORANGE, "wanda": GREEN, "bn_scale": GREEN, "obs": PURPLE, "fpgm": PURPLE}
COLORS |= {"random": RED}


def compared(network, granularity, criteria, sparsities, data, images, labels, path, bar):
    """(criterion, sparsity) -> accuracy in percent."""
    batches = list(zip(*(part.split(BATCH) for part in data), strict=True))
    left_alone = ["linear"] if granularity == "filter" else []  # which has rows, not filters
    found = {}

    def exact(criterion, sparsity):
        spec = engine.Spec(sparsity=sparsity, granularity=granularity, criterion=criterion, include="?*", exclude=left_alone)
        with engine.nn.dense_only():  # nothing is timed here, and deciding which kernel is faster takes time
            return 100 * accuracy(mended(network, spec, data[0], data=batches, loss=F.cross_entropy), images, labels)

    for criterion, sparsity in product(criteria, sparsities):
        name = f"{granularity}, {criterion}, {sparsity:.0%}"
        found[criterion, sparsity] = remember(path, name, lambda c=criterion, s=sparsity: exact(c, s))
        bar.advance(name)
    return found


def draw(path, exact, results):
    with picture(path, columns=2) as every:
        for axes, ((granularity, criteria, sparsities), found) in zip(every, results, strict=True):
            axes.axhline(exact, color=GREY, linestyle="--", label=f"dense ({exact:.1f}%)")
            for criterion, mark in zip(criteria, "os^Dvx", strict=False):
                values = [found[criterion, s] for s in sparsities]
                axes.plot([100 * s for s in sparsities], values, f"{mark}-", color=COLORS[criterion], label=criterion)
            axes.set_xlabel("weights removed (%)")
            axes.set_xticks([100 * s for s in sparsities])
            axes.set_ylabel("accuracy, nothing trained (%)")
            axes.set_title({"element": "single weights", "filter": "whole filters"}[granularity])
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize="small", frameon=False)


def main(arguments=None):
    options = parser(__doc__, "100 images, three criteria, one sparsity")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    shown, tested = (100, 100) if options.quick else (500, 1_000)
    network = load_network(options.data)
    cache = None if options.quick else options.state
    data = load_images(options.data, "train", shown, cache)
    images, labels = load_images(options.data, "test", tested, cache)
    exact = 100 * accuracy(network, images, labels)
    experiments = [WEIGHTS, FILTERS]
    if options.quick:
        experiments = [(given, (*criteria[:2], criteria[-1]), levels[:1]) for given, criteria, levels in experiments]
    bar = Progress(sum(len(c) * len(s) for _, c, s in experiments))
    results = [
        (given, compared(network, *given, data, images, labels, options.state / "criteria.json", bar)) for given in experiments
    ]
    bar.close()
    lines = [
        circumstances(__file__, options),
        "",
        f"Accuracy of ResNet-20 on {tested:,} test images (dense {exact:.2f}%), pruned in one shot, the same share of every "
        "layer; "
        f"batch-norm statistics estimated again on {shown:,} training images, which the criteria that look at data see as "
        "well; nothing "
        "trained.",
    ]
    for (granularity, criteria, sparsities), found in results:
        rows = [[criterion, *(f"{found[criterion, s]:.2f}%" for s in sparsities)] for criterion in criteria]
        title = {"element": "single weights", "filter": "whole filters, masked"}[granularity]
        lines += ["", *markdown([title, *(f"{s:.0%}" for s in sparsities)], rows)]
    lines += ["", "![accuracy by criterion](lecture/criteria.png)"]
    write_section(options, "criteria", "Criteria", lines, [("criteria", lambda path: draw(path, exact, results))])
    return 0


if __name__ == "__main__":
    sys.exit(main())
