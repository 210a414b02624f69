"""An ONNX file in segments: what is covered compiled, the rest in ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...channels.export import Arguments as Sized
from ...measure.model_calls import Arguments
from ...onnx_files.extraction import extracted
from ...onnx_files.reading import OnnxFile, inputs_of, plain, read_onnx, saved_whole
from ..capture_onnx import example_of, is_open_along
from ..exporting import BatchError, exports_at, resized
from ..onnx_module import OnnxModule
from ..rules.translation import BATCHES
from ..unsupported import Refused
from .coverage import Survey
from .functional import functional
from .model import Port, SegmentedModel
from .of_torch import nothing_left, summary, verify
from .onnx_coverage import OnnxCoverage
from .onnxruntime_segment import OnnxRuntimeSegment, session_of
from .partition import Part
from .program_segment import ProgramSegment
from .segment import Contents, Segment

Values = Mapping[str, Any]


def with_onnxruntime(source: Any, example_inputs: Any, threads: int) -> tuple[SegmentedModel, Callable[[], object], Arguments]:
    """What `engine.compile` makes of a file with operations that are not covered, given fallback="onnxruntime".

    Returns:
        the model, a call of the whole file in ONNX Runtime on the example, and the example.
    Raises:
        ValueError: nothing can be compiled, ONNX Runtime does not take the file, or the outputs differ from its own.
    """
    file = read_onnx(source)
    whole = saved_whole(file, source)
    for number, node in enumerate(whole.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"  # segments name it as the whole file does
    arguments = Arguments(example_of(file, example_inputs, any_dtype=True), {})
    content = whole.SerializeToString()
    call = partial(_called, session_of(content, threads), file, arguments)
    about: dict[str, Any] = {"model": file.name, "source": "ONNX"}
    if is_open_along(file, 0):
        try:
            recorded = [_recorded(whole, file, [resized(a, batch) for a in arguments.args]) for batch in BATCHES]
            found = _segmented(file, whole, recorded, threads, about)
        except BatchError:  # sizes written into the file that its shapes do not show
            pass
        else:
            verify(found, call, arguments, any_batch=True)
            return found, partial(call, None), arguments
    recorded = [_recorded(whole, file, arguments.args)]
    found = _segmented(file, whole, recorded, threads, about | {"batch": "fixed"})
    verify(found, call, arguments, any_batch=False)
    return found, partial(call, None), arguments


def _segmented(file: OnnxFile, whole: Any, recorded: Sequence[Values], threads: int, about: dict[str, Any]) -> SegmentedModel:
    coverage = OnnxCoverage(file, whole, recorded[0], recorded[-1])
    while True:
        parts = coverage.parts()
        if not any(part.compiled for part in parts):
            raise nothing_left(str(about.get("model", "the model")), coverage.uncovered.values(), 0, "ONNX Runtime")
        surveys = {n: _survey(coverage, part, recorded) for n, part in enumerate(parts) if part.compiled}
        found = {number: reason for survey, steps, _ in surveys.values() for number, reason in _refused(survey, steps).items()}
        if not found:
            break
        coverage.refuse(found)
    segments: list[Segment] = []
    for number, part in enumerate(parts):
        if part.compiled:
            segments.append(_program(coverage, part, *surveys[number], threads))
        else:
            segments.append(_in_onnxruntime(coverage, part, threads))
    made = {name: coverage.shape(name) for segment in segments for name in segment.contents.makes}
    ports = (
        [_port(name, coverage) for name in (one.name for one in inputs_of(file))],
        [_port(value.name, coverage) for value in whole.graph.output],
    )
    constants = {port.value: array for port in ports[1] if (array := coverage.constant(port.value)) is not None}
    return SegmentedModel(segments, *ports, about | summary(segments), made, constants)


def _survey(coverage: OnnxCoverage, part: Part, recorded: Sequence[Values]) -> tuple[Survey, dict[str, int], list[str]]:
    """What of a part is covered, the number of the node that each of its modules stands for, and its inputs."""
    from onnx import TensorProto, helper

    numbers = coverage.with_known(part.units)
    reads, makes = coverage.reads(part.units), coverage.makes(part.units)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in reads]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in makes]
    cut = extracted(coverage.whole, numbers, inputs, outputs)
    held = {tensor.name for tensor in cut.graph.initializer}
    constants = {name: array for name, array in coverage.file.constants.items() if name in held}
    module = OnnxModule(OnnxFile(cut, constants, coverage.file.opset, coverage.file.name)).eval()
    makers = {step: coverage.maker(next(filter(None, made))) for step, _, made in module._steps}
    steps = {step: number for step, number in makers.items() if number is not None}
    sizes = [Sized(tuple(_tensor(values[name]) for name in reads), {}) for values in recorded]
    programs = functional(exports_at(module, sizes), list(sizes[0].positional))
    return Survey(programs[0], programs[-1]), steps, reads


def _refused(survey: Survey, steps: Mapping[str, int]) -> dict[int, Refused]:
    found: dict[int, Refused] = {}
    live = set(survey.live())
    for node, refused in survey.uncovered.items():
        if node in live:
            found.setdefault(steps[refused.path.partition(".")[0]], refused)
    return found


def _program(
    coverage: OnnxCoverage, part: Part, survey: Survey, steps: Mapping[str, int], reads: Sequence[str], threads: int
) -> ProgramSegment:
    members = survey.live()
    read = {source for node in members for source in node.all_input_nodes} | set(survey.returned)
    # Of other inputs the shape alone counts.
    used = [(node, name) for node, name in zip(survey.arguments, reads, strict=True) if node in read]
    makes = coverage.makes(part.units)
    contents = Contents(tuple(name for _, name in used), tuple(makes), coverage.operations(part.units))
    graph = survey.graph_of([node for node, _ in used], members, survey.returned)
    dtypes = ["bool" if coverage.dtype(name) == "bool" else "float32" for name in makes]
    return ProgramSegment.of(contents, graph, dtypes, threads)


def _in_onnxruntime(coverage: OnnxCoverage, part: Part, threads: int) -> OnnxRuntimeSegment:
    reads, makes = coverage.reads(part.units), coverage.makes(part.units)
    refused = tuple(coverage.uncovered[number] for number in part.units if number in coverage.uncovered)
    contents = Contents(tuple(reads), tuple(makes), coverage.operations(part.units), refused)
    infos = [[coverage.value_info(name) for name in names] for names in (reads, makes)]
    cut = extracted(coverage.whole, coverage.with_known(part.units), *infos)
    dtypes = [coverage.dtype(name) for name in reads]
    return OnnxRuntimeSegment(contents, cut.SerializeToString(), dtypes, threads)


def _recorded(whole: Any, file: OnnxFile, inputs: Sequence[Tensor]) -> Values:
    """Every value of a file, computed by ONNX Runtime, at one batch size.

    Raises:
        BatchError: it cannot be computed at this size.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(whole)
    there = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in there]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    feeds = _feeds(file, inputs)
    try:
        session = session_of(model.SerializeToString(), 0, plain=True)
        made = session.run(None, feeds)
    except Exception as error:  # ONNX Runtime's kinds derive from Exception alone
        raise BatchError(f"ONNX Runtime cannot run the model: {str(error).strip().splitlines()[0]}") from error
    return feeds | {value.name: array for value, array in zip(model.graph.output, made, strict=True)}


def _feeds(file: OnnxFile, inputs: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    from onnx import helper

    return {
        one.name: tensor.detach().numpy().astype(helper.tensor_dtype_to_np_dtype(one.element_type), copy=False)
        for one, tensor in zip(inputs_of(file), inputs, strict=True)
    }


def _called(session: Any, file: OnnxFile, arguments: Arguments, batch: "int | None") -> list[NDArray[Any]]:
    inputs = [value if batch is None else resized(value, batch) for value in arguments.args]
    return [plain(array) for array in session.run(None, _feeds(file, inputs))]


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(plain(array)))


def _port(name: str, coverage: OnnxCoverage) -> Port:
    dtype = coverage.dtype(name)
    if dtype is None:
        raise ValueError(f"{name} is no tensor, which a compiled model cannot return: leave it out of the file's outputs")
    return Port(name, name, coverage.shape(name), "float32" if dtype == "float16" else dtype)
