"""The lecture's table, recomputed: five networks at full size, what pruning leaves of them, and how long a call takes.

    python examples/lecture/table.py

Weights and images are drawn at random, so nothing is said about accuracy, and the share of activations that are not 0 is that
of random networks, about a half. The counter is therefore also given the shares that Han et al. printed. "Dense" is
the network before pruning, run by torch; the pruned one's outputs are compared with those of dense arithmetic on its weights.
"""

import copy
import sys
from dataclasses import dataclass

import torch
from networks import VGG16, AlexNet, GoogLeNet, LeNet5, LeNet300, ResNet50, SqueezeNet, drawn, images
from published import (
    ALEXNET,
    GOOGLENET_REMOVED,
    LECTURE,
    LENET_5,
    LENET_300,
    RESNET_50_REMOVED,
    VGG_16,
    input_densities,
    removed_to_total,
    removed_with_rest,
)
from sections import circumstances, markdown, parser, remember, settle, write_section
from torch import nn

import sparse_engine as engine
from sparse_engine.measure.progress import Progress
from sparse_engine.measure.timing import time_alternating

NETWORKS = {"AlexNet": AlexNet, "VGG-16": VGG16, "GoogLeNet": GoogLeNet, "ResNet-50": ResNet50, "SqueezeNet": SqueezeNet}
PUBLISHED = {"AlexNet": ALEXNET, "VGG-16": VGG_16}
KNOWN = {"GoogLeNet": GOOGLENET_REMOVED, "ResNet-50": RESNET_50_REMOVED, "SqueezeNet": {}}
HAN = {  # network, layers as printed, share of multiply-accumulates that is left as printed
    "LeNet-300-100": (LeNet300, LENET_300, 0.08),
    "LeNet-5": (LeNet5, LENET_5, 0.16),
    "AlexNet": (AlexNet, ALEXNET, 0.30),
    "VGG-16": (VGG16, VGG_16, 0.21),
}
UNIFORM = 0.9
TIMED = {1: 21, 8: 7}  # images in a batch: calls that are timed
CLOSE = 1e-4  # of the largest output: how far a pruned network's may be from those of dense arithmetic


@dataclass(frozen=True)
class Variant:
    """A network and how it is pruned: as published, or the same share of every layer."""

    network: str
    uniform: bool

    @property
    def name(self):
        return f"{self.network}, {UNIFORM:.0%} everywhere" if self.uniform else self.network

    def spec(self, model):
        if self.uniform:
            return engine.Spec(sparsity=UNIFORM, include="?*")
        sizes = weights_of(model)
        others = sum(p.numel() for p in model.parameters()) - sum(sizes.values())  # biases and normalisation stay
        total = round(LECTURE[self.network].after * 1e6) - others
        if self.network in PUBLISHED:
            return engine.Spec(sparsity=removed_to_total(PUBLISHED[self.network], sizes, total))
        return engine.Spec(sparsity=removed_with_rest(KNOWN[self.network], sizes, total))


VARIANTS = [Variant(network, False) for network in NETWORKS] + [Variant(network, True) for network in NETWORKS]


