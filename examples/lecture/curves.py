"""Accuracy against the share of weights removed: pruned, pruned and fine-tuned, and both in turns; and what becomes of weights.

    python examples/lecture/curves.py --data DIRECTORY

DIRECTORY as for lenets.py. LeNet-5 is trained on MNIST. For every sparsity the smallest weights go at once, of every layer
or of the whole network, and what is left is fine-tuned; iteratively, each sparsity starts from the fine-tuned network of the
one before. Every fine-tuning takes equally long.
"""

import copy
import statistics
import sys
from pathlib import Path

import torch
from lenets import NETWORKS, kept, trained
from mnist import DATA, load_mnist, missing_file
from networks import LeNet5
from sections import BLUE, GREY, ORANGE, RED, circumstances, fail, markdown, parser, picture, settle, write_section

import sparse_engine as engine
from sparse_engine.cli.demo_training import accuracy, steps_per_epoch
from sparse_engine.measure.progress import Progress

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
SEEDS = (0, 1)
SCOPES = {"layer": "the same share of every layer", "global": "the smallest of the whole network"}
EPOCHS, TUNING = 30, 5  # passes over the images: before pruning, and every time after it
RATE = NETWORKS["LeNet-5"].rate
TUNING_RATE = RATE / 2
LAYER, SHOWN = "fc1", 0.9  # whose weights the histograms show, and at which sparsity
STAGES = ("pruned", "fine-tuned", "iterative")


def pruned_to(model, sparsity, scope):
    return engine.prune(copy.deepcopy(model), engine.Spec(sparsity=sparsity, scope=scope, include="?*")).eval()


def run(digits, scope, sparsities, epochs, tuning, seed, state, bar):
    """Accuracies of one seed, {"dense": a, sparsity: [pruned, fine-tuned, iterative]}, and the weights for the histograms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LeNet5()

    def stage(what, start, passes, rate):
        path = state / f"curves_{what}_{seed}_{epochs}_{tuning}.safetensors"
        model, found = kept(path, lambda m: trained(m, digits, passes, rate, seed, bar, f"seed {seed}: {what}"), start)
        if found:
            bar.advance(what, passes * steps_per_epoch(digits))
        return model

    dense = stage("trained", network, epochs, RATE)
    found, before = {"dense": accuracy(dense, digits)}, dense
    weights = {"before": dense.get_submodule(LAYER).weight.detach().flatten()}
    for sparsity in sparsities:
        once, again = pruned_to(dense, sparsity, scope), pruned_to(before, sparsity, scope)
        row = [accuracy(once, digits)]
        if sparsity == SHOWN:
            weights["after pruning"] = once.get_submodule(LAYER).weight.detach().flatten().clone()
        once = stage(f"{scope} fine-tuned at {sparsity:.0%}", once, tuning, TUNING_RATE)
        before = stage(f"{scope} iterative at {sparsity:.0%}", again, tuning, TUNING_RATE)
        if sparsity == SHOWN:
            weights["after fine-tuning"] = once.get_submodule(LAYER).weight.detach().flatten()
        found[str(sparsity)] = [*row, accuracy(once, digits), accuracy(before, digits)]
    return found, weights


def draw_curves(path, sparsities, means, dense):
    with picture(path, columns=2, size=(13, 5.6)) as every:
        for axes, (scope, rows) in zip(every, means.items(), strict=True):
            axes.axhline(0, color=GREY, linestyle="--", label=f"dense ({dense:.2f}%)")
            for place, (stage, color, mark) in enumerate(zip(STAGES, (RED, ORANGE, BLUE), "^so", strict=True)):
                lost = [rows[s][place] - dense for s in sparsities]
                axes.plot([100 * s for s in sparsities], lost, f"{mark}-", color=color, label=stage)
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(-95, 0.3)
            axes.set_yticks([0, -0.5, -1, -2, -5, -10, -20, -50, -80])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("weights removed (%)")
            axes.set_ylabel("accuracy lost (percentage points, log beyond 1)")
            axes.set_title(f"LeNet-5 on MNIST: {SCOPES[scope]}")
            axes.legend(loc="lower left", frameon=False)


def draw_weights(path, weights):
    reach = 1.02 * max(float(values.abs().max()) for values in weights.values())
    with picture(path, columns=3, size=(13, 4.6)) as every:
        for axes, (stage, values), color in zip(every, weights.items(), (GREY, RED, BLUE), strict=True):
            present = values[values != 0].numpy()
            axes.hist(present, bins=121, range=(-reach, reach), color=color)
            axes.set_title(f"{stage}: {len(present):,} weights")
            axes.set_xlabel(f"weight of {LAYER}")
        every[0].set_ylabel("weights that are not 0 (count)")


def main(arguments=None):
    options = parser(__doc__, "600 images, two sparsities, one seed")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the digits")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    sparsities, seeds, epochs, tuning, count = SPARSITIES, SEEDS, EPOCHS, TUNING, None
    if options.quick:
        sparsities, seeds, epochs, tuning, count = (0.9, 0.98), SEEDS[:1], 4, 1, 600
    digits = load_mnist(options.data, count)
    tunings = 2 * tuning * len(sparsities)
    bar = Progress(len(SCOPES) * len(seeds) * (epochs + tunings) * steps_per_epoch(digits))
    runs = {
        scope: [run(digits, scope, sparsities, epochs, tuning, seed, options.state, bar) for seed in seeds] for scope in SCOPES
    }
    bar.close()
    exact = [found["dense"] for found, _ in runs["layer"]]
    dense, spread = 100 * statistics.mean(exact), 100 * (max(exact) - min(exact))
    means = {
        scope: {s: [100 * statistics.mean(found[str(s)][i] for found, _ in every) for i in range(3)] for s in sparsities}
        for scope, every in runs.items()
    }
    lines = [
        circumstances(__file__, options),
        "",
        f"LeNet-5 on {len(digits.train_labels):,} digits, accuracy on {len(digits.test_labels):,} others, means of "
        f"{len(seeds)} "
        f"seeds (dense {dense:.2f}%, seeds {spread:.2f} points apart; one test image is {100 / len(digits.test_labels):.2f}). "
        f"{tuning} passes of fine-tuning each time, iteratively from every line of a table to the next. Two ways to choose:",
        "",
    ]
    for scope, rows in means.items():
        cells = [[f"{s:.0%}", *(f"{value:.2f}%" for value in rows[s])] for s in sparsities]
        lines += [*markdown([SCOPES[scope], *STAGES], cells), ""]
    lines += [
        "![accuracy against the share of weights removed](lecture/curves.png)",
        "",
        f"Weights of `{LAYER}` that are not 0, {SHOWN:.0%} of every layer removed: one hump before, two after pruning, "
        "smoothed by "
        "fine-tuning.",
        "",
        "![weights before, after pruning, after fine-tuning](lecture/weights.png)",
    ]
    figures = [
        ("curves", lambda path: draw_curves(path, sparsities, means, dense)),
        ("weights", lambda path: draw_weights(path, runs["layer"][0][1])),
    ]
    write_section(options, "curves", "Accuracy against the share of weights removed", lines, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
