"""A torch module in segments: what is covered compiled, the rest in torch."""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ...channels.export import plain_copy, tensors_of
from ...measure.model_calls import Arguments
from ..exporting import check_alike, exports, resized
from ..multiply_adds import multiply_adds
from ..rules.registry import name_of
from ..rules.translation import BATCHES
from ..unsupported import Refused, kinds
from .agreement import agreement
from .coverage import Survey
from .functional import functional
from .model import Port, SegmentedModel, Shape
from .partition import Part, Unit, partition
from .program_segment import ProgramSegment
from .segment import Contents, Segment
from .torch_segment import TorchSegment, module_of

OTHER_BATCH = (4, 5)  # beside the example, one of these is verified


def in_segments(
    model: nn.Module,
    arguments: Arguments,
    threads: int,
    about: dict[str, Any],
    names: "tuple[list[str], list[str]] | None" = None,
    any_batch: bool = True,
) -> SegmentedModel:
    """What `engine.compile` makes of a module with operations that are not covered, given fallback="torch".

    Args:
        names: of inputs and outputs.
        any_batch: whether it is for every batch size, or for that of the example alone.
    Raises:
        ValueError: nothing can be compiled, or the outputs differ from the model's. UnsupportedModel, BatchError: as `capture`.
    """
    programs = exports(model, arguments.args, arguments.kwargs, any_batch)
    given = pytree.tree_leaves((tuple(arguments.args), dict(arguments.kwargs)))
    programs = functional(programs, [resized(value, BATCHES[0]) if any_batch else value for value in given])
    check_alike(programs, type(model).__name__)
    survey = Survey(programs[0], programs[-1])
    groups = _groups(survey)
    parts = partition([_unit(survey, group) for group in groups], _elements(survey))
    if not any(part.compiled for part in parts):
        refused = filter(None, (_why(survey, group) for group in groups))
        raise nothing_left(str(about.get("model", "the model")), refused, survey.multiply_adds(), "torch")
    segments = _segments(survey, groups, parts, threads)
    constants = {node.name: _array(survey.tensors[node]) for node in survey.returned if node in survey.tensors}
    ports = (
        [_port(survey, node, name) for node, name in _named(survey.arguments, names, 0)],
        [_port(survey, node, name) for node, name in _named(survey.returned, names, 1)],
    )
    made = [node for node in survey.live() if isinstance(node.meta.get("val"), Tensor)]
    shapes = {node.name: _shape(survey, node) for node in made}
    found = SegmentedModel(segments, *ports, about | summary(segments), shapes, constants)
    verify(found, partial(_called, plain_copy(model), arguments), arguments, any_batch)
    return found


def nothing_left(name: str, refused: Iterable[Refused], whole: int, runtime: str) -> ValueError:
    """The error where no segment would be compiled."""
    return ValueError(
        f"nothing of {name} can be compiled: no product is left between operations that are not covered "
        f"({'; '.join(kinds(list(refused), whole))}). Run all of it in {runtime}"
    )


def summary(segments: Sequence[Segment]) -> dict[str, Any]:
    """What is kept of segments among the facts of a model."""
    return {"segments": [[segment.runtime, dict(segment.contents.operations)] for segment in segments]}


def verify(found: SegmentedModel, call: Any, arguments: Arguments, any_batch: bool) -> None:
    """Compare with what `call` returns of a batch size (None: that of the example), and note the error.

    Raises:
        ValueError: outputs differ.
    """
    given = [value for value in (*arguments.args, *arguments.kwargs.values()) if isinstance(value, Tensor)]
    lengths = {len(value) for value in given if value.ndim}
    other = next(size for size in OTHER_BATCH if size not in lengths)
    errors = []
    for batch in (None, other) if any_batch else (None,):
        arrays = [_array(value if batch is None else resized(value, batch)) for value in given]
        made = found(*arrays)
        expected = call(batch)
        names = [port.name for port in found.outputs]
        errors.append(agreement(made if isinstance(made, tuple) else (made,), expected, names))
    found.about["error"] = max(errors)


