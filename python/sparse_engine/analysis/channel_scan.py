"""`sensitivity` for channels: one layer's channels removed at a time, and what is left of the model by exact count."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..channels.api import arguments, find_dependencies
from ..channels.scores import unit_scores
from ..channels.select import selected_groups, smallest
from ..channels.surgery import shrink
from ..measure.eval_mode import eval_mode
from ..measure.progress import Progress
from ..pruning.spec import Spec
from .sensitivity_result import Sensitivity, begin, keep


def scan_channels(
    model: nn.Module,
    evaluate: Callable[[nn.Module], float],
    shares: Sequence[float],
    spec: Spec,
    example_inputs: Any,
    data: Iterable[Any] | None,
    loss: Any,
    resume: Any,
    progress: bool,
) -> Sensitivity:
    """Score `model` without a share of the channels of one layer, and of those that must go with them, at a time."""
    inputs = arguments(example_inputs)
    dependencies, _ = find_dependencies(model, inputs)
    groups = selected_groups(spec, dependencies)
    scores = unit_scores(spec, model, dependencies, groups, data, loss, inputs)
    costs, layers = dependencies.costs(groups), dependencies.by_layer(groups)
    whole = costs.left({})
    saved = {n: [a - b for a, b in zip(whole, costs.left({n: costs.channels[n]}), strict=True)] for n in layers}
    with eval_mode(model), torch.no_grad():
        result = begin(resume, model, evaluate, {name: parameters for name, (parameters, _) in saved.items()})
        result.uses = {name: macs / max(1, parameters) for name, (parameters, macs) in saved.items()}
        result.channels = costs
        bar = Progress(len(layers) * len(shares)) if progress else None
        for name, found in layers.items():
            for share in shares:
                if share not in result.scores[name]:
                    removed = dependencies.none_removed()
                    for group in found:
                        removed[smallest(group, scores, share, dependencies.multiple(group, spec.round_to))] = True
                    restore = shrink(model, dependencies.indices(removed))
                    try:
                        result.scores[name][share] = float(evaluate(model))
                    finally:
                        restore()
                    if resume is not None:
                        keep(Path(resume), result)
                if bar is not None:
                    bar.advance(f"{name} at {share:.0%}")
        if bar is not None:
            bar.close()
    return result
