import itertools

import pytest

torch = pytest.importorskip("torch")

from sparse_engine.nn.phases import Axis, Phases  # noqa: E402


def scattered(x, weight, stride, padding, dilation, output_padding):
    """By definition: each input adds to the outputs its kernel falls on, output o lying at o + padding."""
    made = stride * (len(x) - 1) + dilation * (len(weight) - 1) + 1 + output_padding - 2 * padding
    result = [0] * made
    for i, k in itertools.product(range(len(x)), range(len(weight))):
        place = stride * i + dilation * k - padding
        if 0 <= place < made:
            result[place] += x[i] * weight[k]
    return result


def by_phases(x, weight, axis, stride, made):
    """The same, each output gathered in its phase."""
    result = []
    for o in range(made):
        cells = [(k, o // stride + axis.first + axis.step * cell) for k, cell in axis.taps[o % stride]]
        result.append(sum(weight[k] * x[i] for k, i in cells if 0 <= i < len(x)))
    return result


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", range(1, 5))
@pytest.mark.parametrize("padding", range(4))
@pytest.mark.parametrize("dilation", range(1, 5))
def test_an_axis_gathers_what_the_definition_scatters(kernel, stride, padding, dilation):
    axis = Axis.of(kernel, stride, padding, dilation)
    assert sorted(k for phase in axis.taps for k, _ in phase) == list(range(kernel))  # each tap serves one phase
    assert {cell for phase in axis.taps for _, cell in phase} <= set(range(axis.cells))
    x, weight = [3, -1, 4, 1, -5], [2, 7, -1, 8, 2, -8, 1][:kernel]
    for extra in range(max(stride, dilation)):
        expected = scattered(x, weight, stride, padding, dilation, extra)
        if expected:
            assert by_phases(x, weight, axis, stride, len(expected)) == expected


def test_windows_are_no_larger_than_what_is_read():
    assert Axis.of(2, 2, 0, 1).cells == 1  # windows that do not overlap: one input makes one block
    assert Axis.of(16, 16, 0, 1).cells == 1
    assert (Axis.of(3, 1, 1, 1).cells, Axis.of(3, 1, 1, 4).cells, Axis.of(3, 1, 1, 4).step) == (3, 3, 4)
    assert Axis.of(4, 2, 1, 1).cells == 3
    assert Axis.of(3, 2, 1, 1).cells == 2
    assert Axis.of(3, 2, 0, 4).step == 2  # a dilation the stride divides leaves a phase without taps
    assert Axis.of(3, 2, 0, 4).taps[1] == ()


def test_rows_are_groups_of_phases_of_output_channels():
    phases = Phases((2, 2), (2, 2), (0, 0), (1, 1), 3)
    weight = torch.arange(6.0 * 4 * 4).reshape(6, 4, 2, 2)
    matrix = phases.matrix(weight)
    assert matrix.shape == (3 * 4 * 4, 2, 1, 1)
    for group, phase, out, i in itertools.product(range(3), range(4), range(4), range(2)):
        assert matrix[group * 16 + phase * 4 + out, i, 0, 0] == weight[group * 2 + i, out, phase // 2, phase % 2]
    bias = torch.arange(12.0)
    assert phases.bias(bias).reshape(3, 4, 4).equal(bias.reshape(3, 1, 4).expand(3, 4, 4))
    plain = Phases((3,), (1,), (0,), (1,), 1)
    assert plain.bias(bias) is bias
    assert plain.matrix(torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])).tolist() == [[[3, 2, 1]], [[6, 5, 4]]]


def test_blocks_tell_what_is_read_and_made():
    phases = Phases((4, 4), (2, 2), (1, 1), (1, 1), 1)
    blocks = phases.blocks((5, 7), (0, 1))
    assert (blocks.counts, blocks.output, blocks.cut) == ((5, 8), (10, 15), None)
    assert blocks.shape.output_size(5, 7) == blocks.counts
    assert phases.blocks([5, 7], [0, 1]) is blocks  # found out once
    cut = Phases((1,), (1,), (2,), (1,), 1).blocks((7,), (0,))  # padding takes away what the kernel does not reach
    assert (cut.cut, cut.counts, cut.output) == ((slice(2, 5),), (3,), (3,))
    for size in ((4,), (0,), (3,)):
        with pytest.raises(ValueError, match="nothing"):
            Phases((1,), (1,), (2,), (1,), 1).blocks(size, (0,))
    with pytest.raises(ValueError, match="window"):
        Phases((300, 300), (1, 1), (0, 0), (1, 1), 1).blocks((5, 5), (0, 0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_move_to_their_places(layout):
    phases = Phases((2, 3), (2, 3), (0, 0), (1, 1), 2)
    blocks = phases.blocks((3, 2), (1, 0))
    assert blocks.output == (7, 6)
    y = torch.randn(2, 2 * 6 * 3, *blocks.counts).to(memory_format=layout)
    moved = phases.moved_apart(y, blocks)
    assert moved.shape == (2, 6, 7, 6)
    assert moved.is_contiguous(memory_format=layout)
    split = y.reshape(2, 2, 2, 3, 3, *blocks.counts)
    for n, group, out, i, j in itertools.product(range(2), range(2), range(3), range(7), range(6)):
        assert moved[n, group * 3 + out, i, j] == split[n, group, i % 2, j % 3, out, i // 2, j // 3]
    assert phases.moved_apart(y[0], blocks).equal(moved[0])
