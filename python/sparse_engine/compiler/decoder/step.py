"""A decoder's step as a compiled model whose caches may be written where they lie."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...measure.model_calls import Arguments
from ..api import finished
from ..capture_torch import capture
from ..compiled import CompiledModel
from ..graph import Graph
from ..open_axis import OpenAxis


def compiled_step(
    step: nn.Module, capacity: int, batch: int, caches: Sequence[tuple[int, int]], threads: int, name: str
) -> CompiledModel:
    """The step as a compiled model whose open size is the number of tokens."""
    tokens = min(2, capacity)
    ids = torch.zeros(batch, tokens, dtype=torch.int64)
    pasts = [torch.randn(batch, heads, capacity, features) for heads, features in caches]
    args: list[Tensor] = [ids, torch.arange(tokens), *pasts]
    graph = capture(step, args, {}, opened=OpenAxis(axes=(1, 0, *(None for _ in pasts))))
    _check_in_place(graph)
    kinds = [f"{'kv'[i % 2]}_{i // 2}" for i in range(len(pasts))]
    names = (["input_ids", "position", *(f"past_{kind}" for kind in kinds)], ["logits", *kinds])
    return finished(graph, step, Arguments(tuple(args), {}), threads, {"model": name}, names)


def _check_in_place(graph: Graph) -> None:
    """A cache may be written where it lies: nothing but the writing reads it, and the result is the output of its place."""
    makers, readers = graph.makers(), graph.readers()
    pasts, made = graph.inputs[2:], graph.outputs[1:]
    if len(pasts) != len(made):
        raise ValueError(f"the step returns {len(made)} caches; it takes {len(pasts)}")
    for i, (past, now) in enumerate(zip(pasts, made, strict=True)):
        node = makers.get(now)
        written = node is not None and node.op == "write_rows" and node.inputs[0] is past
        if not written or readers.get(past, []) != [node] or past in graph.outputs or graph.outputs.count(now) != 1:
            raise ValueError(
                f"cache {i} of the step is not past.index_copy(2, position, …) of its input {past.name}, read by nothing else: "
                f"return it so, and let attention read what is returned"
            )
