"""`engine.compile`: a torch module or an ONNX file becomes one program that runs without torch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..channels.export import HOOKS, is_of_torch, plain_copy
from ..measure.model_calls import Arguments, arguments_of
from ..measure.timing import interleaved
from ..onnx_files.reading import is_onnx
from .capture_onnx import example_of, is_open_along, module_of
from .capture_torch import capture
from .compiled import CompiledModel
from .exporting import BatchError
from .fallback.model import SegmentedModel
from .fallback.of_onnx import with_onnxruntime
from .fallback.of_torch import in_segments
from .graph import Graph
from .lower import lower
from .open_axis import BATCH, OpenAxis
from .passes import PASSES
from .rules.translation import BATCHES
from .unsupported import UnsupportedModel
from .verification import verify
from .widening import NARROW_TYPES, Widened, widened

FALLBACKS = (None, "torch", "onnxruntime")

ROUNDS, SECONDS = 9, 0.3  # of the calls that are timed: so many, or as many as fit in so long


def compile(
    model: Any,
    example_inputs: Any = None,
    *,
    threads: int = 0,
    fallback: "str | None" = None,
    open_axis: int = 0,
    longest: "int | None" = None,
) -> CompiledModel:
    """Compile `model`, pruned or not, into one program; it is verified against the model on the example.

    What is computed is the model in eval mode with its masks applied. Batch norms are folded, and biases, residuals and
    activations fused into the products before them. The program serves any batch size, or with `open_axis=1` any length of a
    sequence; torch is not needed afterwards, and later changes of the model do not reach it.

    Args:
        model: a torch module, on the CPU, in eval mode, without hooks of yours and without control flow that depends on values;
            float32, or bfloat16 or float16: weights keep their 16 bits then, while everything is computed in float32. Or ONNX:
            the path of a file, its bytes, or an onnx.ModelProto, of opset 7 or later; 16-bit floats are computed in float32,
            zeros among its weights are found. Where the file fixes the first axis, the program serves that batch alone; other
            sizes that it leaves open become those of the example.
        example_inputs: a tensor, a tuple of positional arguments or a mapping of keyword arguments; the first axis of each
            tensor is the batch. Of ONNX also arrays, and None for random numbers where the file gives the sizes.
        threads: of one call; 0 for as many as `engine.runtime` says.
        fallback: where operations that are not covered run: "torch"; "onnxruntime", for ONNX; None for nowhere. Where there are
            such operations, the result is a `SegmentedModel`: as few segments as possible, those that are not compiled in
            `fallback_segments`. It cannot be saved. Inputs and outputs that it alone sees may be of other dtypes than float32.
            Segments in torch run on as many threads as torch is set to.
        open_axis: the axis of the inputs whose length may differ from call to call, of every input that has it; the others stay
            as in the example. 0 is the batch; 1 the tokens of (N, tokens), without padding. The compiled model then also takes
            lists, one element for each sequence. Not with a fallback.
        longest: how long an open axis other than the batch may become: positions are computed up to there. As long as in the
            example unless said.
    Raises:
        UnsupportedModel: operations that are not covered, all of them, with where they stand, and no fallback for them.
        ValueError: nothing can be compiled beside what is not covered; a model in training
            mode, with hooks, on another device, of another dtype, or one whose compiled outputs differ from its own; an ONNX
            file that is damaged. ModuleNotFoundError: ONNX without the package onnx.
    """
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}; it must be one of {', '.join(map(repr, FALLBACKS))}")
    if open_axis < 0 or (open_axis and fallback) or (longest is not None and (longest <= max(BATCHES) or not open_axis)):
        raise ValueError(
            f"open_axis is {open_axis}, longest {longest} and fallback {fallback!r}; open_axis must not be negative, longest "
            f"is for another axis than the batch, and above {max(BATCHES)}, and a fallback is for the batch alone: open_axis=0"
        )
    if is_onnx(model):
        return _compile_onnx(model, example_inputs, threads, fallback, open_axis, longest)
    if fallback == "onnxruntime":
        raise ValueError('fallback="onnxruntime" is for ONNX; what a torch module has beside what is covered runs with "torch"')
    check_compilable(model)
    arguments = arguments_of(model, example_inputs)
    opened, about = _opened(arguments, open_axis, longest), {"model": type(model).__name__}
    narrow = widened(model, arguments)
    if narrow is not None:
        model, arguments = narrow.model, narrow.arguments
    return _compile_torch(model, arguments, threads, fallback, about, opened=opened, narrow=narrow)


def _opened(arguments: Arguments, axis: int, longest: "int | None") -> OpenAxis:
    if axis == 0:
        return BATCH
    lengths = [given.shape[axis] for given in arguments.tensors if given.ndim > axis]
    if not lengths:
        raise ValueError(f"open_axis is {axis}; none of the example inputs has so many axes")
    return OpenAxis(axis, max(*lengths, *BATCHES) if longest is None else longest)


def _compile_torch(
    model: nn.Module,
    arguments: Arguments,
    threads: int,
    fallback: "str | None",
    about: dict[str, Any],
    names: "tuple[list[str], list[str]] | None" = None,
    any_batch: bool = True,
    opened: OpenAxis = BATCH,
    narrow: "Widened | None" = None,
) -> CompiledModel:
    if opened is not BATCH:
        about |= {"open_axis": opened.axis, "longest": opened.longest}
    try:
        graph = capture(model, arguments.args, arguments.kwargs, any_batch, opened)
    except UnsupportedModel as error:
        if fallback != "torch":
            raise
        if narrow is not None:
            raise ValueError(
                f"{error} Segments in torch take float32 at their borders: compile model.float(), whose weights are the same"
            ) from error
    else:
        return finished(graph, model, arguments, threads, about, names, narrow)
    segmented = in_segments(model, arguments, threads, about, names, any_batch)
    segmented.measured = _measured(segmented, model, arguments) | _crossing(segmented, arguments)
    return segmented


def _compile_onnx(
    source: Any, example_inputs: Any, threads: int, fallback: "str | None", open_axis: int, longest: "int | None"
) -> CompiledModel:
    try:
        module, file = module_of(source)
        arguments = Arguments(example_of(file, example_inputs), {})
        about = {"model": file.name, "source": "ONNX"}
        names = (module.input_names, module.output_names)
        opened = _opened(arguments, open_axis, longest)
        if open_axis and not is_open_along(file, open_axis):
            raise ValueError(f"open_axis is {open_axis}; the file fixes that axis of an input: export it with a dynamic axis")
        if open_axis:
            return _compile_torch(module, arguments, threads, fallback, about, names, opened=opened)
        if is_open_along(file, 0):
            try:
                return _compile_torch(module, arguments, threads, fallback, about, names)
            except BatchError:  # sizes written into the file that its shapes do not show
                pass
        return _compile_torch(module, arguments, threads, fallback, about | {"batch": "fixed"}, names, any_batch=False)
    except UnsupportedModel:
        if fallback != "onnxruntime":
            raise
    segmented, whole, given = with_onnxruntime(source, example_inputs, threads)
    ours, theirs = _timed([partial(segmented, *given.args), whole])
    segmented.measured = {"milliseconds": 1e3 * ours, "onnxruntime_milliseconds": 1e3 * theirs} | _crossing(segmented, given)
    return segmented


def finished(
    graph: Graph,
    model: nn.Module,
    arguments: Arguments,
    threads: int,
    about: dict[str, Any],
    names: "tuple[list[str], list[str]] | None" = None,
    narrow: "Widened | None" = None,
) -> CompiledModel:
    """Rewritten, verified, made a program and timed; inputs and outputs with `names`, of the types that `narrow` says."""
    about["captured"] = len(graph.nodes)
    gone: dict[str, int] = {}
    for rewrite in PASSES:
        before = len(graph.nodes)
        rewrite(graph)
        gone[rewrite.__name__] = gone.get(rewrite.__name__, 0) + before - len(graph.nodes)
    about["gone"] = list(gone.items())
    about["error"] = verify(graph, model, arguments.args, arguments.kwargs)
    for values, given in zip((graph.inputs, graph.outputs), names or (), strict=False):
        for value, name in zip(values, given, strict=True):
            value.name = name
    if narrow is not None:
        narrow.note_types(graph)
        about["rounding"] = narrow.rounding
        model, arguments = narrow.given
    compiled = CompiledModel(lower(graph, about), threads)
    compiled.measured = _measured(compiled, model, arguments)
    return compiled


def _measured(compiled: CompiledModel, model: nn.Module, arguments: Arguments) -> dict[str, float]:
    """Median milliseconds of a call on the example: of the program, and of torch's dense layers with the same zeros."""
    dense = plain_copy(model)
    with torch.inference_mode():
        ours, theirs = _timed([partial(compiled, *arguments.tensors), partial(arguments.call, dense)])
    return {"milliseconds": 1e3 * ours, "torch_milliseconds": 1e3 * theirs}


