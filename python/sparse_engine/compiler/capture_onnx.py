"""The graph of an ONNX file: as a torch module, which is captured as any other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..onnx_files.reading import Input, OnnxFile, inputs_of, read_onnx
from .onnx_module import OnnxModule
from .onnx_rules import DTYPES
from .unsupported import Refused, UnsupportedModel


def module_of(source: Any) -> tuple[OnnxModule, OnnxFile]:
    """What a file computes, in eval mode. Raises as `read_onnx` does, and UnsupportedModel."""
    file = read_onnx(source)
    return OnnxModule(file).eval(), file


def is_open_along(file: OnnxFile, axis: int) -> bool:
    """Whether an axis of every input is open in the file: the batch, 0, or one that every input with so many axes has."""
    shapes = [one.shape for one in inputs_of(file) if one.shape is not None and (axis == 0 or len(one.shape) > axis)]
    return bool(inputs_of(file)) and all(len(shape) > axis and not isinstance(shape[axis], int) for shape in shapes)


def example_of(file: OnnxFile, inputs: Any, any_dtype: bool = False) -> tuple[Tensor, ...]:
    """Example inputs in the file's order.

    Args:
        inputs: an array or tensor, a sequence of them, a mapping by name, or None for random numbers where the file gives every
            size but the batch.
        any_dtype: whether inputs may be something else than float32.
    Raises:
        TypeError: an input is missing or unknown. ValueError: a shape or dtype that the file does not take, or a shape that it
            leaves open.
    """
    wanted = inputs_of(file)
    if inputs is None:
        other = next((one for one in wanted if one.element_type not in DTYPES), None)
        if other is not None:
            kind = f"ONNX's data type {other.element_type}"
            raise ValueError(f"the file's input {other.name!r} is of {kind}: give example_inputs")
        return tuple(random_example(file, {}).values())
    if isinstance(inputs, Mapping):
        names = [one.name for one in wanted]
        wrong = [name for name in inputs if name not in names] + [name for name in names if name not in inputs]
        if wrong:
            raise TypeError(f"example_inputs: {wrong[0]!r} is missing or unknown; the model takes {', '.join(names)}")
        given: Sequence[Any] = [inputs[name] for name in names]
    else:
        given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if len(given) != len(wanted):
        raise TypeError(f"example_inputs has {len(given)} inputs; the model takes {len(wanted)}")
    return tuple(_checked(value, one, any_dtype) for value, one in zip(given, wanted, strict=True))


def random_example(file: OnnxFile, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Random numbers for every input; of integers 0 and 1, which are rows of most tables and both values of a mask.

    Args:
        shapes: of the inputs whose sizes the file leaves open, or that shall have other ones.
    Raises:
        ValueError: a size that neither gives. TypeError: a shape for what is no input.
    """
    generator, wanted = np.random.default_rng(0), inputs_of(file)
    unknown = set(shapes) - {one.name for one in wanted}
    if unknown:
        raise TypeError(f"{min(unknown)!r} is none of the model's inputs; they are {', '.join(one.name for one in wanted)}")
    made = {}
    for one in wanted:
        sizes, dtype = list(shapes.get(one.name) or _sizes(one)), DTYPES.get(one.element_type, torch.float32)
        numbers = generator.standard_normal(sizes) if dtype.is_floating_point else generator.integers(0, 2, sizes)
        made[one.name] = torch.from_numpy(np.asarray(numbers)).to(dtype)
    return made


def _sizes(wanted: Input) -> list[int]:
    if wanted.shape is None:
        raise ValueError(f"the file gives no shape for its input {wanted.name!r}: give example_inputs")
    sizes = [1 if axis == 0 and not isinstance(size, int) else size for axis, size in enumerate(wanted.shape)]
    left = [size for size in sizes if not isinstance(size, int)]
    if left:
        raise ValueError(
            f"the file leaves sizes of its input {wanted.name!r} open, {wanted.shape}: give example_inputs, whose sizes the "
            f"program is made for"
        )
    return [size for size in sizes if isinstance(size, int)]


def _checked(value: Any, wanted: Input, any_dtype: bool) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, order="C"))
    if wanted.element_type in DTYPES:
        dtype = DTYPES[wanted.element_type]
        if tensor.dtype != dtype:
            if dtype == torch.float32 or tensor.dtype.is_floating_point:
                raise ValueError(f"example_inputs: {wanted.name!r} is {tensor.dtype}; the program takes {dtype}")
            tensor = tensor.to(dtype)
    elif any_dtype:
        import onnx

        given = str(onnx.helper.tensor_dtype_to_np_dtype(wanted.element_type))
        if str(tensor.dtype).removeprefix("torch.") != given:
            raise ValueError(f"example_inputs: {wanted.name!r} is {tensor.dtype}; the file takes {given}")
    else:
        reason = "inputs are floats, integers or truth values"
        raise UnsupportedModel([Refused(f"an input of {tensor.dtype}", wanted.name, reason)])
    if wanted.shape is not None:
        fits = tensor.ndim == len(wanted.shape) and all(
            not isinstance(size, int) or size == n for size, n in zip(wanted.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"example_inputs: {wanted.name!r} has shape {tuple(tensor.shape)}; the file takes {wanted.shape}")
    return tensor.detach()
