import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import image_networks
import sparse_engine as engine
import topologies
from compiled_functions import Calls
from sparse_engine.compiler.compiled import CompiledModel


def unsettled(model):
    """Batch norms as training leaves them: scales of both signs, some of them 0."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            with torch.no_grad():
                module.weight[::7] = 0
    return model


def expect_equal(compiled, model, x, batches=(1, 2, 3, 5, 9)):
    """At these batches and 1 to 3 threads, from an arena of NaN, and whatever lies beside an image in the batch."""
    with torch.no_grad():
        expected = model(x).numpy()
    scale = np.abs(expected).max() or 1
    alone = {}
    for threads in (1, 2, 3):
        session = compiled.with_threads(threads)
        session._session.fill_arena(True)
        for batch in batches:
            found = session(x[:batch].numpy())
            assert np.abs(found - expected[:batch]).max() <= 1e-4 * scale
            same = alone.setdefault(batch, found)
            np.testing.assert_array_equal(found, same, err_msg="another number of threads gave other bits")
            np.testing.assert_array_equal(session(x[:batch].numpy()), same, err_msg="a repeat gave other bits")


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("name", ["alexnet", "densenet", "googlenet", "mobilenet", "resnet20", "resnet50", "squeezenet", "vgg"])
def test_networks_compute_what_torch_does(name, sparsity):
    torch.manual_seed(0)
    model, example = topologies.network(name)
    model = unsettled(model).eval()
    x = torch.randn(9, *example.shape[1:])
    if sparsity:
        engine.prune(model, engine.Spec(sparsity=sparsity, include="?*"))
        model.eval()
    compiled = engine.compile(model, x[:1])
    assert compiled.about["error"] < 1e-5
    expect_equal(compiled, model, x)


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("name", sorted(image_networks.NETWORKS))
def test_more_networks_compute_what_torch_does(name, sparsity):
    model, x = image_networks.network(name)
    if sparsity:
        engine.prune(model, engine.Spec(sparsity=sparsity, include="?*"))
        model.eval()
    expect_equal(engine.compile(model, x[:1]), model, x, batches=(1, 2, 3, 4, 5))


def test_a_network_with_more_than_is_covered_is_refused_by_operation():
    with pytest.raises(engine.UnsupportedModel) as caught:
        engine.compile(Calls(lambda m, x: torch.sort(m.a(x))[0], a=nn.Linear(4, 4)).eval(), torch.randn(2, 4))
    assert [one.operation for one in caught.value.refused] == ["sort"]


class Halves(nn.Module):
    """One half of the channels as it is, behind it the other with its rows and columns exchanged twice."""

    def forward(self, x):
        kept, changed = x.chunk(2, dim=1)
        return torch.cat([changed.transpose(2, 3).contiguous().tanh().transpose(2, 3), kept], 1)


class Random(nn.Module):
    """Layers drawn one after another, with residuals, branches and values that several layers read."""

    def __init__(self, choices, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.choices, self.layers, channels, made = choices, nn.ModuleList(), 8, [8]
        for kind, skip in choices:
            if kind == "conv":
                layer = nn.Conv2d(channels, channels, 3, padding=1)
            elif kind == "wide":
                layer = nn.Conv2d(channels, channels + 8, 1)
                channels += 8
            elif kind == "grouped":
                layer = nn.Conv2d(channels, channels, 3, padding=1, groups=channels if skip else 4)
            elif kind == "norm":
                layer = nn.BatchNorm2d(channels)
            elif kind == "stride":
                layer = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
            elif kind == "pool":
                layer = nn.MaxPool2d(3, 1, 1) if skip else nn.AvgPool2d(3, 1, 1)
            elif kind == "gate":
                layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())
            elif kind == "shuffle":
                layer = nn.ChannelShuffle(4)
            elif kind == "halves":
                layer = Halves()
            elif kind == "frame":
                layer = nn.ZeroPad2d((-1, 1, 1, -1)) if skip else nn.ConstantPad2d((0, 2, 0, 0), 0.5)
            elif kind == "resized":
                layer = nn.AdaptiveMaxPool2d((5, 6)) if skip else nn.AdaptiveAvgPool2d((7, 9))
            else:
                layer = nn.LeakyReLU(0.2) if kind == "leaky" else nn.ReLU(inplace=skip)
            self.layers.append(layer)
            made.append(channels)
        self.head = nn.Linear(channels, 7)

    def forward(self, x):
        kept = []
        for (kind, skip), layer in zip(self.choices, self.layers, strict=True):
            y = x * layer(x) if kind == "gate" else layer(x)
            earlier = [k for k in kept if k.shape == y.shape]
            if skip and earlier and kind != "relu":
                y = y + earlier[0]
            if kind != "relu":
                kept.append(y)
            x = y if kind != "relu" or not skip else y.clone()
        return self.head(x.mean((2, 3)))


LAYERS = "conv wide grouped norm stride pool gate relu shuffle halves frame resized leaky"
KINDS = st.sampled_from(LAYERS.split())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(KINDS, st.booleans()), min_size=1, max_size=9), st.integers(0, 99), st.sampled_from([0.0, 0.5, 0.9]))
def test_random_networks_compute_what_torch_does(choices, seed, sparsity):
    model = unsettled(Random(choices, seed)).eval()
    if sparsity:
        engine.prune(model, engine.Spec(sparsity=sparsity, include="?*"))
        model.eval()
    x = torch.randn(9, 8, 11, 13)
    expect_equal(engine.compile(model, x[:1]), model, x)


def test_a_later_change_of_the_model_does_not_reach_it():
    model = nn.Linear(4, 4).eval()
    x = torch.randn(2, 4)
    compiled = engine.compile(model, x)
    assert isinstance(compiled, CompiledModel)
    before = compiled(x)
    with torch.no_grad():
        model.weight.zero_()
    torch.testing.assert_close(compiled(x), before)


def test_what_would_be_computed_otherwise_is_refused_with_the_way_out():
    x = torch.randn(2, 4)
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        engine.compile(nn.Sequential(nn.Linear(4, 4)), x)
    hooked = nn.Linear(4, 4).eval()
    hooked.register_forward_hook(lambda *a: None)
    with pytest.raises(ValueError, match="has hooks"):
        engine.compile(hooked, x)
    with pytest.raises(ValueError, match=r"model\.float\(\)"):
        engine.compile(nn.Linear(4, 4).double().eval(), x.double())
    with pytest.raises(ValueError, match=r"model\.cpu\(\)"):
        engine.compile(nn.Linear(4, 4, device="meta").eval(), x)
    with pytest.raises(engine.UnsupportedModel, match="erfinv"):
        engine.compile(type("Erfinv", (nn.Module,), {"forward": lambda self, y: torch.erfinv(y)})().eval(), x)


def test_a_detector_with_its_post_processing_is_refused_with_its_way_out():
    class SSD(nn.Module):  # of torchvision by name alone
        def __init__(self):
            super().__init__()
            self.backbone, self.transform = nn.Conv2d(3, 4, 1), nn.Identity()

        def forward(self, x):
            return self.backbone(self.transform(x))

    SSD.__module__ = "torchvision.models.detection.ssd"
    for fallback in (None, "torch"):
        with pytest.raises(ValueError, match=r"SSD chooses boxes by their values.*model\.backbone"):
            engine.compile(SSD().eval(), torch.randn(1, 3, 4, 4), fallback=fallback)
    engine.compile(SSD().eval().backbone, torch.randn(1, 3, 4, 4))
