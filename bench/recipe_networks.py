"""Small networks with the structure of families that are deployed, for images of digits or of CIFAR-10."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al., CVPR 2018): 1×1 to four times the channels, depthwise 3×3, 1×1 back."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.expand = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6())
        depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(wide, filters, 1, bias=False), nn.BatchNorm2d(filters))
        self.shortcut = stride == 1 and channels == filters

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class Mobile(nn.Module):
    """Six inverted residuals; (n, channels, side, side) to (n, 10)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        blocks = ((16, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1))
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in blocks))
        self.last = nn.Sequential(nn.Conv2d(96, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6())
        self.linear = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.last(self.blocks(self.stem(x))).mean((2, 3)))


class Attention(nn.Module):
    """Self-attention with a linear layer for each of queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.query, self.key, self.value, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and two linear layers, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.second, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.down(F.gelu(self.up(self.second(x))))


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al., ICLR 2021) on patches of 7×7 of 28×28 pixels, the mean of tokens read; to (n, 10)."""

    def __init__(self, width: int = 128, heads: int = 8, layers: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, 7)
        self.positions = nn.Parameter(0.02 * torch.randn(16, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.linear(self.norm(self.layers(x)).mean(1))


class Rows(nn.Module):
    """Two LSTM layers over an image's rows, a linear one on the last state; (n, 1, 28, 28) to (n, 10)."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, width, 2, batch_first=True)
        self.linear = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.lstm(x.squeeze(1))[0][:, -1])


class UNet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015), enlarged by transposed convolutions; (n, 1, h, w) to (n, 11, h, w)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList([twice(a, b) for a, b in pairwise((1, *widths))])
        self.larger = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths)])
        self.up = nn.ModuleList([twice(2 * a, a) for a in widths[:-1]])
        self.last = nn.Conv2d(widths[0], 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for layer in self.down:
            x = layer(x if not kept else F.max_pool2d(x, 2))
            kept.append(x)
        for larger, layer, beside in zip(reversed(self.larger), reversed(self.up), kept[-2::-1], strict=True):
            x = layer(torch.cat([beside, larger(x)], 1))
        return self.last(x)


def twice(channels: int, filters: int) -> nn.Sequential:
    """Two 3×3 convolutions with batch norm and relu."""
    layers: list[nn.Module] = []
    for wide in (channels, filters):
        layers += [nn.Conv2d(wide, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
    return nn.Sequential(*layers)
