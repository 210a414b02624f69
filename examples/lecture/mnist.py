"""MNIST as the scripts of this folder use it: 10,000 digits from one file, or all 70,000 from its four published files."""

import gzip
import math

import numpy as np
import torch
from cifar10 import DATA  # noqa: F401  (the folder of both data sets)
from torch.nn import functional as F

from sparse_engine.cli.demo_training import DEVIATION, MEAN, SHIFT, Digits

FILE, TEST = "mnist10k.npz", 2_000
TURN, STRETCH, SHEAR = math.radians(12), 0.12, 0.15  # at most, as is SHIFT
PUBLISHED = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def missing_file(folder):
    """What to tell the user when `folder` holds neither, or None."""
    if (folder / FILE).is_file() or all(_path(folder, name) is not None for name in PUBLISHED):
        return None
    return (
        f"{folder} holds neither {FILE} nor MNIST's files ({', '.join(PUBLISHED)}, as they are or .gz); "
        "name the directory that does with --data"
    )


def load_mnist(folder, count=None):
    """MNIST's own split where its files are in `folder`; of mnist10k.npz the last 2,000 digits are the test.

    Args:
        count: use the first so many of each part.
    Raises:
        ValueError: a file that is not what its name says.
    """
    paths = [_path(folder, name) for name in PUBLISHED]
    if all(path is not None for path in paths):
        train_images, train_labels, test_images, test_labels = [_read_idx(path) for path in paths]
    else:
        with np.load(folder / FILE) as arrays:
            pixels, labels = arrays["images"], arrays["labels"]
        train_images, train_labels, test_images, test_labels = pixels[:-TEST], labels[:-TEST], pixels[-TEST:], labels[-TEST:]
    return Digits(
        _normalised(train_images[:count]),
        torch.from_numpy(train_labels[:count].astype(np.int64)),
        _normalised(test_images[:count]),
        torch.from_numpy(test_labels[:count].astype(np.int64)),
    )


def distorted(images, generator):
    """Every image turned, stretched along both axes, sheared and shifted at random (LeCun et al., Proc. IEEE 1998)."""
    count, side = len(images), images.shape[-1]
    angle, x, y, shear, right, down = 2 * torch.rand(6, count, generator=generator) - 1
    cos, sin = torch.cos(TURN * angle), torch.sin(TURN * angle)
    rows = (
        ((1 + STRETCH * x) * cos, SHEAR * shear - sin, 2 * SHIFT / side * right),
        (sin, (1 + STRETCH * y) * cos, 2 * SHIFT / side * down),
    )
    grid = F.affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1), images.shape, align_corners=False)
    black = -MEAN / DEVIATION
    return F.grid_sample(images - black, grid, align_corners=False) + black


def _normalised(pixels):
    return (torch.from_numpy(pixels.astype(np.float32))[:, None] / 255 - MEAN) / DEVIATION


def _path(folder, name):
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(path):
    """An array of bytes: two zeros, 8 (bytes), the number of axes, their sizes as big-endian int32, the elements."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        data = file.read()
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    begin = 4 + 4 * data[3]
    shape = np.frombuffer(data[4:begin], ">i4")
    if len(data) != begin + np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} has {len(data) - begin} elements; its header says {tuple(shape.tolist())}")
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)
