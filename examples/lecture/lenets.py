"""LeNet-300-100 and LeNet-5 on MNIST with 12 times fewer parameters, as in Han et al., NeurIPS 2015.

    python examples/lecture/lenets.py --data DIRECTORY

DIRECTORY holds `mnist10k.npz` (10,000 digits, the last 2,000 are the test) or MNIST's four files, which are taken when they are
there. Each network is trained, pruned to the densities Han et al. print for its layers while it trains on, and compared with
itself trained on for as long without pruning, so that more training is not taken for an effect of pruning.
"""

import copy
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from mnist import DATA, distorted, load_mnist, missing_file
from networks import LeNet5, LeNet300
from published import LENET_5, LENET_300, removed_to_total
from sections import circumstances, fail, markdown, parser, settle, write_section
from table import weights_of
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.cli.demo_training import accuracy, steps_per_epoch, train
from sparse_engine.measure.progress import Progress

TIMES = 12  # fewer parameters


@dataclass(frozen=True)
class Experiment:
    """A network of Han et al.: densities and errors in percent as printed, the learning rate, and seeds."""

    network: type
    layers: dict
    printed: tuple
    rate: float
    seeds: tuple


NETWORKS = {
    "LeNet-300-100": Experiment(LeNet300, LENET_300, (1.64, 1.59), 0.05, (0, 1, 2)),
    "LeNet-5": Experiment(LeNet5, LENET_5, (0.80, 0.77), 0.02, (0, 1, 2)),  # a pass takes ten times as long
}
DROPOUT = 0.0


def spec_of(model, layers):
    """The densities of Han et al., moved within their rounding so that exactly a twelfth of the parameters is left."""
    sizes = weights_of(model)
    parameters = sum(p.numel() for p in model.parameters())
    total = parameters // TIMES - (parameters - sum(sizes.values()))
    return engine.Spec(sparsity=removed_to_total(layers, sizes, total))


def trained(model, digits, epochs, rate, seed, bar, label, spec=None):
    """`model`, trained in place; with a `spec` pruned meanwhile, the same share of what is left each time up to the middle."""
    steps = epochs * steps_per_epoch(digits)
    pruner = None
    if spec is not None:
        pruner = engine.Pruner(model, spec, engine.schedules.Exponential(begin=0, end=steps // 2, every=max(1, steps // 20)))

    def after_step():
        bar.advance(label)
        if pruner is not None:
            pruner.step()

    train(model, digits, epochs, rate, torch.Generator().manual_seed(seed), after_step, distorted)
    return model.eval()


def kept(path, make, model):
    """`model` as the file `path` has it, or as `make` leaves it, which is then written there."""
    if path.is_file():
        return engine.load(path, model).eval(), True
    made = make(model)
    engine.save(made, path)
    return made, False


def run(name, digits, epochs, seed, state, bar):
    """Errors in percent and losses of one network: trained, trained on, pruned and trained on; and the pruned network."""
    experiment = NETWORKS[name]
    steps = epochs * steps_per_epoch(digits)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dense = experiment.network(DROPOUT)

    def stage(what, start, spec=None):
        path = state / f"{name}_{what}_{seed}_{epochs}.safetensors"
        model, found = kept(
            path,
            lambda m: trained(m, digits, epochs, experiment.rate, seed, bar, f"{name}, seed {seed}: {what}", spec),
            copy.deepcopy(start),
        )
        if found:
            bar.advance(name, steps)
        return model

    dense = stage("trained", dense)
    longer = stage("trained on", dense)
    pruned = stage("pruned", dense, spec_of(dense, experiment.layers))
    stages = (dense, longer, pruned)
    return [100 * (1 - accuracy(model, digits)) for model in stages], [loss(model, digits) for model in stages], pruned


@torch.inference_mode()
def loss(model, digits):
    """Mean cross-entropy of the test images, which says more than a handful of errors does."""
    with engine.nn.dense_only():
        return float(F.cross_entropy(model(digits.test_images), digits.test_labels))


def main(arguments=None):
    options = parser(__doc__, "500 images, two passes, one seed")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the digits")
    options.add_argument("--epochs", type=int, default=30, help="passes over the images, before pruning and while it lasts")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    epochs, count = (2, 500) if options.quick else (options.epochs, None)
    seeds = {name: e.seeds[:1] if options.quick else e.seeds for name, e in NETWORKS.items()}
    digits = load_mnist(options.data, count)
    bar = Progress(3 * epochs * steps_per_epoch(digits) * sum(map(len, seeds.values())))
    rows = []
    for name, experiment in NETWORKS.items():
        runs = [run(name, digits, epochs, seed, options.state, bar) for seed in seeds[name]]
        left = engine.report(runs[0][2])
        every_error, every_loss, _ = zip(*runs, strict=True)
        means = [[statistics.mean(values) for values in zip(*every, strict=True)] for every in (every_error, every_loss)]
        cells = [f"{error:.2f}% ({nats:.4f})" for error, nats in zip(*means, strict=True)]
        spread = ", ".join("/".join(f"{error:.2f}" for error in errors) for errors in every_error)
        cells += [f"{left.parameters:,}", f"{left.nonzeros:,}", f"{left.parameters / left.nonzeros:.1f}×"]
        rows.append([name, *cells, f"{experiment.printed[0]:.2f}% → {experiment.printed[1]:.2f}%", spread])
    bar.close()
    head = [
        "test error (loss)",
        "trained",
        "trained on, dense",
        "pruned, trained on",
        "parameters",
        "left",
        "fewer",
        "Han et al.",
        "seeds",
    ]
    lines = [
        circumstances(__file__, options),
        "",
        f"{len(digits.train_labels):,} training and {len(digits.test_labels):,} test images; {epochs} passes over the first, "
        f"distorted at random, and {epochs} more with the weights going in the first half of them; means over the seeds, each "
        "of which stands in the last column, and in brackets the mean cross-entropy in nats, which says more than a handful of "
        "errors. Han et al. have 60,000 and 10,000 images. One test image is "
        f"{100 / len(digits.test_labels):.2f} points.",
        "",
        *markdown(head, rows),
    ]
    write_section(options, "lenets", "LeNet-300-100 and LeNet-5 with 12 times fewer parameters", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
