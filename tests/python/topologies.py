"""The shapes that networks come in, narrow: what channels have to be followed through."""

import torch
from torch import nn
from torch.nn import functional as F


class AlexNet(nn.Module):
    """Grouped convolutions, and a flatten before linear layers (Krizhevsky et al., 2012)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 11, stride=4)
        self.conv2 = nn.Conv2d(12, 32, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.conv4 = nn.Conv2d(48, 48, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(48, 32, 3, padding=1, groups=2)
        self.fc6, self.fc7, self.fc8 = nn.Linear(32 * 4, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 3, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.adaptive_avg_pool2d(F.relu(self.conv5(x)), 2)
        x = F.dropout(torch.flatten(x, 1), 0.5, self.training)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class VGG(nn.Module):
    """A chain (Simonyan and Zisserman, 2014)."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (8, 8, "pool", 16, 16, "pool", 32, 32, "pool"):
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(32 * 16, 48), nn.ReLU(), nn.Dropout(), nn.Linear(48, 10))

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class Inception(nn.Module):
    """Four branches beside one another, concatenated."""

    def __init__(self, channels, one, three, five, pooled):
        super().__init__()
        self.one = nn.Conv2d(channels, one, 1)
        self.three = nn.Sequential(nn.Conv2d(channels, three[0], 1), nn.ReLU(), nn.Conv2d(three[0], three[1], 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(channels, five[0], 1), nn.ReLU(), nn.Conv2d(five[0], five[1], 5, padding=2))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, pooled, 1))

    def forward(self, x):
        return F.relu(torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1))


class GoogLeNet(nn.Module):
    """Inception modules (Szegedy et al., 2014)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, 2, 3)
        self.a = Inception(16, 8, (8, 12), (4, 6), 6)
        self.b = Inception(32, 12, (8, 16), (4, 8), 8)
        self.classifier = nn.Linear(44, 10)

    def forward(self, x):
        x = self.b(self.a(F.max_pool2d(F.relu(self.stem(x)), 3, 2)))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 beside a shortcut."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if channels != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """Bottlenecks (He et al., 2015)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Bottleneck(8, 4, 1), Bottleneck(16, 4, 1), Bottleneck(16, 4, 1))
        self.layer2 = nn.Sequential(Bottleneck(16, 8, 2), Bottleneck(32, 8, 1))
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = F.adaptive_avg_pool2d(self.layer2(self.layer1(x)), (1, 1))
        return self.fc(torch.flatten(x, 1))


class Fire(nn.Module):
    """A squeeze, then two expansions concatenated (Iandola et al., 2016)."""

    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Fire modules; the classifier is a convolution."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 4, 8), Fire(16, 6, 12)
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(24, 10, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class PaddedBlock(nn.Module):
    """Two 3×3 convolutions; where the width grows the shortcut is padded with channels of zeros."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters)
        self.stride, self.side = stride, (filters - channels) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.side:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.side, self.side))
        return F.relu(x + y)


class ResNet20(nn.Module):
    """For CIFAR-10, shortcuts of option A (He et al., 2015)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(*(PaddedBlock(8, 8, 1) for _ in range(2)))
        self.layer2 = nn.Sequential(PaddedBlock(8, 16, 2), PaddedBlock(16, 16, 1))
        self.layer3 = nn.Sequential(PaddedBlock(16, 32, 2), PaddedBlock(32, 32, 1))
        self.linear = nn.Linear(32, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; with squeeze-and-excitation as in MobileNetV3."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        hidden = 4 * channels
        self.expand, self.bn1 = nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.depthwise, self.bn2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden)
        self.down, self.up = nn.Conv2d(hidden, channels, 1), nn.Conv2d(channels, hidden, 1)
        self.project, self.bn3 = nn.Conv2d(hidden, filters, 1, bias=False), nn.BatchNorm2d(filters)
        self.shortcut = stride == 1 and channels == filters

    def forward(self, x):
        y = F.relu6(self.bn2(self.depthwise(F.relu6(self.bn1(self.expand(x))))))
        y = y * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        y = self.bn3(self.project(y))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Depthwise convolutions (Sandler et al., 2018)."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1))
        self.classifier = nn.Linear(12, 10)

    def forward(self, x):
        return self.classifier(self.blocks(F.hardswish(self.bn(self.stem(x)))).mean([2, 3]))


class DenseNet(nn.Module):
    """Every layer reads all before it (Huang et al., 2017)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 6 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(8 + 6 * i, 6, 3, 1, 1) for i in range(3))
        self.transition, self.classifier = nn.Conv2d(26, 12, 1), nn.Linear(12, 10)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.classifier(F.avg_pool2d(self.transition(x), 4).mean((-1, -2)))


class Attention(nn.Module):
    """Projections of their own; head width is worked out from shapes."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """An encoder of torch, a block with its own attention, and a gated feed-forward (Vaswani et al., 2017; Shazeer, 2020)."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(24, 4, 48, batch_first=True), 1)
        self.norm, self.attention = nn.LayerNorm(24), Attention(24, 4)
        self.gate, self.up, self.down = nn.Linear(24, 40), nn.Linear(24, 40), nn.Linear(40, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        x = self.encoder(x)
        x = x + self.attention(self.norm(x))
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return self.head(self.norm(x)[:, 0])


NETWORKS = {
    "alexnet": (AlexNet, 99),
    "vgg": (VGG, 32),
    "googlenet": (GoogLeNet, 32),
    "resnet50": (ResNet50, 32),
    "squeezenet": (SqueezeNet, 48),
    "resnet20": (ResNet20, 32),
    "mobilenet": (MobileNetV2, 32),
    "densenet": (DenseNet, 16),
    "transformer": (Transformer, 32),
}


def network(name):
    """A network with statistics as after training, and an input for it."""
    make, side = NETWORKS[name]
    torch.manual_seed(sorted(NETWORKS).index(name))
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval(), torch.randn(2, 3, side, side)
