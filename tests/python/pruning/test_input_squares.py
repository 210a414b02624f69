import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.input_squares import input_squares, padded_input  # noqa: E402


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv3d(2, 4, 2),
    ],
)
def test_input_squares_of_a_convolution_are_those_of_its_gradient(layer):
    x = torch.randn(3, layer.in_channels, *[9, 8, 7][: len(layer.kernel_size)], dtype=torch.float32)
    squares = input_squares(layer, x)
    # The gradient of the sum of a convolution of x² by its weight is what each weight multiplies, summed.
    twin = type(layer)(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False,
        padding_mode=layer.padding_mode,
    )  # fmt: skip
    twin(x.square()).sum().backward()
    torch.testing.assert_close(squares, twin.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, (3, 2), groups=2, dilation=2),
    ],
)
def test_products_that_a_transposed_convolution_crops_do_not_count(layer):
    x = torch.randn(3, 4, *[7, 6][: len(layer.kernel_size)])
    twin = type(layer)(
        4, 6, layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.groups, False, layer.dilation
    )
    twin(x.square()).sum().backward()
    stored = twin.weight.grad  # (in, out / groups, kernel...)
    grouped = stored.reshape(layer.groups, -1, *stored.shape[1:]).transpose(1, 2)
    torch.testing.assert_close(input_squares(layer, x), grouped.reshape(6, -1, *stored.shape[2:]), rtol=1e-4, atol=1e-4)


def test_a_linear_layer_has_the_squares_of_its_inputs_over_all_positions():
    x = torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    assert input_squares(nn.Linear(2, 5), x).tolist() == [[11.0, 6.0]]


def test_a_convolution_slides_over_its_input_with_the_padding_of_its_mode():
    x = torch.arange(3.0)[None]
    assert padded_input(nn.Conv1d(1, 1, 3, padding=1), x).tolist() == [[[0, 0, 1, 2, 0]]]
    assert padded_input(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), x).tolist() == [[[2, 0, 1, 2, 0]]]
