"""Whether a program computes what the model does."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..channels.export import tensors_of
from ..measure.difference import difference
from .compiled import CompiledModel
from .divergence import first_divergence
from .graph import Graph
from .lower import lower

TOLERANCE = 1e-4  # of the largest output
ROUNDING, MOST_ROUNDING = 16.0, 0.01  # times the model's own error, and of the largest output


def verify(graph: Graph, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """The largest difference from the model on these inputs, relative to the largest output.

    Raises:
        ValueError: it is above 1e-4, and the model itself is much closer to what it computes in float64; the message names the
            first node that differs, its module and its error.
    """
    with torch.inference_mode():
        expected = [t.float().numpy() for t in tensors_of(model(*args, **kwargs))]
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    arrays = [a.detach().contiguous().numpy() for a in given]
    found = CompiledModel(lower(graph, {}))(*arrays)
    found = [found] if isinstance(found, np.ndarray) else list(found)
    errors = [difference(a, b) for a, b in zip(found, expected, strict=True)]
    if not max(errors, default=0.0) <= TOLERANCE and not _is_rounding(model, args, kwargs, found, expected):
        raise ValueError(
            f"the compiled model differs from the model by {max(errors):.1e} of its largest output, above {TOLERANCE:.0e}. "
            f"{_where(graph, model, args, kwargs)}. Please report it with print(model)"
        )
    return max(errors, default=0.0)


def _is_rounding(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], found: Sequence[Any], expected: Sequence[Any]
) -> bool:
    """Whether the model in float32 is no closer to itself in float64 than the program is, but for a factor.

    Where large numbers cancel, as in a batch norm whose channels are nearly constant, any other order of a sum differs, and so
    does a folded weight; torch's own order, in several sums at once, is among the better ones.
    """
    try:
        exactly = copy.deepcopy(model).double()
        wide_args, wide_kwargs = tree_map_only(Tensor, _widened, (tuple(args), dict(kwargs)))
        with torch.inference_mode():
            exact = [t.double().numpy() for t in tensors_of(exactly(*wide_args, **wide_kwargs))]
    except Exception:  # a model that knows one dtype alone
        return False
    own, ours = (max(difference(a, b) for a, b in zip(results, exact, strict=True)) for results in (expected, found))
    return ours <= min(ROUNDING * own, MOST_ROUNDING)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _where(graph: Graph, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    try:
        first = first_divergence(graph, model, args, kwargs, TOLERANCE)
    except Exception as error:  # whatever hinders the search must not hide what it is about
        return f"Where could not be found ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
    if first is None:
        return "Every node is right when its value is kept: the fault depends on where values lie in memory"
    node = first.node
    return (
        f"The first node to differ is {node.output.name} (number {first.number + 1} of {len(graph.nodes)}, {node.op} in "
        f"{node.path or 'the model itself'}), by {first.error:.1e} of its largest value: {node}"
    )
