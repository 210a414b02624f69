"""Compiled models behind the interface that users of ONNX Runtime know: a program changes one import."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import CompiledModel, is_compiled, load_compiled
from .tensors import Tensor

Results = list[NDArray[np.float32]]


class NodeArg(NamedTuple):
    """An input or output: its name, its type as ONNX Runtime writes it, and its shape, "N" standing for the batch."""

    name: str
    type: str
    shape: "list[int | str]"


class InferenceSession:
    """A compiled model with the methods of onnxruntime.InferenceSession that inference needs.

    Threads may call `run` at once. The batch is open: any size of the first axis is taken where the file leaves it open.
    """

    def __init__(
        self,
        path_or_bytes: "str | os.PathLike[str] | bytes",
        sess_options: Any = None,
        providers: "Sequence[Any] | None" = None,
        **other: Any,
    ) -> None:
        """
        Args:
            path_or_bytes: an ONNX model, which is compiled first (with torch and onnx), or what `CompiledModel.save` wrote.
            sess_options: of its attributes `intra_op_num_threads` counts, 0 for as many as `engine.runtime` says.
            providers, other: taken for the sake of programs that give them; everything runs on the CPU.
        Raises:
            UnsupportedModel, ValueError: as `engine.compile` and `engine.load_compiled` do. OSError: the file cannot be read.
        """
        threads = int(getattr(sess_options, "intra_op_num_threads", 0) or 0)
        self._model = _opened(path_or_bytes, threads)

    def get_inputs(self) -> list[NodeArg]:
        """What `run` is fed."""
        return [_node_arg(tensor) for tensor in self._model.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """What `run` returns."""
        return [_node_arg(tensor) for tensor in self._model.outputs]

    def get_providers(self) -> list[str]:
        """The CPU."""
        return ["CPUExecutionProvider"]

    def run(
        self, output_names: "Sequence[str] | None", input_feed: Mapping[str, NDArray[np.float32]], run_options: Any = None
    ) -> Results:
        """The outputs of these names in their order, all of them for None.

        Args:
            input_feed: an array for each input, by name.
            run_options: taken, and not looked at.
        Raises:
            ValueError: an output of that name does not exist, an input is missing, unknown, or of another shape or dtype.
        """
        known = [tensor.name for tensor in self._model.outputs]
        for name in output_names or ():
            if name not in known:
                raise ValueError(f"output_names has {name!r}; the model's outputs are {', '.join(known)}")
        try:
            made = self._model(**{name: np.asarray(value) for name, value in input_feed.items()})
        except TypeError as error:
            raise ValueError(f"input_feed: {error}") from error
        found = dict(zip(known, made if isinstance(made, tuple) else (made,), strict=True))
        return [found[name] for name in output_names or known]

    def run_async(
        self,
        output_names: "Sequence[str] | None",
        input_feed: Mapping[str, NDArray[np.float32]],
        callback: Callable[[Results, Any, str], object],
        user_data: Any,
        run_options: Any = None,
    ) -> None:
        """`run` on a thread of its own; `callback` gets the results, `user_data` and "", or [], `user_data` and the error."""

        def work() -> None:
            try:
                results, error = self.run(output_names, input_feed, run_options), ""
            except Exception as failure:  # as ONNX Runtime does: it arrives where the results would
                results, error = [], str(failure)
            callback(results, user_data, error)

        threading.Thread(target=work, name="sparse-engine-run-async", daemon=True).start()


def _node_arg(tensor: Tensor) -> NodeArg:
    kind = {"float32": "float"}.get(tensor.dtype, tensor.dtype)
    return NodeArg(tensor.name, f"tensor({kind})", list(tensor.shape))


def _opened(source: "str | os.PathLike[str] | bytes", threads: int) -> CompiledModel:
    if is_compiled(source):
        return load_compiled(source, threads=threads)
    from .api import compile

    return compile(source, threads=threads)
