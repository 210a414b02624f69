"""The model of a file in each engine that is installed: a call on arrays, the same for all."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler.compiled import CompiledModel, is_compiled, load_compiled
from ..compiler.tensors import NARROW
from .output import UserError, importable, need

Array = NDArray[np.float32]
Feeds = dict[str, NDArray[Any]]
Call = Callable[[Feeds], list[Array]]


def opened(
    path: str, threads: int = 0, shapes: "Mapping[str, list[int]] | None" = None, fallback: "str | None" = None
) -> CompiledModel:
    """A compiled file, or an ONNX file compiled now.

    Args:
        shapes: of inputs whose sizes an ONNX file leaves open.
        fallback: as `engine.compile` takes it.
    Raises:
        UserError: it can't be; the message says why.
    """
    try:
        if is_compiled(path):
            return load_compiled(path, threads=threads)
        need(("torch", "onnx"), "an ONNX model", "onnx")
        if fallback == "onnxruntime" and not importable(fallback):
            raise UserError("--fallback onnxruntime needs onnxruntime: pip install onnxruntime")
        api: Any = importlib.import_module("sparse_engine.compiler.api")
        example = None
        if shapes:
            capture: Any = importlib.import_module("sparse_engine.compiler.capture_onnx")
            reading: Any = importlib.import_module("sparse_engine.onnx_files.reading")
            example = capture.random_example(reading.read_onnx(path), shapes)
        compiled: CompiledModel = api.compile(path, example, threads=threads, fallback=fallback)
        return compiled
    except (ValueError, TypeError, OSError) as error:
        raise UserError(str(error)) from error


def random_array(shape: "list[int]", seed: int, dtype: str = "float32") -> NDArray[Any]:
    """Normal random numbers, the same every time, float32 for 16 bits; of integers 0 and 1, which are rows of most tables."""
    generator = np.random.default_rng(seed)
    if dtype in ("float32", *NARROW):
        return generator.standard_normal(shape).astype(np.float32)
    return generator.integers(0, 2, shape).astype(dtype)


def feeds_of(model: CompiledModel, batch: int) -> Feeds:
    """Random inputs of a batch."""
    shapes = zip(model.inputs, model.input_shapes(batch), strict=True)
    return {tensor.name: random_array(shape, number, tensor.dtype) for number, (tensor, shape) in enumerate(shapes)}


def sparse(model: CompiledModel, threads: int) -> Call:
    """This library."""
    session = model.with_threads(threads)

    def call(feeds: Feeds) -> list[Array]:
        made = session(**feeds)
        return list(made) if isinstance(made, tuple) else [made]

    return call


def onnxruntime(path: str, threads: int) -> Call:
    """ONNX Runtime on the CPU."""
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(feeds: Feeds) -> list[Array]:
        found: list[Array] = session.run(None, feeds)
        return found

    return call


def openvino(path: str, threads: int) -> Call:
    """OpenVINO on the CPU, in float32."""
    ov: Any = importlib.import_module("openvino")
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = ov.Core().compile_model(path, "CPU", settings)

    def call(feeds: Feeds) -> list[Array]:
        found = model(feeds)
        return [np.array(found[i]) for i in range(len(model.outputs))]

    return call


RIVALS: dict[str, Callable[[str, int], Call]] = {"onnxruntime": onnxruntime, "openvino": openvino}
