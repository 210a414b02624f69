"""Zeros in memory where a mask is False, for tensors of every kind, and the fingerprint of that memory."""

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from sparse_engine.masking import zeros  # noqa: E402
from sparse_engine.masking.mask import Mask  # noqa: E402

LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.t().contiguous().t(),
    "every second column": lambda t: t.repeat_interleave(2, 1)[:, ::2],
    "past an offset": lambda t: torch.cat([t[:1], t])[1:],
}


@pytest.fixture
def mask(rng):
    return Mask.from_numpy(rng.random((5, 9)) < 0.5)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8, torch.complex128])
def test_zeros_are_written_where_the_mask_says_whatever_the_type_and_strides(mask, layout, dtype):
    values = torch.arange(1, 46).reshape(5, 9).to(dtype)
    tensor = layout(values.clone())
    zeros.write_zeros(mask, tensor)
    assert torch.equal(tensor, values * torch.from_numpy(mask.to_numpy()))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_clean_is_not_written_to_and_what_is_not_counts_as_a_change(mask, layout):
    tensor = layout(torch.ones(5, 9))
    before = tensor._version
    zeros.write_zeros(mask, tensor)
    assert tensor._version > before
    before = tensor._version
    zeros.write_zeros(mask, tensor)
    assert tensor._version == before


def test_nan_and_negative_zero_where_nothing_is_kept_go_too(mask):
    for layout in LAYOUTS.values():
        tensor = layout(torch.full((5, 9), float("nan")))
        zeros.write_zeros(mask, tensor)
        assert torch.equal(tensor.isnan(), torch.from_numpy(mask.to_numpy()))
    tensor = torch.full((5, 9), -0.0)
    zeros.apply(mask, tensor)
    assert torch.equal(torch.signbit(tensor), torch.from_numpy(mask.to_numpy()))


def test_a_parameter_is_written_to_without_a_gradient_of_it(mask):
    weight = torch.nn.Parameter(torch.ones(9, 5).t())
    zeros.write_zeros(mask, weight)
    assert weight.grad_fn is None
    assert torch.equal(weight.detach() != 0, torch.from_numpy(mask.to_numpy()))


def test_a_gradient_is_masked_in_a_copy(mask):
    gradient = torch.ones(5, 9)
    masked = zeros.masked_gradient(mask, gradient)
    assert torch.equal(masked, torch.from_numpy(mask.to_numpy()).float())
    assert torch.equal(gradient, torch.ones(5, 9))


def test_memory_in_order_is_that_of_contiguous_tensors_of_the_cpu():
    tensor = torch.zeros(2, 3, 4)
    assert zeros.in_order(tensor)
    assert not zeros.in_order(tensor.transpose(0, 2))
    assert zeros.in_order(tensor.transpose(0, 2), (2, 1, 0))
    assert not zeros.in_order(tensor[:, ::2])
    assert not zeros.in_order(torch.zeros(2, 2, dtype=torch.complex128)), "items of sixteen bytes"
    assert not zeros.in_order(torch.zeros(2, 2, device="meta"))
    assert not zeros.in_order(torch.eye(2).to_sparse())
    assert zeros.order_of(tensor.transpose(0, 2)) == (2, 1, 0)
    assert zeros.order_of(torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)) == (0, 2, 3, 1)


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), lambda t: t.double(), lambda t: t.bfloat16()])
def test_a_fingerprint_tells_every_single_change_and_nothing_else(layout, rng):
    tensor = layout(torch.from_numpy(rng.standard_normal((5, 9)).astype(np.float32)))
    before = zeros.fingerprint(tensor)
    assert zeros.fingerprint(tensor) == before
    seen = {before}
    for row in range(5):
        for column in range(9):
            value = tensor[row, column].clone()
            tensor[row, column] = -value
            seen.add(zeros.fingerprint(tensor))
            tensor[row, column] = value
    assert len(seen) == 46
    assert zeros.fingerprint(tensor) == before


def test_loading_that_takes_the_callers_tensors_gets_copies_of_those_under_masks():
    weight, bias = torch.nn.Parameter(torch.ones(2), requires_grad=False), torch.ones(2)
    given = {"weight": weight, "bias": bias}
    assert zeros.own_copies(given, ["weight"], {}) is given
    copies = zeros.own_copies(given, ["weight", "absent"], {"assign_to_params_buffers": True})
    assert set(copies) == {"weight", "bias"}
    assert copies["bias"] is bias
    assert copies["weight"].data_ptr() != weight.data_ptr()
    assert isinstance(copies["weight"], torch.nn.Parameter)
    assert not copies["weight"].requires_grad
    assert torch.equal(copies["weight"], weight)
    assert given["weight"] is weight
