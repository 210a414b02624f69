"""What Han, Pool, Tran and Dally, "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015, print of
each layer, and what is known of the networks of which only totals were published."""

from dataclasses import dataclass

# Layer -> percent of its weights that stay, percent of its *outputs* that are not 0.
LENET_300 = {"fc1": (8, 38), "fc2": (9, 65), "fc3": (26, 100)}
LENET_5 = {"conv1": (66, 82), "conv2": (12, 72), "fc1": (8, 55), "fc2": (19, 100)}
ALEXNET = {"conv1": (84, 88), "conv2": (38, 52), "conv3": (35, 37), "conv4": (37, 40), "conv5": (37, 34)}
ALEXNET |= {"fc1": (9, 36), "fc2": (9, 40), "fc3": (25, 100)}
_VGG_CONVOLUTIONS = [
    *[(58, 53), (22, 89), (34, 80), (36, 81), (53, 68), (24, 70), (42, 64)],
    *[(32, 51), (27, 45), (34, 34), (35, 32), (29, 29), (36, 19)],
]
_VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torchvision's `features`
VGG_16 = {f"features.{place}": shares for place, shares in zip(_VGG_PLACES, _VGG_CONVOLUTIONS, strict=True)}
VGG_16 |= {"classifier.0": (4, 38), "classifier.3": (4, 42), "classifier.6": (23, 100)}

# Percent of weights removed in layers of really pruned networks; of the other layers only the total is known.
_BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_THREES = (90.1, 90.5, 88.0, 96.1, 94.9, 92.4, 98.7, 96.2, 95.0)
_FIVES = (84.6, 88.5, 83.8, 87.4, 88.0, 90.4, 94.4, 93.4, 94.9)
GOOGLENET_REMOVED = {
    "conv2": 81.7,
    "classifier": 90.7,
    **{f"inception{block}.three": share for block, share in zip(_BLOCKS, _THREES, strict=True)},
    **{f"inception{block}.five": share for block, share in zip(_BLOCKS, _FIVES, strict=True)},
}
_STAGES = (
    (88.0, 84.0, 80.8),
    (91.8, 91.9, 95.5, 91.1),
    (96.6, 97.5, 97.1, 96.8, 96.8, 96.8),
    (97.8, 98.0, 97.9),
)
RESNET_50_REMOVED = {
    **{f"layer{n}.{b}.conv2": share for n, stage in enumerate(_STAGES, 1) for b, share in enumerate(stage)},
    "fc": 91.5,
}


@dataclass(frozen=True)
class Line:
    """A line of the lecture's table: parameters after in millions, how many times fewer parameters and MACs."""

    after: float
    parameters: float
    macs: float


LECTURE = {
    "AlexNet": Line(6.7, 9, 3),
    "VGG-16": Line(10.3, 12, 5),
    "GoogLeNet": Line(2.0, 3.5, 5),
    "ResNet-50": Line(7.47, 3.4, 6.3),
    "SqueezeNet": Line(0.38, 3.2, 3.5),
}


def input_densities(layers):
    """Share of inputs that are not 0 by layer: the outputs of the layer before; of the first layer all."""
    found, before = {}, 100
    for name, (_, active) in layers.items():
        found[name], before = before / 100, active
    return found


def removed_to_total(layers, sizes, total):
    """Share removed by layer, so that `total` weights stay: printed percentages are rounded, and every one of them is moved by
    the same part of a rounding, at most the half percent that it hides.

    Args:
        layers: layer -> percent that stays, and whatever else.
        sizes: layer -> weights.
    Raises:
        ValueError: `total` is further from the printed percentages than their rounding.
    """
    printed = sum(kept / 100 * sizes[name] for name, (kept, *_) in layers.items())
    moved = (total - printed) / sum(sizes.values())
    if abs(moved) > 0.005:
        raise ValueError(f"total = {total} is not what the printed percentages round to, which is {printed:.0f}")
    return {name: 1 - (kept / 100 + moved) for name, (kept, *_) in layers.items()}


def removed_with_rest(known, sizes, total):
    """Share removed by layer, so that `total` weights stay: `known` where it names a layer, the same one in all others."""
    left = total - sum((1 - share / 100) * sizes[name] for name, share in known.items())
    rest = sum(size for name, size in sizes.items() if name not in known)
    if not 0 < left <= rest:
        raise ValueError(
            f"total = {total} cannot be met: the layers that are not known would keep {left:.0f} of {rest} weights"
        )
    return {name: known[name] / 100 if name in known else 1 - left / rest for name in sizes}
