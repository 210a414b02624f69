"""numpy arrays and torch tensors as float32 views, without copies and without importing torch."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core


def is_tensor(x: object) -> bool:
    """Whether `x` is a torch tensor; False when torch was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def float32_view(x: Any, name: str) -> NDArray[np.float32]:
    """The memory of `x` as a float32 numpy array of any strides.

    Raises:
        TypeError: not an array or tensor, not float32, not on the CPU, not strided, or a tensor that needs gradients.
    """
    if is_tensor(x):
        return _tensor_view(x, name)
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, not {type(x).__name__}")
    if x.dtype != np.float32:
        raise TypeError(f"{name} has dtype {x.dtype}; it must be float32 ({name}.astype('float32'))")
    return x if x.flags.aligned else x.copy()


def _tensor_view(x: Any, name: str) -> NDArray[np.float32]:
    torch = sys.modules["torch"]
    view: NDArray[np.float32]
    if x.device.type != "cpu":
        raise TypeError(f"{name} is on {x.device}; it must be on the CPU ({name}.cpu())")
    if x.dtype != torch.float32:
        raise TypeError(f"{name} has dtype {x.dtype}; it must be torch.float32 ({name}.float())")
    if x.layout != torch.strided:
        raise TypeError(f"{name} has layout {x.layout}; it must be dense ({name}.to_dense())")
    if x.requires_grad:
        if torch.is_grad_enabled():
            raise TypeError(f"{name} needs gradients and native operations compute none; use torch.no_grad() or .detach()")
        x = x.detach()
    view = x.resolve_neg().numpy()
    return view


def new_result(shape: tuple[int, ...], tensor: bool, channels_last: bool = False) -> tuple[Any, NDArray[np.float32]]:
    """An uninitialised float32 array or tensor, and its memory as an array; in the memory order of `channels_last` if asked.

    The memory comes from earlier results that nobody holds any more: fresh pages of the system would cost more than many a
    product that writes them.
    """
    if channels_last:
        batch, channels, *plane = shape
        view = np.moveaxis(_core.result_array((batch, *plane, channels)), -1, 1)
    else:
        view = _core.result_array(shape)
    return (sys.modules["torch"].from_numpy(view) if tensor else view), view
