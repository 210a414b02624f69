"""`what_if`: how fast a model would be at a sparsity, before anything is trained."""

import copy
from typing import Any

from torch import nn

from ..pruning.spec import Spec
from ..strategies import prune
from .reporting import Report, report


def what_if(model: nn.Module, sparsity: float, example_inputs: Any, spec: Spec | None = None) -> Report:
    """Parameters, multiply-accumulates and measured time of `model` as it would be; `model` itself is not touched.

    Which weights stay matters little for time, so they are chosen by magnitude and nothing is trained.

    Args:
        model: any module, pruned or not.
        sparsity: share of weights removed in every selected layer.
        example_inputs: a tensor, a tuple of positional arguments of `model`, or a mapping of keyword arguments.
        spec: granularity, scope, include and exclude to prune with instead of single weights everywhere; its budget is
            replaced by `sparsity`.
    Returns:
        `Report`; print it for a table.
    """
    chosen = Spec(sparsity=sparsity)
    if spec is not None:
        chosen = Spec(
            sparsity=sparsity, granularity=spec.granularity, scope=spec.scope, include=spec.include, exclude=spec.exclude
        )
    return report(prune(copy.deepcopy(model), chosen, example_inputs=example_inputs), example_inputs)
