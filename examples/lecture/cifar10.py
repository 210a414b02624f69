"""ResNet-20 and CIFAR-10 as the examples use them: the network, its trained weights, and the images, decoded once."""

import copy
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
WEIGHTS, IMAGES = "resnet20_cifar10.npz", "cifar10_jpeg.npz"
BATCH = 250  # images in a batch when accuracy is measured and statistics are estimated
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut without weights."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride = stride
        self.missing = filters - channels

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.missing:  # option A of He et al.: every second pixel, and channels of zeros on both sides
            side = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, self.missing - side))
        return F.relu(x + y)


class ResNet20(nn.Module):
    """He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; (n, 3, 32, 32) to (n, 10)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def missing_file(folder):
    """What to tell the user when one of the two files is not in `folder`, or None."""
    for name in (WEIGHTS, IMAGES):
        if not (folder / name).is_file():
            return f"{folder / name} does not exist; name the directory that holds it with --data"
    return None


def load_network(folder):
    """The trained network from `folder`, in eval mode."""
    with np.load(folder / WEIGHTS) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    network = ResNet20()
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # counts batches of training; inference does not look at it
            state.setdefault(name, value)
    network.load_state_dict(state)
    return network.eval()


def load_pixels(folder, part, count=None, cache=None):
    """The first `count` images (all when None) of `part` ("train" or "test") and their labels.

    Args:
        cache: a directory where all images of a part are kept once decoded, as arrays of bytes.
    Returns:
        uint8 (count, 3, 32, 32) and int64 (count,).
    """
    with np.load(folder / IMAGES) as arrays:
        labels = torch.from_numpy(arrays[f"{part}_labels"][:count].astype(np.int64))
        kept = None if cache is None else cache / f"cifar10_{part}.npy"
        if kept is not None and kept.is_file():
            return torch.from_numpy(np.load(kept)[: len(labels)]), labels
        data, offsets = arrays[f"{part}_jpeg"].tobytes(), arrays[f"{part}_offsets"]
    number = len(labels) if kept is None else len(offsets) - 1
    pixels = [np.asarray(Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]])).convert("RGB")) for i in range(number)]
    pixels = np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))
    if kept is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, pixels)
    return torch.from_numpy(pixels[: len(labels)]), labels


def normalised(pixels):
    """Bytes as the network expects them: float32, with the mean and deviation of the images it was trained on."""
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return ((pixels.float() / 255 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)).contiguous()


def load_images(folder, part, count=None, cache=None):
    """`load_pixels`, normalised."""
    pixels, labels = load_pixels(folder, part, count, cache)
    return normalised(pixels), labels


def mended(network, spec, images, **options):
    """A copy of `network` pruned as `spec` says, its batch-norm statistics estimated again on `images`; nothing is trained."""
    pruned = engine.prune(copy.deepcopy(network), spec, **options)
    return engine.analysis.recalibrate_batchnorm(pruned, images.split(BATCH))


def accuracy(network, images, labels):
    """Share of `images` that `network`, in eval mode, classifies right as the engine runs it."""
    with torch.inference_mode():
        right = sum((network(x).argmax(1) == y).sum() for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True))
    return int(right) / len(labels)
