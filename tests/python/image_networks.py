"""More shapes that networks come in, narrow: the operations that families of networks add to those of topologies."""

import torch
from torch import nn
from torch.nn import functional as F


def conv_norm(channels, filters, kernel=1, stride=1, groups=1, activation=None):
    """Convolution, batch norm, and an activation."""
    layers = [nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(filters)]
    return nn.Sequential(*layers, *([] if activation is None else [activation]))


class SqueezeExcitation(nn.Module):
    """A gate for each channel (Hu et al., 2018)."""

    def __init__(self, channels, squeezed, activation, gate):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x):
        return self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class MobileBlock(nn.Module):
    """Expansion, depthwise convolution, gate, projection."""

    def __init__(self, channels, filters, kernel, stride, activation, gate=None):
        super().__init__()
        hidden = 3 * channels
        self.block = nn.Sequential(
            conv_norm(channels, hidden, activation=activation()),
            conv_norm(hidden, hidden, kernel, stride, hidden, activation()),
            nn.Identity() if gate is None else SqueezeExcitation(hidden, 4, nn.ReLU(), gate()),
            conv_norm(hidden, filters),
        )
        self.shortcut = stride == 1 and channels == filters

    def forward(self, x):
        return x + self.block(x) if self.shortcut else self.block(x)


def mobile(activation, gate, head):
    """A mobile network of blocks, as MobileNetV2 and V3, MNASNet and EfficientNet are."""
    return nn.Sequential(
        conv_norm(3, 8, 3, 2, activation=activation()),
        MobileBlock(8, 8, 3, 1, activation, gate),
        MobileBlock(8, 12, 5, 2, activation),
        MobileBlock(12, 12, 3, 1, activation, gate),
        conv_norm(12, 24, activation=activation()),
        *head,
    )


def mobilenet_v2():
    """Sandler et al., 2018."""
    return mobile(nn.ReLU6, None, [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(24, 10)])


def mobilenet_v3():
    """Howard et al., 2019."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 32), nn.Hardswish(), nn.Dropout(), nn.Linear(32, 10)]
    return mobile(nn.Hardswish, nn.Hardsigmoid, head)


def efficientnet():
    """Tan and Le, 2019."""
    return mobile(nn.SiLU, nn.Sigmoid, [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(24, 10)])


class MNASNet(nn.Module):
    """Tan et al., 2019; a mean instead of a pool."""

    def __init__(self):
        super().__init__()
        self.layers, self.classifier = mobile(nn.ReLU, None, []), nn.Linear(24, 10)

    def forward(self, x):
        return self.classifier(self.layers(x).mean([2, 3]))


class ShuffleUnit(nn.Module):
    """Half of the channels are convolved, then both halves are shuffled (Ma et al., 2018)."""

    def __init__(self, channels, stride):
        super().__init__()
        half = channels // 2
        self.stride, inside = stride, channels if stride == 2 else half
        self.branch1 = nn.Sequential(
            conv_norm(channels, channels, 3, 2, channels), conv_norm(channels, half, 1, 1, 1, nn.ReLU())
        )
        self.branch2 = nn.Sequential(
            conv_norm(inside, half, activation=nn.ReLU(inplace=True)),
            conv_norm(half, half, 3, stride, half),
            conv_norm(half, half, activation=nn.ReLU(inplace=True)),
        )

    def forward(self, x):
        if self.stride == 1:
            kept, changed = x.chunk(2, dim=1)
            x = torch.cat((kept, self.branch2(changed)), dim=1)
        else:
            x = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        n, channels, height, width = x.size()
        return x.view(n, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(n, channels, height, width)


def shufflenet():
    """ShuffleNetV2."""
    return nn.Sequential(
        conv_norm(3, 8, 3, 2, activation=nn.ReLU()),
        nn.MaxPool2d(3, 2, 1),
        ShuffleUnit(8, 2),
        ShuffleUnit(8, 1),
        ShuffleUnit(8, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


class GroupedBottleneck(nn.Module):
    """1×1, 3×3 in groups, 1×1; with a gate as in RegNetY."""

    def __init__(self, channels, width, filters, groups, stride, gated):
        super().__init__()
        self.a, self.b = (
            conv_norm(channels, width, activation=nn.ReLU(inplace=True)),
            conv_norm(width, width, 3, stride, groups, nn.ReLU(inplace=True)),
        )
        self.gate = SqueezeExcitation(width, 4, nn.ReLU(), nn.Sigmoid()) if gated else nn.Identity()
        self.c = conv_norm(width, filters)
        self.downsample = None if stride == 1 and channels == filters else conv_norm(channels, filters, 1, stride)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(shortcut + self.c(self.gate(self.b(self.a(x)))), inplace=True)


def grouped(gated):
    """ResNeXt (Xie et al., 2017), or RegNetY (Radosavovic et al., 2020)."""
    return nn.Sequential(
        conv_norm(3, 16, 3, 2, activation=nn.ReLU()),
        GroupedBottleneck(16, 16, 32, 4, 2, gated),
        GroupedBottleneck(32, 16, 32, 4, 1, gated),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then linear layers with channels last (Liu et al., 2022)."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(channels, channels, 7, padding=3, groups=channels), nn.LayerNorm(channels, 1e-6)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.scale * self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of (N, C, H, W)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext():
    """A stem and blocks, with layer norms between them."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 4, 4),
        LayerNorm2d(12, 1e-6),
        ConvNeXtBlock(12),
        LayerNorm2d(12, 1e-6),
        nn.Conv2d(12, 24, 2, 2),
        ConvNeXtBlock(24),
        nn.AdaptiveAvgPool2d(1),
        LayerNorm2d(24, 1e-6),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


