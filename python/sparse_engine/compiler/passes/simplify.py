"""Reshapes of reshapes become one, slices of slices and permutations of permutations too; what changes nothing goes."""

from collections.abc import Callable

from ..graph import Graph, Node

Numbers = tuple[int, ...]


def simplify(graph: Graph) -> None:
    """Follow each to where its elements come from, and drop those that leave all as it is."""
    makers = graph.makers()
    for node in list(graph.nodes):
        if node.op not in _JOINED:
            continue
        source = makers.get(node.inputs[0])
        while source is not None and source.op == node.op:
            node.numbers = _JOINED[node.op](source.numbers, node.numbers)
            node.inputs = list(source.inputs)
            source = makers.get(node.inputs[0])
        if _changes_nothing(node) and node.output not in graph.outputs:
            graph.replace(node.output, node.inputs[0])
            graph.remove([node])


def _joined_slices(first: Numbers, second: Numbers) -> Numbers:
    numbers: list[int] = []
    for i in range(0, len(first), 3):
        (start, stop, step), (from_, to, by) = first[i : i + 3], second[i : i + 3]
        if (start, stop, step) == (0, -1, 1):  # all of an axis that depends on the batch
            numbers += (0, -1, 1)
            continue
        count = len(range(from_, to, by))
        begin, stride = start + from_ * step, step * by
        last = begin + (count - 1) * stride
        numbers += (begin, last + (1 if stride > 0 else -1), stride) if count else (0, 0, 1)
    return tuple(numbers)


def _joined_permutations(first: Numbers, second: Numbers) -> Numbers:
    return tuple(first[i] for i in second)


_JOINED: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "reshape": lambda first, second: (),
    "slice": _joined_slices,
    "permute": _joined_permutations,
}


def _changes_nothing(node: Node) -> bool:
    if node.op == "permute":
        return list(node.numbers) == sorted(node.numbers)
    backwards = node.op == "slice" and any(step < 0 for step in node.numbers[2::3])
    return node.inputs[0].shape == node.output.shape and not backwards
