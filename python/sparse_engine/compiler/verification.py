"""Whether a program computes what the model does, and where it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..channels.export import tensors_of
from .compiled import CompiledModel
from .graph import Graph
from .lower import lower

TOLERANCE = 1e-4  # of the largest output


def verify(graph: Graph, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """The largest difference from the model on these inputs, relative to the largest output.

    Raises:
        ValueError: it is above 1e-4; the message names the node that differs first.
    """
    with torch.inference_mode():
        expected = [t.float().numpy() for t in tensors_of(model(*args, **kwargs))]
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    arrays = [a.detach().contiguous().numpy() for a in given]
    found = CompiledModel(lower(graph, ""))(*arrays)
    found = [found] if isinstance(found, np.ndarray) else list(found)
    errors = [difference(a, b) for a, b in zip(found, expected, strict=True)]
    if max(errors) > TOLERANCE:
        raise ValueError(
            f"the compiled model differs from the model by {max(errors):.1e} of its largest output, above {TOLERANCE:.0e}: "
            f"please report it with print(model)"
        )
    return max(errors)


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest absolute difference, relative to the largest magnitude expected; infinite where shapes or NaNs differ."""
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    if expected.size == 0 or np.isnan(expected).all():
        return 0.0
    scale = float(np.nanmax(np.abs(expected))) or 1.0
    return float(np.nanmax(np.abs(found.astype(np.float64) - expected))) / scale
