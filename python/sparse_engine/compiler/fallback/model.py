"""A model of which some segments run in another runtime. Needs numpy only, unless a segment needs more."""

import os
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...measure.reach import reach
from ..compiled import CompiledModel
from ..description import shape_of
from ..profile import NodeTime, Profile, profile_of
from ..tensors import Tensor, array_of
from .description import described
from .program_segment import ProgramSegment
from .segment import COMPILED, Segment

Shape = list[tuple[int, int]]


class Port(NamedTuple):
    """An input or output of a model.

    Attributes:
        name, value: as users call it, and as segments do.
        shape: fixed and per item for each axis; None where it depends on values.
    """

    name: str
    value: str
    shape: "Shape | None"
    dtype: str = "float32"


class SegmentedModel(CompiledModel):
    """What `engine.compile` returns where it was given `fallback` and some operations are not covered.

    It is called, profiled and printed as any compiled model. What it cannot do is be saved: a file would need the other runtime
    wherever it is opened. Segments in torch run on as many threads as torch is set to (`torch.set_num_threads`), which is for
    all of the process and is not changed here; those in ONNX Runtime on as many as the compiled ones.

    Attributes:
        segments: in the order they run.
        fallback_segments: those that are not compiled; `contents` of each says what it runs, and what of it is not covered.
        crossing: values handed from one segment to another, once for each that reads them, with their shapes; None where a size
            depends on values.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        about: dict[str, Any],
        shapes: Mapping[str, "Shape | None"],
        constants: Mapping[str, NDArray[Any]],
    ) -> None:
        """
        Args:
            shapes: of values that segments make.
            constants: values that depend on no input.
        """
        self._segments: list[Segment] | None = list(segments)
        self._ports = (list(inputs), list(outputs))
        self._value_shapes, self._constants = dict(shapes), dict(constants)
        self._shapes = [(port.name, port.shape or []) for port in inputs]
        self.inputs, self.outputs = ([_tensor(port) for port in ports] for ports in self._ports)
        self.about, self.measured = about, {}
        self.segments = list(segments)
        self.fallback_segments = [segment for segment in segments if segment.runtime != COMPILED]
        makers = {name for segment in segments for name in segment.contents.makes}
        self.crossing = [
            (name, self._value_shapes.get(name)) for segment in segments for name in segment.contents.reads if name in makers
        ]
        last = {name: number for number, segment in enumerate(segments) for name in segment.contents.reads}
        kept = {port.value for port in outputs}
        self._done: list[list[str]] = [[] for _ in segments]
        for name in sorted(last.keys() - kept):
            self._done[last[name]].append(name)

    @property
    def threads(self) -> int:
        """Threads of one call, in what is compiled and in ONNX Runtime."""
        return max(segment.session.threads for segment in self._programs())

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """What its compiled segments consist of, in the order they run."""
        return [node for segment in self.segments if isinstance(segment, ProgramSegment) for node in segment.program.nodes]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's outputs, as of any compiled model; dtypes are those of `inputs` and `outputs`."""
        segments = self._opened()
        given = self._in_order(args, kwargs)
        results = self._run(segments, *self._entering(given))
        if not isinstance(given[0], np.ndarray) and (torch := sys.modules.get("torch")) is not None:
            results = [torch.from_numpy(result) for result in results]
        return results[0] if len(results) == 1 else tuple(results)

    def crossing_milliseconds(self, *args: Any, rounds: int = 5, **kwargs: Any) -> tuple[float, float]:
        """Median milliseconds of a call on these inputs, and of what of it is spent between segments."""
        segments = self._opened()
        batch, arrays = self._entering(self._in_order(args, kwargs))
        found = []
        for _ in range(rounds):
            clock = [0.0] * len(segments)
            start = perf_counter()
            self._run(segments, batch, arrays, clock)
            whole = perf_counter() - start
            found.append((1e3 * whole, 1e3 * (whole - sum(clock))))
        middle = len(found) // 2
        return sorted(whole for whole, _ in found)[middle], sorted(between for _, between in found)[middle]

    def profile(self, *args: Any, rounds: int = 10, **kwargs: Any) -> Profile:
        """What each compiled node takes, each segment in another runtime as a whole, and what is spent between segments.

        Segments in another runtime have no share of the limit: what they compute is not known here.

        Args:
            args, kwargs: as for a call.
            rounds: runs, of which each row's median counts.
        Raises:
            ValueError: rounds is below 1, or the batch is empty. TypeError, ValueError: as for a call.
        """
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}; it must be at least 1")
        segments = self._opened()
        batch, arrays = self._entering(self._in_order(args, kwargs))
        self._run(segments, batch, arrays)
        steps: list[list[Any]] = [[] for _ in segments]
        moved = [0] * len(segments)
        between = []
        for _ in range(rounds):
            values, spent, start = self._values(arrays), 0.0, perf_counter()
            for number, segment in enumerate(segments):
                given = segment.enter([values[name] for name in segment.contents.reads])
                begin = perf_counter()
                if isinstance(segment, ProgramSegment):
                    results = segment.results(batch)
                    steps[number].append(segment.session.profile(batch, given, results))
                    made = segment.leave(given, results)
                else:
                    made = segment.run(batch, given)
                    steps[number].append(perf_counter() - begin)
                spent += perf_counter() - begin
                moved[number] = sum(getattr(value, "nbytes", 0) for value in (*given, *made))
                values |= dict(zip(segment.contents.makes, made, strict=True))
            between.append(perf_counter() - start - spent)
        sets = [
            step[5] * min(step[2], self.threads)
            for number, segment in enumerate(segments)
            if segment.runtime == COMPILED
            for step in steps[number][0]
        ]
        machine = reach(self.threads, max(sets, default=0))
        name = str(self.about.get("model", "model"))
        rows: list[NodeTime] = []
        for number, segment in enumerate(segments):
            if isinstance(segment, ProgramSegment):
                rows += profile_of(steps[number], segment.program.nodes, self.threads, machine, name).nodes
            else:
                kinds = ", ".join(segment.contents.operations)
                rows.append(_row(f"segment {number + 1}", kinds, segment.runtime, steps[number], moved[number]))
        rows.append(_row("between segments", "handing over", "", between, 0))
        return Profile(tuple(rows), self.threads, machine, name)

    def with_threads(self, threads: int) -> "SegmentedModel":
        """The same with another number of threads a call (0: as many as `engine.runtime` says).

        Compiled segments share their weights, those in ONNX Runtime are opened once more, those in torch stay as they are.
        """
        segments = [segment.with_threads(threads) for segment in self._opened()]
        return SegmentedModel(segments, *self._ports, dict(self.about), self._value_shapes, self._constants)

    def save(self, path: "str | os.PathLike[str]") -> NoReturn:
        """Raises ValueError: a file holds what is compiled, and this model needs another runtime beside it."""
        if not self.fallback_segments:
            other = [tensor for tensor in (*self.inputs, *self.outputs) if tensor.dtype != "float32"]
            dtypes = ", ".join(f"{tensor.name} is {tensor.dtype}" for tensor in other)
            raise ValueError(f"{os.fspath(path)!r} is not written: {dtypes}, and a compiled file holds float32 alone")
        kinds = ", ".join(
            dict.fromkeys(one.operation for segment in self.fallback_segments for one in segment.contents.refused)
        )
        runtime = self.fallback_segments[0].runtime
        raise ValueError(
            f"{os.fspath(path)!r} is not written: {len(self.fallback_segments)} of the model's {len(self.segments)} segments "
            f"run in {runtime} ({kinds}), which no compiled file holds. Keep the ONNX file or the torch model, and call "
            f"engine.compile(..., fallback={runtime!r}) where it is used; or save a model without these operations"
        )

    def close(self) -> None:
        """Give threads and memory back once running calls are over; a later call raises ValueError."""
        self._segments = None
        self.segments = [_Closed(segment.runtime, segment.contents) for segment in self.segments]
        self.fallback_segments = [segment for segment in self.segments if segment.runtime != COMPILED]
        self._constants = {}

    def __str__(self) -> str:
        """Segments with what runs in each and why, what crossing costs, and the nodes of compiled segments."""
        return described(self.segments, self.crossing, self.about, self.measured, self.nodes)

    def _opened(self) -> list[Segment]:
        if self._segments is None:
            raise ValueError("this compiled model is closed: compile it again")
        return self._segments

    def _programs(self) -> list[ProgramSegment]:
        return [segment for segment in self._opened() if isinstance(segment, ProgramSegment)]

    def _entering(self, given: Sequence[Any]) -> tuple[int, list[NDArray[Any]]]:
        arrays = [array_of(value, tensor.name, tensor.dtype) for value, tensor in zip(given, self.inputs, strict=True)]
        return self._batch(arrays), arrays

    def _values(self, arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
        return self._constants | {port.value: array for port, array in zip(self._ports[0], arrays, strict=True)}

    def _run(
        self, segments: Sequence[Segment], batch: int, arrays: Sequence[NDArray[Any]], clock: "list[float] | None" = None
    ) -> list[NDArray[Any]]:
        values = self._values(arrays)
        for number, segment in enumerate(segments):
            given = segment.enter([values[name] for name in segment.contents.reads])
            start = perf_counter()
            made = segment.run(batch, given)
            if clock is not None:
                clock[number] = perf_counter() - start
            values |= dict(zip(segment.contents.makes, made, strict=True))
            del given, made
            for name in self._done[number]:
                values.pop(name, None)
        others: list[NDArray[Any]] = [*arrays, *self._constants.values()]
        results: list[NDArray[Any]] = []
        for port in self._ports[1]:
            value = values[port.value]
            result = np.asarray(value if isinstance(value, np.ndarray) else value.numpy(), port.dtype, order="C")
            if any(np.may_share_memory(result, other) for other in (*others, *results)):
                result = result.copy()
            results.append(result)
        return results


class _Closed(Segment):
    """What is left of a segment whose model was closed."""

    def __init__(self, runtime: str, contents: Any) -> None:
        super().__init__(contents)
        self.runtime = runtime

    def enter(self, values: Sequence[Any]) -> NoReturn:
        raise ValueError("this compiled model is closed: compile it again")

    def run(self, batch: int, given: list[Any]) -> NoReturn:
        raise ValueError("this compiled model is closed: compile it again")

    def with_threads(self, threads: int) -> NoReturn:
        raise ValueError("this compiled model is closed: compile it again")


def _tensor(port: Port) -> Tensor:
    return Tensor(port.name, ("?",) if port.shape is None else shape_of(port.shape), port.dtype)


def _row(name: str, operation: str, kernel: str, seconds: Sequence[float], nbytes: int) -> NodeTime:
    return NodeTime(name, operation, kernel, 1e3 * sorted(seconds)[len(seconds) // 2], 0.0, 0, nbytes / 1e6, 0.0)
