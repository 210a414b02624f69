"""Prune a trained ResNet-20 in one shot, mend its batch normalisation, and measure accuracy and time.

    python examples/resnet20_cifar10.py --data DIRECTORY

DIRECTORY holds `resnet20_cifar10.npz` (the weights, under their state-dict names) and `cifar10_jpeg.npz` (CIFAR-10 as JPEG
files: `{train,test}_jpeg`, `_offsets`, `_labels`). No training takes place: weights go by magnitude over the whole network, and
the statistics of batch normalisation are estimated again on 2,000 training images, without their labels. Accuracies are of all
10,000 test images, as the engine runs them. Writes the table to docs/resnet20_cifar10.md. Needs torch and Pillow.
"""

import argparse
import copy
import datetime
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import sparse_engine as engine
from sparse_engine.measure.timing import time_alternating

sys.path.append(str(Path(__file__).resolve().parent / "lecture"))  # where the network and its images are at home
from cifar10 import BATCH, DATA, accuracy, load_images, load_network, missing_file
from sections import processor

ROOT = Path(__file__).resolve().parent.parent
SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
TIMED = (1, 64)  # images in a batch when time is measured


@dataclass
class Row:
    """One sparsity; accuracies are shares of the test images, times medians for one batch."""

    sparsity: float
    nonzeros: int
    nonzero_macs: int
    accuracy: float
    mended_accuracy: float | None
    seconds: dict[int, list[float]]  # by batch size: dense, sparse


def measure(network, dense, sparsity, mended, images, labels, calls):
    """A row: `network` against `dense`, mended in place when there are images to mend it with."""
    counts = engine.report(network, example_inputs=images[:1])
    before = accuracy(network, images, labels)
    after = None
    if mended is not None:
        engine.analysis.recalibrate_batchnorm(network, mended.split(BATCH))
        after = accuracy(network, images, labels)
    times = {size: time_alternating([dense, network], images[:size], calls) for size in TIMED}
    return Row(sparsity, counts.nonzeros, counts.nonzero_macs, before, after, times)


def report(rows, arguments, images, mending, calls):
    config = engine.runtime.show_config()
    lines = [
        "# ResNet-20 on CIFAR-10, pruned in one shot",
        "",
        f"Written by `python examples/resnet20_cifar10.py{arguments}` on {datetime.date.today().isoformat()}.",
        "",
        f"- processor: {processor()}, {config['num_threads']} threads, `{config['isa']}` kernels",
        "- " + ", ".join(f"{name} {config[name]}" for name in ("sparse_engine", "torch", "numpy", "python")),
        f"- accuracy: {images:,} test images (JPEG)",
        f"- mended: batch-norm statistics estimated again on {mending:,} training images; no weight is trained",
        "- MACs: multiply-accumulates with a weight that is not 0, for one image",
        f"- time: medians of {calls} calls in milliseconds for one batch; the network before pruning and the pruned one take",
        "  turns in one process, and layers of the latter whose dense kernel measures faster run dense",
        "",
    ]
    head = ["sparsity", "parameters", "MACs", "accuracy", "mended"]
    for size in TIMED:
        head += [f"batch {size}: dense", "sparse", "speed-up"]
    lines += [f"| {' | '.join(head)} |", "|" + "---:|" * len(head)]
    for row in rows:
        mended = "–" if row.mended_accuracy is None else f"{row.mended_accuracy:.2%}"
        cells = [f"{row.sparsity:.0%}", f"{row.nonzeros:,}", f"{row.nonzero_macs / 1e6:.2f} M", f"{row.accuracy:.2%}", mended]
        for size in TIMED:
            dense, sparse = row.seconds[size]
            cells.append(f"{dense * 1e3:.2f}")
            cells += ["–", "–"] if row.sparsity == 0 else [f"{sparse * 1e3:.2f}", f"{dense / sparse:.2f}×"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    parser.add_argument("--output", type=Path, help="the table (default: docs/resnet20_cifar10.md; with --quick only printed)")
    parser.add_argument("--threads", type=int, help="threads to use (default: torch's own choice)")
    parser.add_argument("--quick", action="store_true", help="256 images, two sparsities, few repeats")
    options = parser.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        print(missing, file=sys.stderr)
        return 1
    if options.threads is not None:
        torch.set_num_threads(options.threads)
        engine.runtime.set_num_threads(options.threads)

    count, mending, sparsities, calls = (256, 256, (0.5, 0.9), 3) if options.quick else (10_000, 2_000, SPARSITIES, 51)
    network = load_network(options.data)
    test_images, test_labels = load_images(options.data, "test", count)
    train_images, _ = load_images(options.data, "train", mending)
    rows = [measure(network, network, 0.0, None, test_images, test_labels, calls)]
    for sparsity in sparsities:
        print(f"measuring at {sparsity:.0%}", file=sys.stderr)
        pruned = engine.prune(copy.deepcopy(network), engine.Spec(sparsity=sparsity, scope="global", include="?*"))
        rows.append(measure(pruned, network, sparsity, train_images, test_images, test_labels, calls))

    given = (" --quick" if options.quick else "") + (f" --threads {options.threads}" if options.threads is not None else "")
    table = report(rows, given, len(test_labels), mending, calls)
    print(table)
    output = options.output or (None if options.quick else ROOT / "docs" / "resnet20_cifar10.md")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
