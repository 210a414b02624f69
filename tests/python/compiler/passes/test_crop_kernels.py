import pytest
import torch
from torch import nn

from compiled_functions import as_model, expect_torch
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes.crop_kernels import crop_kernels


def kernels_after(model, *shape):
    """Height and width of each convolution's kernel, and its padding."""
    graph = capture(as_model(model), (torch.randn(2, *shape),), {})
    crop_kernels(graph)
    graph.check()
    return [(node.numbers[:2], node.numbers[4:8], node.weight.shape) for node in graph if node.op == "conv2d"]


def test_of_wide_dilation_the_middle_stays():
    assert kernels_after(nn.Conv2d(3, 4, 3, padding=36, dilation=36), 3, 16, 16) == [((1, 1), (0, 0, 0, 0), (4, 3))]
    assert kernels_after(nn.Conv2d(3, 4, 3, padding=12, dilation=12), 3, 16, 16) == [((3, 3), (12, 12, 12, 12), (4, 27))]
    assert kernels_after(nn.Conv2d(3, 4, 3, padding=12, dilation=12), 3, 16, 12) == [((3, 1), (12, 0, 12, 0), (4, 9))]
    assert kernels_after(nn.Conv2d(3, 4, 3, padding=1), 3, 1, 5) == [((1, 3), (0, 1, 0, 1), (4, 9))]
    assert kernels_after(nn.Conv1d(3, 4, 5, padding=8, dilation=4), 3, 4) == [((1, 1), (0, 0, 0, 0), (4, 3))]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4, 7])
def test_results_stay(kernel, dilation):
    reach = dilation * (kernel - 1)
    convs = [
        (nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups=2), torch.randn(2, 4, *size))
        for stride in (1, 2, 3)
        for padding in {0, 1, reach // 2, reach}
        for size in ((4, 7), (1, 5), (3, 3))
        if min(size) + 2 * padding > reach
    ]
    # Side by side in one graph: it is capturing one that takes time.
    together = as_model(lambda *inputs: [conv(x) for (conv, _), x in zip(convs, inputs, strict=True)])
    graph = capture(together, tuple(x for _, x in convs), {})
    crop_kernels(graph)
    graph.check()
    assert len(graph.nodes) == len(convs)
    for node, (conv, x) in zip(graph.nodes, convs, strict=True):
        expect_same(node, conv, x)


def expect_same(node, conv, x):
    kh, kw, sh, sw, top, left, bottom, right, dh, dw, groups = node.numbers
    assert min(top, left, bottom, right) >= 0
    padded = nn.functional.pad(x, (left, right, top, bottom))
    weight = torch.from_numpy(node.weight).reshape(6, 2, kh, kw)
    found = nn.functional.conv2d(padded, weight, conv.bias, (sh, sw), 0, (dh, dw), groups)
    torch.testing.assert_close(found, conv(x), rtol=1e-5, atol=1e-5)


def test_a_shared_weight_stays_shared():
    conv = nn.Conv2d(4, 4, 3, padding=9, dilation=9)
    graph = capture(as_model(lambda x: conv(conv(x))), (torch.randn(2, 4, 6, 6),), {})
    crop_kernels(graph)
    first, second = graph.nodes
    assert first.weight is second.weight
    assert first.weight.shape == (4, 4)


def test_compiled_it_computes_what_torch_does():
    expect_torch(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=24, dilation=24), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=3, dilation=3)),
        (3, 6, 5),
    )
