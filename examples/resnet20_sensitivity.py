"""How much each layer of a trained ResNet-20 bears, and sparsities that beat the same one everywhere.

    python examples/resnet20_sensitivity.py --data DIRECTORY

DIRECTORY as for resnet20_cifar10.py. One layer at a time is pruned at several sparsities and the loss on some training images
taken; from these curves sparsities are allocated that remove 80% of all weights in total. That network, and the one with 80% in
every layer, get their batch-norm statistics estimated again, and the accuracy of both is taken on the test images. Nothing is
trained. Writes docs/resnet20_sensitivity.md and .png; an interrupted scan goes on where it was.
"""

import argparse
import datetime
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

import sparse_engine as engine

sys.path.append(str(Path(__file__).resolve().parent / "lecture"))  # where the network and its images are at home
from cifar10 import BATCH, DATA, accuracy, load_images, load_network, mended, missing_file

ROOT = Path(__file__).resolve().parent.parent

SPARSITY = 0.8
LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def score_on(images, labels):
    """A function from a model to minus its mean loss, which tells more from few images than an accuracy does."""

    def score(model):
        with torch.inference_mode():
            losses = [
                F.cross_entropy(model(x), y, reduction="sum")
                for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
            ]
        return -float(sum(losses)) / len(labels)

    return score


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "resnet20_sensitivity.md", help="the table; the plot beside it"
    )
    parser.add_argument("--resume", type=Path, help="a JSON file that keeps what is done of the scan")
    parser.add_argument("--quick", action="store_true", help="256 images, two sparsities")
    options = parser.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        print(missing, file=sys.stderr)
        return 1
    scanned, mending, tested, levels = (256, 256, 256, (0.5, 0.9)) if options.quick else (1_000, 2_000, 10_000, LEVELS)
    network = load_network(options.data)
    images, labels = load_images(options.data, "train", max(scanned, mending))
    test_images, test_labels = load_images(options.data, "test", tested)
    found = engine.sensitivity(
        network,
        score_on(images[:scanned], labels[:scanned]),
        sparsities=levels,
        example_inputs=images[:1],
        resume=options.resume,
    )
    shares = engine.allocate(found, sparsity=SPARSITY)
    same = dict.fromkeys(shares, SPARSITY)
    results = {}
    for name, chosen in (("the same in every layer", same), ("allocated", shares)):
        model = mended(network, engine.Spec(sparsity=chosen), images[:mending])
        results[name] = (accuracy(model, test_images, test_labels), engine.report(model).nonzeros)
    given = " --quick" if options.quick else ""
    lines = [
        "# Sensitivity of ResNet-20",
        "",
        f"Written by `python examples/resnet20_sensitivity.py{given}` on {datetime.date.today().isoformat()}.",
        "",
        f"Minus the mean loss on {scanned:,} training images with one layer at a time pruned by magnitude, nothing trained:",
        "",
        "```",
        str(found),
        "```",
        "",
        f"![loss and time by sparsity]({options.output.stem}.png)",
        "",
        f"{SPARSITY:.0%} of the weights removed in one shot, batch-norm statistics estimated again on {mending:,} images,",
        f"accuracy on {tested:,} test images (dense {accuracy(network, test_images, test_labels):.2%}):",
        "",
        "| sparsities | parameters left | accuracy |",
        "|---|---:|---:|",
        *(f"| {name} | {left:,} | {right:.2%} |" for name, (right, left) in results.items()),
        "",
        "Allocated: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + ".",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    found.plot(options.output.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
