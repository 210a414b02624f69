"""Arrays and tensors as float32 views: what is taken as it is, and what is refused with the way out."""

import numpy as np
import pytest

from sparse_engine.matrices import arrays


@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a.T, lambda a: a[::-1, ::3], lambda a: np.broadcast_to(a[:, :1], a.shape)]
)
def test_arrays_are_views_of_any_strides(view):
    array = view(np.arange(24, dtype=np.float32).reshape(4, 6))
    assert arrays.float32_view(array, "X") is array


def test_an_array_that_is_not_aligned_is_copied():
    raw = np.zeros(4 * 5 + 1, np.uint8)[1:].view(np.float32)
    raw[:] = range(5)
    taken = arrays.float32_view(raw, "X")
    assert taken.flags.aligned
    assert not np.shares_memory(taken, raw)
    assert taken.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "X must be a numpy array or a torch tensor, not list"),
        (None, "not NoneType"),
        (np.zeros(2), r"X has dtype float64; it must be float32 \(X.astype\('float32'\)\)"),
        (np.zeros(2, np.float16), "float16"),
        (np.zeros(2, ">f4"), ">f4"),
    ],
)
def test_other_values_are_refused_with_the_way_out(value, message):
    with pytest.raises(TypeError, match=message):
        arrays.float32_view(value, "X")


def test_tensors_are_views_and_a_lazy_negative_is_resolved():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(24.0).reshape(4, 6).t()
    view = arrays.float32_view(tensor, "X")
    assert view.ctypes.data == tensor.data_ptr()
    assert view.strides == (4, 24)
    negative = torch.complex(torch.ones(3), torch.ones(3)).conj().imag
    assert negative.is_neg()
    assert arrays.float32_view(negative, "X").tolist() == [-1, -1, -1]


def test_tensors_that_do_not_fit_are_refused_with_the_way_out():
    torch = pytest.importorskip("torch")
    for tensor, message in [
        (torch.zeros(2, device="meta"), r"X is on meta; it must be on the CPU \(X.cpu\(\)\)"),
        (torch.zeros(2).double(), r"X has dtype torch.float64; it must be torch.float32 \(X.float\(\)\)"),
        (torch.eye(2).to_sparse(), r"X has layout torch.sparse_coo; it must be dense \(X.to_dense\(\)\)"),
        (torch.zeros(2, requires_grad=True), r"use torch.no_grad\(\) or .detach\(\)"),
    ]:
        with pytest.raises(TypeError, match=message):
            arrays.float32_view(tensor, "X")
    with torch.no_grad():
        assert arrays.float32_view(torch.ones(2, requires_grad=True), "X").tolist() == [1, 1]


def test_only_tensors_are_tensors():
    torch = pytest.importorskip("torch")
    assert arrays.is_tensor(torch.zeros(1))
    assert arrays.is_tensor(torch.nn.Parameter(torch.zeros(1)))
    for value in (np.zeros(1), 1.0, None, torch):
        assert not arrays.is_tensor(value)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_result_and_its_memory_are_one(channels_last):
    torch = pytest.importorskip("torch")
    for tensor in (False, True):
        result, memory = arrays.new_result((2, 3, 4, 5), tensor, channels_last)
        assert tuple(result.shape) == memory.shape == (2, 3, 4, 5)
        memory[...] = 0
        memory[1, 2, 3, 4] = 7
        assert result[1, 2, 3, 4] == 7
        assert memory.dtype == np.float32
        order = (60, 1, 15, 3) if channels_last else (60, 20, 5, 1)
        assert tuple(s // 4 for s in memory.strides) == order
        assert isinstance(result, torch.Tensor if tensor else np.ndarray)


def test_results_of_no_elements_can_be_made():
    for shape in ((0, 3), (3, 0), (0,)):
        result, memory = arrays.new_result(shape, tensor=False)
        assert result.shape == memory.shape == shape
