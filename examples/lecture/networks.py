"""The networks of the lecture's table, and the two of Han et al. on MNIST, at their full size, from their publications.

Weights are drawn, not trained: parameters, multiply-accumulates and time depend on shapes and masks alone.
"""

import torch
from torch import nn
from torch.nn import functional as F


class LeNet300(nn.Module):
    """LeNet-300-100: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998; 266,610 parameters."""

    size = (1, 28, 28)

    def __init__(self, dropout=0.0):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = self.dropout(F.relu(self.fc1(x.flatten(1))))
        return self.fc3(self.dropout(F.relu(self.fc2(x))))


class LeNet5(nn.Module):
    """LeNet-5 as Caffe has it, which Han et al. prune: two convolutions, two linear layers; 431,080 parameters."""

    size = (1, 28, 28)

    def __init__(self, dropout=0.0):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = nn.Linear(800, 500), nn.Linear(500, 10)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))


class AlexNet(nn.Module):
    """Krizhevsky, Sutskever, Hinton, NeurIPS 2012, as in Caffe: conv2, conv4, conv5 in two groups; 60,965,224 parameters."""

    size = (3, 227, 227)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)
        self.norm = nn.LocalResponseNorm(5)

    def forward(self, x):
        x = F.max_pool2d(self.norm(F.relu(self.conv1(x))), 3, 2)
        x = F.max_pool2d(self.norm(F.relu(self.conv2(x))), 3, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class VGG16(nn.Module):
    """Simonyan and Zisserman, ICLR 2015, configuration D; 138,357,544 parameters, names as in torchvision."""

    size = (3, 224, 224)

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        first = [nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        second = [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        self.classifier = nn.Sequential(*first, *second, nn.Linear(4096, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Inception(nn.Module):
    """Four branches side by side: 1×1; 1×1 and 3×3; 1×1 and 5×5; pooling and 1×1."""

    def __init__(self, channels, one, reduce3, three, reduce5, five, pooled):
        super().__init__()
        self.one = nn.Conv2d(channels, one, 1)
        self.reduce3, self.three = nn.Conv2d(channels, reduce3, 1), nn.Conv2d(reduce3, three, 3, padding=1)
        self.reduce5, self.five = nn.Conv2d(channels, reduce5, 1), nn.Conv2d(reduce5, five, 5, padding=2)
        self.pooled = nn.Conv2d(channels, pooled, 1)

    def forward(self, x):
        three = self.three(F.relu(self.reduce3(x)))
        five = self.five(F.relu(self.reduce5(x)))
        return F.relu(torch.cat([self.one(x), three, five, self.pooled(F.max_pool2d(x, 3, 1, 1))], 1))


class GoogLeNet(nn.Module):
    """Szegedy et al., CVPR 2015, table 1, without the auxiliary classifiers of training; 6,998,552 parameters."""

    size = (3, 224, 224)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.conv2_reduce, self.conv2 = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 192, 3, padding=1)
        self.norm = nn.LocalResponseNorm(5)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x):
        x = self.norm(F.max_pool2d(F.relu(self.conv1(x)), 3, 2, ceil_mode=True))
        x = F.relu(self.conv2(F.relu(self.conv2_reduce(x))))
        x = F.max_pool2d(self.norm(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = F.max_pool2d(self.inception4e(self.inception4d(x)), 3, 2, ceil_mode=True)
        return self.classifier(self.inception5b(self.inception5a(x)).mean((2, 3)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet50(nn.Module):
    """He et al., CVPR 2016, with the stride in the 3×3; 25,557,032 parameters, names as in torchvision."""

    size = (3, 224, 224)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for number, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(channels, width, 2 if block == 0 and number > 1 else 1))
                channels = 4 * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Fire(nn.Module):
    """A 1×1 convolution to few channels, from these a 1×1 and a 3×3 side by side."""

    def __init__(self, channels, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x), inplace=True)
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1), inplace=True)


class SqueezeNet(nn.Module):
    """Iandola et al., "SqueezeNet", 2016, version 1.0; 1,248,424 parameters, names as in torchvision."""

    size = (3, 224, 224)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *[nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)],
            *[Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True)],
            *[Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256)],
            *[nn.MaxPool2d(3, 2, ceil_mode=True), Fire(512, 64, 256)],
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True))

    def forward(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


def drawn(network, seed=0):
    """An instance of the class `network` in eval mode, its weights so large that signals keep their size through the layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = network()
        for module in made.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return made.eval()


def images(network, count, seed=0):
    """`count` random images of the size that `network`, a class or an instance, takes."""
    return torch.randn(count, *network.size, generator=torch.Generator().manual_seed(seed))
