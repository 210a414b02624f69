"""A segment that runs in ONNX Runtime."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import runtime
from .segment import Contents, Segment


class OnnxRuntimeSegment(Segment):
    """Runs a model cut out of an ONNX file, on the CPU; between calls its threads sleep."""

    runtime = "onnxruntime"

    def __init__(self, contents: Contents, model: bytes, dtypes: Sequence[Any], threads: int) -> None:
        """
        Args:
            model: an ONNX model whose inputs and outputs are `contents.reads` and `contents.makes`.
            dtypes: of its inputs; None for what is no tensor.
            threads: of one call, 0 for as many as `engine.runtime` says.
        """
        super().__init__(contents)
        self._model, self._dtypes = model, list(dtypes)
        self._session = session_of(model, threads)

    def enter(self, values: Sequence[Any]) -> list[Any]:
        """Contiguous arrays of the dtypes that the model takes."""
        found = []
        for value, dtype in zip(values, self._dtypes, strict=True):
            array = value.detach().numpy() if hasattr(value, "detach") else value
            found.append(array if dtype is None else np.require(array, dtype, ["C", "A"]))
        return found

    def run(self, batch: int, given: list[Any]) -> list[Any]:
        """Arrays."""
        feeds = dict(zip(self.contents.reads, given, strict=True))
        made: list[Any] = self._session.run(list(self.contents.makes), feeds)
        return made

    def with_threads(self, threads: int) -> "OnnxRuntimeSegment":
        """Opened once more, with weights of its own."""
        return OnnxRuntimeSegment(self.contents, self._model, self._dtypes, threads)


def session_of(model: bytes, threads: int, plain: bool = False) -> Any:
    """A session of ONNX Runtime whose threads do not spin while they wait.

    Args:
        plain: run the operations as they stand in the file.
    Raises:
        ModuleNotFoundError: it is not installed. ValueError: it does not take the model.
    """
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'fallback="onnxruntime" needs the package onnxruntime: pip install onnxruntime', name="onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or runtime.num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its kinds derive from Exception alone
        raise ValueError(f"ONNX Runtime does not take the model: {str(error).strip().splitlines()[0]}") from error