def _timed(calls: Sequence[Callable[[], object]]) -> list[float]:
    found = interleaved(calls, 1)
    rounds = min(ROUNDS, int(SECONDS / sum(found)))
    return interleaved(calls, rounds, warm_up=False) if rounds else found


def _crossing(segmented: SegmentedModel, arguments: Arguments) -> dict[str, float]:
    return {"crossing_milliseconds": segmented.crossing_milliseconds(*arguments.tensors)[1]}


def check_compilable(model: nn.Module) -> None:
    """Refuse what a compiled model would silently do otherwise."""
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        raise ValueError(
            f"the model is in training mode (first {training[0]}); a compiled model computes what eval mode does: call "
            f"model.eval()"
        )
    if type(model).__module__.startswith("torchvision.models.detection") and hasattr(model, "transform"):
        raise ValueError(
            f"{type(model).__name__} chooses boxes by their values, which a compiled model cannot: its post-processing, such "
            f"as non-maximum suppression, stays outside. Compile a module that calls model.backbone and model.head, or "
            f"the heads of your detector, and choose from what it returns"
        )
    for name, module in model.named_modules():
        for kind in HOOKS:
            if any(not is_of_torch(hook) for hook in (module.__dict__.get(kind) or {}).values()):
                raise ValueError(
                    f"{name or 'the model itself'} has hooks, which a compiled model would not run: remove them first, or "
                    f"compile a copy without them"
                )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}; compile a copy on the CPU: model.cpu()")
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, *NARROW_TYPES):
            raise ValueError(f"{name} is {tensor.dtype}; compile a float32 copy: model.float()")