def _called(model: nn.Module, arguments: Arguments, batch: "int | None") -> list[NDArray[Any]]:
    if batch is not None:
        args = tuple(resized(value, batch) for value in arguments.args)
        arguments = Arguments(args, {name: resized(value, batch) for name, value in arguments.kwargs.items()})
    with torch.inference_mode():
        return [_array(tensor) for tensor in tensors_of(arguments.call(model))]


def _array(tensor: Tensor) -> NDArray[Any]:
    """A copy: models may write to what they are given."""
    return np.array(tensor.detach().contiguous().numpy())


def _groups(survey: Survey) -> list[list[fx.Node]]:
    """Operations that stay together: one with several results, and those that take it apart."""
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in survey.live():
        source: Any = node.args[0] if node.args else None
        if node.target is operator.getitem and source in found:
            found[source].append(node)
        else:
            found[node] = [node]
    return list(found.values())


def _why(survey: Survey, group: Sequence[fx.Node]) -> "Refused | None":
    """What hinders the first of them, by the name of the operation that they belong to."""
    found = next((survey.uncovered[node] for node in group if node in survey.uncovered), None)
    return None if found is None else found._replace(operation=name_of(group[0]))


def _unit(survey: Survey, group: Sequence[fx.Node]) -> Unit:
    return Unit(
        tuple(node.name for node in _read(survey, group)),
        tuple(node.name for node in group),
        not any(node in survey.uncovered for node in group),
        any(multiply_adds(node) for node in group),
    )


def _read(survey: Survey, members: Sequence[fx.Node]) -> list[fx.Node]:
    """What members read that none of them makes and that is no constant."""
    inside, known = set(members), set(survey.arguments)
    sources = dict.fromkeys(source for node in members for source in node.all_input_nodes)
    return [
        node
        for node in sources
        if node not in inside and not survey.is_known(node) and (node.op == "call_function" or node in known)
    ]


def _elements(survey: Survey) -> dict[str, int]:
    found = {}
    for node in survey.live():
        known = node.meta.get("val")
        if isinstance(known, Tensor) and all(isinstance(size, int) for size in known.shape):
            found[node.name] = known.numel()
    return found


def _segments(survey: Survey, groups: Sequence[Sequence[fx.Node]], parts: Sequence[Part], threads: int) -> list[Segment]:
    of_part = [[node for number in part.units for node in groups[number]] for part in parts]
    wanted = set(survey.returned)
    for members in of_part:
        wanted.update(_read(survey, members))
    segments: list[Segment] = []
    for part, members in zip(parts, of_part, strict=True):
        inputs, outputs = _read(survey, members), [node for node in members if node in wanted]
        contents = Contents(
            tuple(node.name for node in inputs),
            tuple(node.name for node in outputs),
            Counter(name_of(node) for node in members if node.target is not operator.getitem),
            tuple(refused for number in part.units if (refused := _why(survey, groups[number])) is not None),
            sum(map(multiply_adds, members)),
        )
        if part.compiled:
            dtypes = [str(node.meta["val"].dtype).removeprefix("torch.") for node in outputs]
            segments.append(ProgramSegment.of(contents, survey.graph_of(inputs, members, outputs), dtypes, threads))
        else:
            others = {node: survey.other(node) for node in members}
            constants = {**survey.tensors, **survey.numbers}
            segments.append(TorchSegment(contents, module_of(inputs, members, outputs, constants, others, survey.module)))
    return segments


def _named(nodes: Sequence[fx.Node], names: "tuple[list[str], list[str]] | None", which: int) -> Iterable[tuple[fx.Node, str]]:
    return zip(nodes, [node.name for node in nodes] if names is None else names[which], strict=True)


def _port(survey: Survey, node: fx.Node, name: str) -> Port:
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    if dtype not in np.sctypeDict:
        raise ValueError(f"{name} is {dtype}, which numpy does not have: convert it to float32 in the model")
    return Port(name, node.name, _shape(survey, node), dtype)


def _shape(survey: Survey, node: fx.Node) -> "Shape | None":
    if not all(isinstance(size, int) for size in node.meta["val"].shape):
        return None
    return [(size.fixed, size.per_item) for size in survey.shape(node)]
