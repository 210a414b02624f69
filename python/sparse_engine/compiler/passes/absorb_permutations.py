"""Products of two computed values and attention read their operands as they lie, so permutations before and after them go."""

from ..graph import Graph, Node

_HEADS = (0, 2, 1, 3)  # (N, heads, tokens, features) and (N, tokens, heads, features), one to the other


def absorb_permutations(graph: Graph) -> None:
    """A permutation that something else reads as well stays for that."""
    makers = graph.makers()
    for node in graph:
        if node.op == "matmul":
            made = makers.get(node.inputs[1])
            if made is not None and made.op == "permute" and _swaps_the_last_two(made):
                node.inputs[1] = made.inputs[0]
                node.numbers = (1 - node.numbers[0],)
        elif node.op == "attention":
            numbers = list(node.numbers)
            for i in range(3):
                made = makers.get(node.inputs[i])
                if made is not None and made.op == "permute" and made.numbers == _HEADS:
                    node.inputs[i] = made.inputs[0]
                    numbers[i] = 3 - numbers[i]
            node.numbers = tuple(numbers)
    _absorb_after(graph)


def _swaps_the_last_two(node: Node) -> bool:
    axes = list(range(len(node.numbers)))
    axes[-2:] = axes[:-3:-1]
    return list(node.numbers) == axes


def _absorb_after(graph: Graph) -> None:
    readers = graph.readers()
    for node in list(graph):
        if node.op != "attention" or node.output in graph.outputs:
            continue
        found = readers.get(node.output, [])
        if len(found) == 1 and found[0].op == "permute" and found[0].numbers == _HEADS:
            node.output = found[0].output
            node.numbers = (*node.numbers[:3], 3 - node.numbers[3], node.numbers[4])
            graph.remove(found)