def weights_of(model):
    """Weights of every layer that can be pruned."""
    return {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def measure(variant, batches, counted):
    """What the tables say of one variant: parameters, three counts, seconds by batch, and how far the outputs are apart."""
    network = drawn(NETWORKS[variant.network])
    pruned = engine.prune(copy.deepcopy(network), variant.spec(network))
    found = {"before": sum(p.numel() for p in network.parameters()), "after": engine.report(pruned).nonzeros}
    macs = engine.analysis.count_macs(pruned, [images(network, counted)])
    found |= {what: macs.total(what) for what in ("macs", "with_weight", "with_both")}
    found["seconds"], found["apart"] = {}, 0.0
    for size, calls in batches.items():
        x = images(network, size)
        found["seconds"][str(size)] = time_alternating([network, pruned], x, calls)
        found["apart"] = max(found["apart"], apart(pruned, x))
    return found


def apart(pruned, x):
    """Largest difference between the engine's outputs and those of dense arithmetic, as a share of the largest output.

    Raises:
        RuntimeError: more than rounding explains.
    """
    with torch.inference_mode():
        engine_output = pruned(x)
        with engine.nn.dense_only():
            expected = pruned(x)
    found = float((engine_output - expected).abs().max() / expected.abs().max())
    if not found <= CLOSE:
        raise RuntimeError(f"the pruned network's outputs are {found:.2g} of the largest output away from dense arithmetic's")
    return found


def measured(variants, batches, counted, path):
    """`measure` of all variants, each kept in the JSON file `path` as soon as it is there."""
    bar = Progress(len(variants))
    found = {}
    for variant in variants:
        found[variant] = remember(path, variant.name, lambda v=variant: measure(v, batches, counted))
        bar.advance(variant.name)
    bar.close()
    return found


def sizes_table(found):
    head = ["", "parameters", "left", "fewer", "the lecture's", "MACs", "weight not 0", "fewer"]
    head += ["and input not 0 (random images)", "fewer", "the lecture's"]
    rows = []
    for variant, row in found.items():
        line = LECTURE[variant.network]
        printed = ("", "") if variant.uniform else (f"{line.parameters:g}× ({line.after:g} M)", f"{line.macs:g}×")
        cells = [variant.name, millions(row["before"]), millions(row["after"]), times(row["before"], row["after"]), printed[0]]
        cells.append(f"{row['macs'] / 1e6:,.0f} M")
        for what in ("with_weight", "with_both"):
            cells += [f"{row[what] / 1e6:,.0f} M", times(row["macs"], row[what])]
        rows.append([*cells, printed[1]])
    return markdown(head, rows)


def han_table(networks):
    """Han's shares of weights and activations, through the library's counter."""
    rows = []
    for name in networks:
        network, layers, printed = HAN[name]
        model = drawn(network)
        engine.prune(model, engine.Spec(sparsity={layer: 1 - kept / 100 for layer, (kept, _) in layers.items()}))
        macs = engine.analysis.count_macs(model, [images(network, 1)], input_densities=input_densities(layers))
        whole, weights, both = (macs.total(what) for what in ("macs", "with_weight", "with_both"))
        cells = [name, f"{whole / 1e6:,.1f} M", f"{weights / whole:.1%}", f"{both / whole:.1%}", f"{printed:.0%}"]
        rows.append([*cells, times(whole, weights), times(whole, both)])
    head = ["", "MACs", "weight not 0", "and input not 0", "printed", "fewer by weights", "fewer by both"]
    return markdown(head, rows)


def times_table(found, batches):
    head = [""]
    for size in batches:
        head += [f"batch {size}: dense, ms", "sparse, ms", "speed-up"]
    rows = []
    for variant, row in found.items():
        cells = [variant.name]
        for size in batches:
            dense, sparse = row["seconds"][str(size)]
            cells += [f"{dense * 1e3:.1f}", f"{sparse * 1e3:.1f}", times(dense, sparse, 2)]
        rows.append(cells)
    return markdown(head, rows)


def millions(count):
    return f"{count / 1e6:,.2f} M"


def times(before, after, digits=1):
    return f"{before / after:.{digits}f}×"


def main(arguments=None):
    options = parser(__doc__, "SqueezeNet as published and Han's LeNets only, few calls").parse_args(arguments)
    settle(options)
    variants = [Variant("SqueezeNet", False)] if options.quick else VARIANTS
    batches = {1: 3} if options.quick else TIMED
    counted = 1 if options.quick else 2
    found = measured(variants, batches, counted, options.state / "table.json")
    calls = " and ".join(f"{count} at batch {size}" for size, count in batches.items())
    lines = [
        circumstances(__file__, options),
        "",
        "Weights are drawn at random and pruned by magnitude, per layer: AlexNet and VGG-16 to the percentages that Han et "
        "al. print, "
        "moved within their rounding so that the published totals come out; GoogLeNet and ResNet-50 with what is known of "
        "really "
        "pruned 3×3, 5×5 and linear layers and one density for the rest; SqueezeNet with one density. The last count is "
        "over random "
        f"images ({counted}): with random weights about half of all activations are 0, where trained networks have more zeros. "
        "The lecture's MACs are an estimate with activations, too.",
        "",
        *sizes_table(found),
        "",
        "Counted with the shares of weights and activations that Han et al. print for each layer",
        "(`engine.analysis.count_macs(..., input_densities=...)`):",
        "",
        *han_table(list(HAN)[:2] if options.quick else HAN),
        "",
        f"What the lecture lacks: milliseconds. Medians of calls ({calls}), the network before pruning and the pruned one "
        "taking "
        "turns in one process; outputs of the pruned one are within "
        f"{max(row['apart'] for row in found.values()):.1g} of the largest output of dense arithmetic on the same weights.",
        "",
        *times_table(found, batches),
    ]
    write_section(options, "table", "The table", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
