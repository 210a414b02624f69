"""A compiled model: a program and the threads that run it. Needs numpy only."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..io.atomic_write import write_atomically
from ..measure.reach import reach
from .description import description, shape_of
from .profile import Profile, profile_of
from .tensors import Tensor, floats_of, handed_out

MAGIC = b"sparse\x1e\n"  # how a file begins


class CompiledModel:
    """A whole model as one program: what `engine.compile` and `engine.load_compiled` return.

    Call it with what the model takes; any number of threads may call it at once, each call then has threads and memory of its
    own, and weights are shared. The interpreter lock is released while it computes.

    Attributes:
        inputs, outputs: names, shapes with the batch open, dtypes.
        threads: of one call.
        about: what is kept in its file: the model's class, what the passes did, the error on the example.
        measured: by `engine.compile`, in milliseconds on the example: "milliseconds" and dense in torch, "torch_milliseconds".
            No file holds them: they are of this machine.
    """

    def __init__(self, program: _core.Program, threads: int = 0, session: "_core.Session | None" = None) -> None:
        self._program = program
        self._session: _core.Session | None = _core.Session(program, threads) if session is None else session
        self._shapes = program.inputs
        self.about: dict[str, Any] = json.loads(program.about or "{}")
        dtypes = self.about.get("dtypes", {})
        self.inputs = [Tensor(name, shape_of(shape), dtypes.get(name, "float32")) for name, shape in program.inputs]
        self.outputs = [Tensor(name, shape_of(shape), dtypes.get(name, "float32")) for name, shape in program.outputs]
        self.measured: dict[str, float] = {}

    @property
    def threads(self) -> int:
        """Threads of one call."""
        return self._open().threads

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """What it consists of, in the order it runs: mappings with "operation", "name", "shape", "weight" and more."""
        return self._program.nodes

    def input_shapes(self, batch: int) -> list[list[int]]:
        """The shape of each input at a batch size."""
        return [_sizes(shape, batch) for _, shape in self._shapes]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's outputs.

        Args:
            args, kwargs: arrays or torch tensors of the dtypes of `inputs`, in their order or by name; for 16-bit floats arrays
                may be float32, and are for bfloat16, which numpy lacks. The first axis is the batch, of any size. Of a model
                compiled with another open axis, that axis is of any length, and all of them may be lists, of what is given for
                each of several sequences.
        Returns:
            one array, or a tuple where the model has several outputs, of the dtypes of `outputs`; torch tensors where the first
            input is one, and float32 for bfloat16 otherwise. Of lists a list.
        Raises:
            TypeError: an input is missing, unknown or given twice. ValueError: a shape or dtype that does not fit.
        """
        session = self._open()
        given = self._in_order(args, kwargs)
        if self.about.get("open_axis") and all(isinstance(value, list) for value in given):
            return self._of_several(session, list(zip(*given, strict=True)))
        arrays, batch = self._arrays(given)
        results = self._results(batch)
        session.run(batch, arrays, results)
        return self._returned(results, given)

    def _of_several(self, session: _core.Session, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Of several sequences at once: what they are given, and what they give, lies one behind the other."""
        read = [self._arrays(given) for given in calls]
        if not read:
            return []
        sizes = [size for _, size in read]
        inputs = [np.concatenate([array.ravel() for array in arrays]) for arrays in zip(*(a for a, _ in read), strict=True)]
        shapes = [[_sizes(shape, size) for size in sizes] for _, shape in self._program.outputs]
        outputs = [np.empty(sum(map(math.prod, of_calls)), np.float32) for of_calls in shapes]
        session.run_several(sizes, inputs, outputs)
        of_outputs = [_cut(output, of_calls) for output, of_calls in zip(outputs, shapes, strict=True)]
        return [self._returned(results, given) for given, results in zip(calls, zip(*of_outputs, strict=True), strict=True)]

    def _returned(self, results: "Sequence[NDArray[np.float32]]", given: Sequence[Any]) -> Any:
        """As a call returns them: torch tensors where its first input is one."""
        as_tensors = not isinstance(given[0], np.ndarray) and "torch" in sys.modules
        made = [handed_out(result, port.dtype, as_tensors) for result, port in zip(results, self.outputs, strict=True)]
        return made[0] if len(made) == 1 else tuple(made)

    def run_into(self, size: int, inputs: "list[NDArray[np.float32]]", outputs: "list[NDArray[np.float32]]") -> None:
        """Run at an open size of `size` on arrays of float32, contiguous and of the shapes that `inputs` and `outputs` say.

        An output may be the very array of an input where the program writes rows of that input, which nothing else reads.

        Raises:
            ValueError: shapes or dtypes do not fit.
        """
        self._open().run(size, inputs, outputs)

    def profile(self, *args: Any, rounds: int = 10, **kwargs: Any) -> Profile:
        """What each node takes on these inputs, and how far that is from what the machine reaches, which is measured too.

        Args:
            args, kwargs: as for a call.
            rounds: runs, of which each node's median counts.
        Raises:
            ValueError: rounds is below 1, or the batch is empty. TypeError, ValueError: as for a call.
        """
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}; it must be at least 1")
        session = self._open()
        given = self._in_order(args, kwargs)
        arrays, batch = self._arrays(given)
        results = self._results(batch)
        session.run(batch, arrays, results)
        runs = [session.profile(batch, arrays, results) for _ in range(rounds)]
        machine = reach(session.threads, max((step[5] * min(step[2], session.threads) for step in runs[0]), default=0))
        return profile_of(runs, self._program.nodes, session.threads, machine, self.about.get("model", "model"))

    def with_threads(self, threads: int) -> "CompiledModel":
        """The same weights with another number of threads a call (0: as many as `engine.runtime` says)."""
        return CompiledModel(self._program, session=self._open().with_threads(threads))

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the program to `path`, whole or not at all: weights compressed, no pickle.

        Raises:
            OSError: the file cannot be written. What was there before is unharmed.
        """
        write_atomically(Path(path), self._program.to_bytes())

    def close(self) -> None:
        """Give threads and memory back once running calls are over; a later call raises ValueError."""
        self._session = None

    def __enter__(self) -> "CompiledModel":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def __str__(self) -> str:
        """Nodes with their kernels at batch 1, which is run once; what was folded and fused; memory, error and time."""
        arena, kernels = None, {}
        if self._session is not None:
            arena = self._session.arena_nbytes(1)
            zeros = [np.zeros(shape, np.float32) for shape in self.input_shapes(1)]
            kernels = {step[0]: step[1] for step in self._session.profile(1, zeros, self._results(1))}
        threads = 0 if self._session is None else self.threads
        return description(self._program.nodes, self.about, self.measured, threads, arena, kernels)

    def _open(self) -> _core.Session:
        if self._session is None:
            raise ValueError("this compiled model is closed: load or compile it again")
        return self._session

    def _in_order(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        names = [tensor.name for tensor in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"{len(args)} inputs were given; the model takes {len(names)}: {', '.join(names)}")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in given:
                problem = "given twice" if name in given else "none of the model's inputs"
                raise TypeError(f"{name} is {problem}; they are {', '.join(names)}")
            given[name] = value
        missing = [name for name in names if name not in given]
        if missing:
            raise TypeError(f"input {', '.join(missing)} is missing; the model takes {', '.join(names)}")
        return [given[name] for name in names]

    def _arrays(self, given: Sequence[Any]) -> tuple[list[NDArray[np.float32]], int]:
        """The inputs of a call as floats, and its open size."""
        arrays = [floats_of(value, tensor) for value, tensor in zip(given, self.inputs, strict=True)]
        return arrays, self._batch(arrays)

    def _batch(self, arrays: list[NDArray[np.float32]]) -> int:
        batches = set()
        for array, (name, shape) in zip(arrays, self._shapes, strict=True):
            fits = array.ndim == len(shape)
            for length, (fixed, per_item) in zip(array.shape, shape, strict=False):
                if per_item == 0:
                    fits &= length == fixed
                else:
                    fits &= (length - fixed) % per_item == 0
                    batches.add((length - fixed) // per_item)
            if not fits:
                needs = ", ".join(map(str, shape_of(shape)))
                raise ValueError(f"{name} has shape {array.shape}; the model was compiled for ({needs})")
        if len(batches) > 1:
            raise ValueError(f"the inputs have batches of {sorted(batches)}; all need the same")
        return batches.pop() if batches else 1

    def _results(self, batch: int) -> list[NDArray[np.float32]]:
        return [np.empty(_sizes(shape, batch), np.float32) for _, shape in self._program.outputs]


def _sizes(shape: list[tuple[int, int]], batch: int) -> list[int]:
    return [fixed + per_item * batch for fixed, per_item in shape]


def _cut(array: NDArray[np.float32], shapes: list[list[int]]) -> list[NDArray[np.float32]]:
    """Arrays of these shapes that lie one behind the other."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(array, ends[:-1]), shapes, strict=True)]


def is_compiled(source: "str | os.PathLike[str] | bytes") -> bool:
    """Whether a file, or its bytes, begins as what `CompiledModel.save` wrote. Raises OSError where it cannot be read."""
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    return bytes(source[: len(MAGIC)]) == MAGIC


def load_compiled(source: "str | os.PathLike[str] | bytes", *, threads: int = 0) -> CompiledModel:
    """Read what `CompiledModel.save` wrote. Needs numpy only.

    Args:
        source: the file, or its bytes; it is checked like untrusted input, and nothing in it is executed.
        threads: of one call; 0 for as many as `engine.runtime` says.
    Raises:
        ValueError: the file is damaged or of another kind. OSError: it cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        content, name = Path(source).read_bytes(), repr(os.fspath(source))
    else:
        content, name = bytes(source), f"what was given, {len(source)} bytes,"
    try:
        program = _core.Program.from_bytes(content)
    except ValueError as error:
        hint = ": an ONNX model is for engine.compile" if name.endswith(".onnx'") else ""
        raise ValueError(f"{name} is no compiled model{hint}: {error}") from error
    return CompiledModel(program, threads)
