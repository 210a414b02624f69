"""Exported programs without operations in place, so that they can be cut anywhere."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ...channels.export import held_tensors
from ..rules.registry import name_of
from ..rules.translation import path_of
from ..unsupported import Refused, UnsupportedModel


def functional(programs: Sequence[Any], example: Sequence[Tensor]) -> list[Any]:
    """The same programs without operations in place: whoever reads what one of them changed reads its result.

    Where a view of changed memory is read afterwards, torch takes writes apart itself.

    Args:
        programs: of one model, at several batch sizes; they may be changed.
        example: what the first was exported with.
    Raises:
        UnsupportedModel: the model writes to a parameter, a buffer or a constant.
    """
    if not any(_writes(node) for node in programs[0].graph.nodes):
        return list(programs)
    if not _views_are_read(programs[0], example):
        for program in programs:
            _replace(program.graph_module.graph)
        return list(programs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [program.run_decompositions({}) for program in programs]
    changed = [*found[0].graph_signature.buffers_to_mutate.values()]
    if changed:
        raise UnsupportedModel(
            [Refused("an operation in place", changed[0], "on a buffer, which would change with every call")]
        )
    for program in found:
        _restore_batch_norm(program.graph_module.graph)
    return found


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def _without(target: Any) -> Any:
    """The operation that does not write, or None."""
    name, overload = target._schema.name.removeprefix("aten::").rstrip("_"), target._overloadname
    packet = getattr(torch.ops.aten, name, None) if target.namespace == "aten" else None
    return getattr(packet, overload, None) if packet is not None else None


def _views_are_read(program: Any, example: Sequence[Tensor]) -> bool:
    """Whether something but what is written to shares its memory and is read later; found by running the program."""
    recorder = _Recorder(program.graph_module)
    given = iter(example)
    held = held_tensors(program)
    nodes = list(program.graph.nodes)
    inputs = [held[node.name] if node.name in held else next(given) for node in nodes if node.op == "placeholder"]
    with torch.no_grad():
        recorder.run(*(value.detach().clone() if isinstance(value, Tensor) else value for value in inputs))
    place = {node: number for number, node in enumerate(nodes)}
    replaced: dict[fx.Node, fx.Node] = {}  # what is written to: who makes its value of now
    for node in nodes:
        if not _writes(node):
            continue
        target = node.args[0]
        if not isinstance(target, fx.Node) or _without(node.target) is None:
            return True
        if target.name in held:
            raise UnsupportedModel([Refused(name_of(node), path_of(node), "in place on a parameter or a constant")])
        memory = recorder.memory.get(target, set())
        replaced[target] = node
        for other in nodes[: place[node]]:
            if other is target or other in replaced or not memory & recorder.memory.get(other, set()):
                continue
            if any(place[user] > place[node] for user in other.users):
                return True
    return False


class _Recorder(fx.Interpreter):
    """Which memory each result lies in."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.memory: dict[fx.Node, set[int]] = {}
        self._kept: list[Any] = []  # memory that is alive is not used twice

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        tensors = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        self._kept += tensors
        self.memory[n] = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        return result


def _replace(graph: fx.Graph) -> None:
    nodes = list(graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    for node in nodes:
        if not _writes(node):
            continue
        target = node.args[0]
        assert isinstance(target, fx.Node)
        with graph.inserting_before(node):
            made = graph.call_function(_without(node.target), node.args, node.kwargs)
        made.meta = dict(node.meta)
        place[made] = place[node]
        node.replace_all_uses_with(made)
        for user in list(target.users):
            if place[user] > place[made]:
                user.replace_input_with(target, made)
        graph.erase_node(node)


def _restore_batch_norm(graph: fx.Graph) -> None:
    """Batch norms as one operation with one result again."""
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten._native_batch_norm_legit_no_training.default:
            continue
        x, weight, bias, mean, variance, momentum, epsilon = node.args
        taken = [user for user in node.users if user.args[1] == 0]
        if len(taken) != len(node.users):
            continue
        for user in taken:
            with graph.inserting_before(user):
                made = graph.call_function(
                    torch.ops.aten.batch_norm.default, (x, weight, bias, mean, variance, False, momentum, epsilon, False)
                )
            made.meta = dict(user.meta)
            user.replace_all_uses_with(made)
            graph.erase_node(user)
        graph.erase_node(node)