class InceptionV3(nn.Module):
    """Scaled inputs, 1×7 and 7×1 convolutions, pools beside them (Szegedy et al., 2016)."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 12, 3, 2, activation=nn.ReLU(inplace=True))
        self.wide, self.tall = nn.Conv2d(12, 8, (1, 7), padding=(0, 3)), nn.Conv2d(8, 8, (7, 1), padding=(3, 0))
        self.pooled, self.reduce = nn.Conv2d(12, 6, 1), nn.Conv2d(14, 10, 3, 2)
        self.fc = nn.Linear(24, 10)

    def forward(self, x):
        x = torch.cat([torch.unsqueeze(x[:, i], 1) * (0.2 + 0.01 * i) / 0.5 + (0.4 - 0.5) / 0.5 for i in range(3)], 1)
        x = self.stem(x)
        x = F.relu(torch.cat([self.tall(self.wide(x)), self.pooled(F.avg_pool2d(x, 3, 1, 1))], 1), inplace=True)
        x = torch.cat([F.relu(self.reduce(x)), F.max_pool2d(x, 3, 2)], 1)
        return self.fc(torch.flatten(F.dropout(F.adaptive_avg_pool2d(x, (1, 1)), training=self.training), 1))


def vgg_norm(side):
    """With batch norms; its pool to 7×7 has windows of unequal sizes, or repeats what is smaller."""
    return nn.Sequential(
        conv_norm(3, 8, 3, activation=nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        conv_norm(8, 16, 3, activation=nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(),
        nn.Linear(16 * side**2, 24),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(24, 10),
    )


def darknet():
    """Leaky activations, and what is small made large again beside what was large (Redmon and Farhadi, 2018)."""

    class Neck(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.down = conv_norm(3, 8, 3, 1, 1, nn.LeakyReLU(0.1)), conv_norm(8, 16, 3, 2, 1, nn.Mish())
            self.side, self.out = conv_norm(16, 8, 1, 1, 1, nn.LeakyReLU(0.1)), nn.Conv2d(16, 12, 1)

        def forward(self, x):
            large = self.stem(x)
            return self.out(torch.cat([F.interpolate(self.side(self.down(large)), scale_factor=2), large], 1))

    return Neck()


def sequence():
    """Convolutions, norms and pools over one axis."""
    return nn.Sequential(
        nn.Conv1d(3, 12, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.MaxPool1d(3, 2, 1),
        nn.Conv1d(12, 12, 3, padding="same", groups=4),
        nn.ELU(),
        nn.AvgPool1d(2),
        nn.AdaptiveAvgPool1d(5),
        nn.Flatten(),
        nn.Linear(60, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.Hardtanh(),
        nn.Linear(16, 10),
    )


NETWORKS = {
    "convnext": (convnext, (3, 32, 32)),
    "darknet": (darknet, (3, 16, 20)),
    "efficientnet": (efficientnet, (3, 33, 33)),
    "inception_v3": (InceptionV3, (3, 27, 27)),
    "mnasnet": (MNASNet, (3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (3, 32, 32)),
    "mobilenet_v3": (mobilenet_v3, (3, 32, 32)),
    "regnet_y": (lambda: grouped(True), (3, 32, 32)),
    "resnext": (lambda: grouped(False), (3, 32, 32)),
    "sequence": (sequence, (3, 50)),
    "shufflenet": (shufflenet, (3, 48, 48)),
    "vgg_bn of unequal windows": (lambda: vgg_norm(7), (3, 40, 40)),
    "vgg_bn of small images": (lambda: vgg_norm(3), (3, 8, 8)),
}


def network(name):
    """A network with statistics as after training, in eval mode, and five inputs for it."""
    make, shape = NETWORKS[name]
    torch.manual_seed(sorted(NETWORKS).index(name))
    model = make()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval(), torch.randn(5, *shape)
