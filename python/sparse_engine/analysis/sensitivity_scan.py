"""How much each layer bears: the score of a model against the sparsity of one layer at a time, and its time beside it."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..measure.eval_mode import eval_mode
from ..nn.base import masks_on
from ..nn.convert import attach, detach
from ..pruning.granularity import Channels
from ..pruning.macs_per_weight import Call, called
from ..pruning.selection import selected_layers
from ..pruning.spec import BUDGETS, Spec
from ..pruning.targets import parameters_of
from ..strategies import prune
from .channel_scan import scan_channels
from .reporting import time_both
from .scan_tasks import Map, Task, Undo, noted, run_tasks
from .sensitivity_result import Sensitivity, begin

LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def sensitivity(
    model: nn.Module,
    evaluate: Callable[[nn.Module], float],
    *,
    sparsities: Sequence[float] = LEVELS,
    spec: Spec | None = None,
    example_inputs: Any = None,
    data: Iterable[Any] | None = None,
    loss: Any = None,
    resume: "str | os.PathLike[str] | None" = None,
    progress: bool = True,
    map: Map = map,
) -> Sensitivity:
    """Score `model` with one layer at a time pruned to each of `sparsities`; nothing is trained, and `model` stays as it is.

    Scores are those of dense arithmetic, so they do not depend on which kernels happen to be fastest.

    Args:
        model: the model, run in eval mode.
        evaluate: model -> score, higher is better: an accuracy, or a negative loss, which tells more from few examples.
        spec: granularity, criterion, include and exclude to prune with; its budget is not used.
        example_inputs: measure also, when all is scored, how long each layer takes at each sparsity on what it sees of these.
            For granularity "channel", which needs them to follow channels, no time is measured.
        data, loss: as for `prune`.
        resume: a JSON file that keeps what is done; an interrupted scan goes on from it.
        progress: show a bar on the terminal.
        map: runs the tasks, one for each layer and sparsity, as `map(function, tasks)`: the `map` of a pool of threads or
            processes, or of a cluster. Function and tasks can be pickled where `model`, `evaluate`, `spec`, `data` and `loss`
            can; the function, large as the model, is the same for all tasks, each of which changes a copy of the model.
            Results may come in any order.
    Returns:
        `Sensitivity`: print it, `to_csv`, `plot`, or hand it to `allocate`. The same whatever `map` is, but for times, as far
        as `evaluate` computes the same everywhere.
    Raises:
        ValueError: sparsities that are no shares; `resume` holds the scan of another model; `map` leaves tasks out.
    Source: Han et al., NeurIPS 2015.
    """
    shares = sorted({float(s) for s in sparsities})
    if not shares or not all(0 < s < 1 for s in shares):
        raise ValueError(f"sparsities = {list(sparsities)} must be shares between 0 and 1, such as {list(LEVELS)}")
    spec = Spec(sparsity=0.5) if spec is None else spec
    if isinstance(spec.granularity, Channels):
        chosen = replace(spec, **_budget(0.5))
        return scan_channels(model, evaluate, shares, chosen, example_inputs, data, loss, resume, progress, map)
    names, layers = selected_layers(model, replace(spec, **_budget(0.5)))
    change = partial(_prune_alone, spec=spec, data=data, loss=loss)
    with eval_mode(model), torch.no_grad():
        weights = {name: layer.weight.numel() for name, layer in zip(names, layers, strict=True)}
        result = begin(resume, model, evaluate, weights)
        calls: dict[str, tuple[nn.Module, Call]] = {}
        if example_inputs is not None:
            uses, inputs = called(model, layers, example_inputs)
            result.uses = {name: float(count) for name, count in zip(names, uses, strict=True)}
            calls = {name: (layer, inputs[layer]) for name, layer in zip(names, layers, strict=True) if layer in inputs}
        cells = [Task(name, share) for name in names for share in shares]
        unscored = [cell for cell in cells if cell.sparsity not in result.scores[cell.layer]]
        untimed = [cell for cell in cells if cell.layer in calls and cell.sparsity not in result.seconds[cell.layer]]
        with noted(result, len(unscored) + len(untimed), resume, progress) as note:
            run_tasks(result, unscored, model, evaluate, change, map, note)
            # Beside other tasks, or on another machine, a time would say nothing of this one: pruned once more, here.
            for cell in untimed:
                undo = change(model, cell)
                try:
                    _time(*calls[cell.layer], result.seconds[cell.layer], cell.sparsity)
                finally:
                    undo()
                note(f"time of {cell.layer} at {cell.sparsity:.0%}")
    return result


def _time(layer: nn.Module, call: Call, seconds: dict[float, float], share: float) -> None:
    dense, now = time_both(lambda: layer(*call.args, **call.kwargs))
    seconds[share] = now
    seconds[0.0] = min(dense, seconds.get(0.0, dense))


def _budget(share: float) -> dict[str, Any]:
    return {**dict.fromkeys(BUDGETS), "sparsity": share}


def _prune_alone(model: nn.Module, task: Task, *, spec: Spec, data: Any, loss: Any) -> Undo:
    """Prune the layer of `task` alone; undone, weights and masks are what they were, in layers that share its weight too."""
    scope = spec.scope if spec.scope in (None, "row") else "layer"
    one = replace(spec, include=(glob.escape(task.layer),), exclude=(), scope=scope, **_budget(task.sparsity))
    _, layers = selected_layers(model, one, quiet=True)
    weights = [(parameter, parameter.detach().clone()) for layer in layers for parameter in parameters_of(layer)]
    before = {module: masks_on(module) for module in model.modules()}
    prune(model, one, data=data, loss=loss)

    def undo() -> None:
        changed = [module for module, masks in before.items() if masks_on(module) != masks]
        for module in changed:
            detach(module)
        for parameter, weight in weights:
            parameter.copy_(weight)
        for module in changed:
            for name, mask in before[module].items():
                attach(module, name, mask)

    return undo
