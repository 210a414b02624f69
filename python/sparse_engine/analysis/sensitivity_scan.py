"""How much each layer bears: the score of a model against the sparsity of one layer at a time, and its time beside it."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..measure.eval_mode import eval_mode
from ..measure.progress import Progress
from ..nn.base import masks_on
from ..nn.convert import attach, detach
from ..pruning.granularity import Channels
from ..pruning.macs_per_weight import Call, called
from ..pruning.selection import selected_layers
from ..pruning.spec import BUDGETS, Spec
from ..pruning.targets import owners_of, parameters_of
from ..strategies import prune
from .channel_scan import scan_channels
from .reporting import time_both
from .sensitivity_result import Sensitivity, begin, keep

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
) -> Sensitivity:
    """Score `model` with one layer at a time pruned to each of `sparsities`; nothing is trained, and `model` stays as it is.

    Args:
        model: the model, run in eval mode.
        evaluate: model -> score, higher is better: an accuracy, or a negative loss, which tells more from few examples.
        spec: granularity, criterion, include and exclude to prune with; its budget is not used.
        example_inputs: measure also how long each layer takes at each sparsity on what it sees of these. For granularity
            "channel", which needs them to follow channels, no time is measured.
        data, loss: as for `prune`.
        resume: a JSON file that keeps what is done; an interrupted scan goes on from it.
        progress: show a bar on the terminal.
    Returns:
        `Sensitivity`: print it, `to_csv`, `plot`, or hand it to `allocate`.
    Source: Han et al., NeurIPS 2015.
    """
    shares = sorted({float(s) for s in sparsities})
    if not shares or not all(0 < s < 1 for s in shares):
        raise ValueError(f"sparsities = {list(sparsities)} must be shares between 0 and 1, such as {list(LEVELS)}")
    spec = Spec(sparsity=0.5) if spec is None else spec
    if isinstance(spec.granularity, Channels):
        chosen = replace(spec, **_budget(0.5))
        return scan_channels(model, evaluate, shares, chosen, example_inputs, data, loss, resume, progress)
    names, layers = selected_layers(model, replace(spec, **_budget(0.5)))
    with eval_mode(model), torch.no_grad():
        weights = {name: layer.weight.numel() for name, layer in zip(names, layers, strict=True)}
        result = begin(resume, model, evaluate, weights)
        inputs: dict[nn.Module, Call] = {}
        if example_inputs is not None:
            uses, inputs = called(model, layers, example_inputs)
            result.uses = {name: float(count) for name, count in zip(names, uses, strict=True)}
        bar = Progress(len(names) * len(shares)) if progress else None
        scope = spec.scope if spec.scope in (None, "row") else "layer"
        for name, layer in zip(names, layers, strict=True):
            for share in shares:
                if share not in result.scores[name] or (layer in inputs and share not in result.seconds[name]):
                    one = replace(spec, include=(glob.escape(name),), exclude=(), scope=scope, **_budget(share))
                    with _PrunedAlone(model, layer, one, data, loss):
                        result.scores[name][share] = float(evaluate(model))
                        if layer in inputs:
                            _time(layer, inputs[layer], result.seconds[name], share)
                    if resume is not None:
                        keep(Path(resume), result)
                if bar is not None:
                    bar.advance(f"{name} at {share:.0%}")
        if bar is not None:
            bar.close()
    return result


def _time(layer: nn.Module, call: Call, seconds: dict[float, float], share: float) -> None:
    dense, now = time_both(lambda: layer(*call.args, **call.kwargs))
    seconds[share] = now
    seconds[0.0] = min(dense, seconds.get(0.0, dense))


def _budget(share: float) -> dict[str, Any]:
    return {**dict.fromkeys(BUDGETS), "sparsity": share}


class _PrunedAlone:
    """One layer pruned inside the block; afterwards its weights, and their masks if it had any, are what they were."""

    def __init__(self, model: nn.Module, layer: Any, spec: Spec, data: Any, loss: Any) -> None:
        self.model, self.layer, self.spec, self.data, self.loss = model, layer, spec, data, loss

    def __enter__(self) -> None:
        self.modules = list(dict.fromkeys(module for module, *_ in owners_of(self.layer)))
        self.before = [(module, name, mask) for module in self.modules for name, mask in masks_on(module).items()]
        self.weights = [(parameter, parameter.detach().clone()) for parameter in parameters_of(self.layer)]
        prune(self.model, self.spec, data=self.data, loss=self.loss)

    def __exit__(self, *_: object) -> None:
        for module in self.modules:
            detach(module)
        for parameter, weight in self.weights:
            parameter.copy_(weight)
        for module, name, mask in self.before:
            attach(module, name, mask)
