"""ONNX files, read like untrusted input: a model, checked, with its weights beside it where the file says so."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OPSETS = range(7, 29)


def is_onnx(model: Any) -> bool:
    """Whether a model is given as ONNX: a path, bytes or an onnx.ModelProto."""
    return isinstance(model, (str, os.PathLike, bytes, bytearray, memoryview)) or type(model).__name__ == "ModelProto"


class OnnxFile(NamedTuple):
    """A model of a file.

    Attributes:
        model: an onnx.ModelProto whose functions are inlined.
        constants: the initialisers by name.
        opset: the version of ONNX's own operations.
        name: of the file, or of the graph.
    """

    model: Any
    constants: dict[str, NDArray[Any]]
    opset: int
    name: str


class Input(NamedTuple):
    """An input of a file: its name, its element type as ONNX counts them, and its shape; a size may be a name, or unknown."""

    name: str
    element_type: int
    shape: "tuple[int | str | None, ...] | None"


def read_onnx(source: "str | os.PathLike[str] | bytes | Any") -> OnnxFile:
    """The model in a file, in bytes, or an onnx.ModelProto.

    Raises:
        ValueError: no ONNX model, a damaged one, or one of an opset that is not covered. OSError: the file cannot be read.
        ImportError: the package onnx is not installed.
    """
    onnx = _package()
    folder = ""
    if isinstance(source, onnx.ModelProto):
        model, name = source, source.graph.name or "model"
    else:
        if isinstance(source, (str, os.PathLike)):
            content, name, folder = Path(source).read_bytes(), os.fspath(source), str(Path(source).resolve().parent)
        else:
            content, name = bytes(source), "the bytes given"
        model = onnx.ModelProto()
        try:
            model.ParseFromString(content)
        except Exception as error:  # protobuf's kinds differ between its implementations
            raise ValueError(f"{name} is no ONNX model: {_first_line(error)}") from error
    if not model.graph.node and not model.graph.output:
        raise ValueError(f"{name} is no ONNX model: it has no graph")
    try:
        onnx.checker.check_model(source if folder else model, full_check=False)
        if len(model.functions):
            model = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ValueError(f"{name} is a damaged ONNX model: {_first_line(error)}") from error
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise ValueError(
            f"{name} follows opset {opset} of ONNX; {OPSETS[0]} to {OPSETS[-1]} are covered: convert it with "
            f"onnx.version_converter"
        )
    constants = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _array(tensor, folder, name)
    return OnnxFile(model, constants, opset, Path(name).stem if folder else name)


def saved_whole(file: OnnxFile, source: Any) -> Any:
    """A copy of the model with all of its tensors inside, which can be changed and saved as one file."""
    onnx = _package()
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    if isinstance(source, (str, os.PathLike)):
        onnx.load_external_data_for_model(model, str(Path(source).resolve().parent))
    return model


def _package() -> Any:
    try:
        import onnx
        import onnx.inliner
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading ONNX models needs the package {error.name}: pip install 'sparse-engine[onnx]'", name=error.name
        ) from error
    return onnx


def inputs_of(file: OnnxFile) -> list[Input]:
    """What a caller gives: the graph's inputs that are no initialisers."""
    found = []
    for value in file.model.graph.input:
        if value.name in file.constants:
            continue
        tensor = value.type.tensor_type
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(_size(d) for d in tensor.shape.dim)
        found.append(Input(value.name, tensor.elem_type, shape))
    return found


def _size(dimension: Any) -> "int | str | None":
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value) if dimension.dim_value >= 0 else None  # some exporters write −1 for an open size
    return str(dimension.dim_param) if dimension.HasField("dim_param") else None


def _array(tensor: Any, folder: str, name: str) -> NDArray[Any]:
    from onnx import numpy_helper

    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor, base_dir=folder)
    except Exception as error:  # sizes that do not fit, files that are not there or lie elsewhere
        raise ValueError(f"{name}: the initialiser {tensor.name!r} cannot be read: {_first_line(error)}") from error
    return plain(array)


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """16-bit floats as float32, which holds each of them exactly."""
    if array.dtype == np.float16 or array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return array.astype(np.float32)
    return array


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
