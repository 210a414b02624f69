"""`sensitivity` for channels: one layer's channels removed at a time, and what is left of the model by exact count."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..channels.api import arguments, find_dependencies
from ..channels.scores import unit_scores
from ..channels.select import selected_groups, smallest
from ..channels.surgery import shrink
from ..measure.eval_mode import eval_mode
from ..pruning.spec import Spec
from .scan_tasks import Map, Task, Undo, noted, run_tasks
from .sensitivity_result import Sensitivity, begin


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
    map: Map,
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
        tasks = []
        for name, found in layers.items():
            for share in shares:
                if share not in result.scores[name]:
                    removed = dependencies.none_removed()
                    for group in found:
                        removed[smallest(group, scores, share, dependencies.multiple(group, spec.round_to))] = True
                    tasks.append(Task(name, share, dependencies.indices(removed)))
        with noted(result, len(tasks), resume, progress) as note:
            run_tasks(result, tasks, model, evaluate, _shrink, map, note)
    return result


def _shrink(model: nn.Module, task: Task) -> Undo:
    return shrink(model, task.details)
