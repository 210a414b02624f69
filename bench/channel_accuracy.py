"""Channels removed in one go, batch norms estimated again, nothing trained afterwards: accuracy by scope, Torch-Pruning beside.

    python bench/channel_accuracy.py --data DIRECTORY --state DIRECTORY

DIRECTORY of --data holds the two files of examples/lecture/cifar10.py. One network per seed: ResNet-20 with projections as
shortcuts, which begins at the trained weights (identities where they had no weight) and is trained for an epoch at a high rate,
so that no two are alike. Torch-Pruning is compared with where it is installed (`pip install torch-pruning`): its criterion of
the same name, with global ranking and with the same share of every layer.
"""

import argparse
import copy
import math
import statistics
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.measure.progress import Progress

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "lecture"))  # where the network is at home
from cifar10 import BATCH, DATA, Block, ResNet20, accuracy, load_images, load_network, load_pixels, missing_file, normalised

try:
    import torch_pruning
except ImportError:
    torch_pruning = None

KEPT = (0.7, 0.5)  # of the MACs
CRITERIA = ("l1", "taylor")
RATE, STEP = 0.1, 64
SEEN, MENDING = 1000, 1000  # images that "taylor" looks at, and that batch norms are estimated on
LAYER, GLOBAL, PEER = "per layer", "global", "Torch-Pruning"


class Projected(Block):
    """A block whose shortcut is a 1×1 convolution where the width grows (option B of He et al.)."""

    def __init__(self, channels, filters, stride):
        super().__init__(channels, filters, stride)
        self.shortcut = nn.Sequential()
        if self.missing:
            self.shortcut.append(nn.Conv2d(channels, filters, 1, stride, bias=False)).append(nn.BatchNorm2d(filters))
            nn.init.dirac_(self.shortcut[0].weight)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def projected(network):
    """The network with projections, at the weights of one with shortcuts of option A; its shortcuts begin as dirac."""
    model = ResNet20()
    for number, (channels, filters, stride) in enumerate(((16, 16, 1), (16, 32, 2), (32, 64, 2)), 1):
        blocks = Projected(channels, filters, stride), Projected(filters, filters, 1), Projected(filters, filters, 1)
        setattr(model, f"layer{number}", nn.Sequential(*blocks))
    model.load_state_dict(network.state_dict(), strict=False)
    return model


def trained(network, pixels, labels, seed, path):
    """A network for `seed`, trained once and kept at `path`."""
    torch.manual_seed(seed)
    model = projected(network)
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    picks = torch.randperm(len(labels)).split(STEP)
    bar = Progress(len(picks))
    for step, picked in enumerate(picks):
        images = pixels[picked]
        images = normalised(torch.where(torch.rand(len(picked), 1, 1, 1) < 0.5, images.flip(3), images))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / len(picks)))
        optimizer.zero_grad()
        F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels[picked]).backward()
        optimizer.step()
        bar.advance(f"training the network of seed {seed}")
    bar.close()
    model = model.eval().to(memory_format=torch.contiguous_format)
    torch.save(model.state_dict(), path)
    return model


def ours(model, macs, criterion, scope, batches):
    """`model` pruned by the engine."""
    spec = engine.Spec(macs=macs, granularity="channel", criterion=criterion, scope=scope)
    return engine.prune(copy.deepcopy(model), spec, data=batches, loss=F.cross_entropy, example_inputs=batches[0][0][:1])


def theirs(model, macs, criterion, together, batches):
    """`model` pruned by Torch-Pruning: the smallest ratio, in steps of a hundredth, at which no more than `macs` are left."""
    example = batches[0][0][:1]
    kinds = {"l1": torch_pruning.importance.MagnitudeImportance, "taylor": torch_pruning.importance.TaylorImportance}
    low, high, smallest = 1, 99, None
    while low <= high:
        percent, copied = (low + high) // 2, copy.deepcopy(model)
        pruner = torch_pruning.pruner.MetaPruner(
            copied,
            example,
            importance=kinds[criterion](**({"p": 1} if criterion == "l1" else {})),
            global_pruning=together,
            pruning_ratio=percent / 100,
            ignored_layers=[copied.linear],
        )
        if criterion == "taylor":
            for images, labels in batches:
                F.cross_entropy(copied(images), labels).backward()
        pruner.step()
        if counted(copied, example) <= macs:
            smallest, high = copied.eval(), percent - 1
        else:
            low = percent + 1
    assert smallest is not None
    return smallest


def counted(model, example):
    return engine.analysis.count_macs(model, [example]).total("macs")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    parser.add_argument("--state", type=Path, required=True, help="a directory that keeps what is trained")
    parser.add_argument("--seeds", type=int, default=3, help="networks")
    parser.add_argument("--trained-on", type=int, default=25_000, help="images of the epoch that tells the seeds apart")
    parser.add_argument("--criteria", nargs="*", choices=CRITERIA, default=CRITERIA)
    parser.add_argument("--tested", type=int, default=2000, help="images")
    options = parser.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        print(missing, file=sys.stderr)
        return 1
    if torch_pruning is None:
        print("torch_pruning is not installed: its column is left out")
    options.state.mkdir(parents=True, exist_ok=True)
    pixels, labels = load_pixels(options.data, "train", options.trained_on, options.state)
    images, answers = load_images(options.data, "test", options.tested, options.state)
    network, rows = load_network(options.data), {}
    for seed in range(options.seeds):
        model = trained(network, pixels, labels, seed, options.state / f"projected_{options.trained_on}_{seed}.pt")
        whole = counted(model, images[:1])
        print(f"seed {seed}: {accuracy(model, images, answers):.2%} before", flush=True)
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:MENDING]
        mending = normalised(pixels[chosen]).split(BATCH)
        batches = list(zip(mending, labels[chosen].split(BATCH), strict=True))[: SEEN // BATCH]
        for criterion in options.criteria:
            for kept in KEPT:
                found = rows.setdefault((criterion, kept), {})
                ways = {LAYER: (ours, "layer"), GLOBAL: (ours, "global")}
                if torch_pruning is not None:
                    ways |= {f"{PEER}, global": (theirs, True), f"{PEER}, per layer": (theirs, False)}
                for way, (prune, how) in ways.items():
                    smaller = prune(model, round(kept * whole), criterion, how, batches)
                    engine.analysis.recalibrate_batchnorm(smaller, mending)
                    right = 100 * accuracy(smaller, images, answers)
                    found.setdefault(way, []).append(right)
                    left = counted(smaller, images[:1]) / whole
                    print(f"  {criterion}, {kept:.0%} of the MACs, {way}: {right:.1f}% at {left:.1%}", flush=True)
    show(rows)
    return 0


def show(rows):
    """A line for each criterion and amount: means over the seeds, and which goals hold."""
    for (criterion, kept), found in rows.items():
        means = {way: statistics.mean(right) for way, right in found.items()}
        goals = {"global >= per layer": means[GLOBAL] >= means[LAYER]}
        for way in (GLOBAL, LAYER):
            if f"{PEER}, {way}" in means:
                goals[f"{way} >= {PEER}'s - 1 point"] = means[way] >= means[f"{PEER}, {way}"] - 1
        print(f"{criterion}, {kept:.0%} of the MACs: " + ", ".join(f"{way} {mean:.1f}%" for way, mean in means.items()))
        print("    " + "; ".join(f"{goal}: {'yes' if reached else 'NO'}" for goal, reached in goals.items()))


if __name__ == "__main__":
    sys.exit(main())
