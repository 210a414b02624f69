"""How much each layer bears: the score of a model against the sparsity of one layer at a time, and its time beside it."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .attachment import put_on, take_off
from .coupling import ChannelCost
from .evidence import evaluating
from .granularity import Channels, granularity_of
from .progress import Progress
from .pruning import prune
from .ranked import masks_on, parameters_of, places_of
from .reporting import table, time_both
from .selection import selected_layers
from .spec import AMOUNTS, Spec
from .uses import Call, called

LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass
class Sensitivity:
    """What `sensitivity` found: layer name -> sparsity -> score, higher is better."""

    baseline: float
    scores: dict[str, dict[float, float]]
    weights: dict[str, int]  # of each layer
    uses: dict[str, float] = field(default_factory=dict)  # multiplications by each weight in a call on the example inputs
    seconds: dict[str, dict[float, float]] = field(default_factory=dict)  # at 0 the dense layer's
    channels: ChannelCost | None = None  # for granularity "channel": what is left of the model

    def drop(self, name: str, sparsity: float) -> float:
        """What the score loses, at least 0."""
        return max(0.0, self.baseline - self.scores[name][sparsity])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "baseline": self.baseline,
            "scores": {n: {str(s): v for s, v in row.items()} for n, row in self.scores.items()},
            "weights": self.weights,
            "uses": self.uses,
            "seconds": {n: {str(s): v for s, v in row.items()} for n, row in self.seconds.items()},
            "channels": None if self.channels is None else asdict(self.channels),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sensitivity":
        """The inverse of `to_dict`."""

        def by_share(rows: dict[str, dict[str, float]]) -> dict[str, dict[float, float]]:
            return {n: {float(s): float(v) for s, v in row.items()} for n, row in rows.items()}

        scores, seconds, channels = by_share(values["scores"]), by_share(values["seconds"]), values.get("channels")
        costs = None if channels is None else ChannelCost(**channels)
        return cls(values["baseline"], scores, values["weights"], values["uses"], seconds, costs)

    def to_csv(self, path: "str | os.PathLike[str]") -> None:
        """One line per layer and sparsity."""
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["layer", "sparsity", "score", "drop", "seconds"])
            for name, row in self.scores.items():
                for share, score in row.items():
                    writer.writerow([name, share, score, self.drop(name, share), self.seconds.get(name, {}).get(share, "")])

    def plot(self, path: "str | os.PathLike[str]") -> None:
        """Score against sparsity, a line per layer; beside it the layers' times where they were measured. Needs matplotlib."""
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13 if self.seconds else 9, 5.2), layout="constrained")
        axes = figure.subplots(1, 2 if self.seconds else 1, squeeze=False)[0]
        colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
        for place, (name, row) in enumerate(self.scores.items()):
            style = {"marker": "o", "markersize": 3, "color": colours[place % 20], "linestyle": ("-", "--")[place // 20 % 2]}
            shares = sorted(row)
            axes[0].plot([0, *(100 * s for s in shares)], [self.baseline, *(row[s] for s in shares)], label=name, **style)
            times = sorted(self.seconds.get(name, {}).items())
            if times:
                axes[-1].plot([100 * s for s, _ in times], [1e3 * v for _, v in times], **style)
        axes[0].axhline(self.baseline, color="grey", linewidth=1, linestyle="--")
        axes[0].set(xlabel="sparsity of one layer (%)", ylabel="score of the model", title="Sensitivity")
        if self.seconds:
            axes[1].set(xlabel="sparsity of the layer (%)", ylabel="time of the layer (ms)", title="Speed", ylim=(0, None))
        for axis in axes:
            axis.grid(alpha=0.3)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
        figure.savefig(path, dpi=150)

    def __str__(self) -> str:
        shares = sorted({share for row in self.scores.values() for share in row})
        rows = [
            [name, f"{self.weights[name]:,}", *(f"{row[s]:.4g}" if s in row else "" for s in shares)]
            for name, row in self.scores.items()
        ]
        return table(
            ["layer", "weights", *(f"{s:.0%}" for s in shares)],
            [["(none)", "", *[f"{self.baseline:.4g}"] * len(shares)], *rows],
        )


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
        spec: granularity, criterion, include and exclude to prune with; its amount is not used.
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
    if isinstance(granularity_of(spec.granularity), Channels):
        from .channel_scan import scan_channels

        chosen = replace(spec, **_amount(0.5))
        return scan_channels(model, evaluate, shares, chosen, example_inputs, data, loss, resume, progress)
    names, layers = selected_layers(model, replace(spec, **_amount(0.5)))
    with evaluating(model), torch.no_grad():
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
                    one = replace(spec, include=(glob.escape(name),), exclude=(), scope=scope, **_amount(share))
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


def _amount(share: float) -> dict[str, Any]:
    return {**dict.fromkeys(AMOUNTS), "sparsity": share}


def begin(resume: Any, model: nn.Module, evaluate: Callable[[nn.Module], float], weights: dict[str, int]) -> Sensitivity:
    """What is known already: of a file to resume from, or the score of the model as it is."""
    if resume is not None and Path(resume).exists():
        found = Sensitivity.from_dict(json.loads(Path(resume).read_text()))
        if found.weights != weights:
            raise ValueError(f"resume = {os.fspath(resume)!r} holds the scan of another model; delete it or name another file")
        return found
    return Sensitivity(float(evaluate(model)), {n: {} for n in weights}, weights, {}, {n: {} for n in weights})


def keep(path: Path, result: Sensitivity) -> None:
    """Write what is known so far, so that a stop in the middle of it loses nothing."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(result.to_dict()))
    os.replace(fresh, path)


class _PrunedAlone:
    """One layer pruned inside the block; afterwards its weights, and their masks if it had any, are what they were."""

    def __init__(self, model: nn.Module, layer: Any, spec: Spec, data: Any, loss: Any) -> None:
        self.model, self.layer, self.spec, self.data, self.loss = model, layer, spec, data, loss

    def __enter__(self) -> None:
        self.modules = list(dict.fromkeys(module for module, *_ in places_of(self.layer)))
        self.before = [(module, name, mask) for module in self.modules for name, mask in masks_on(module).items()]
        self.weights = [(parameter, parameter.detach().clone()) for parameter in parameters_of(self.layer)]
        prune(self.model, self.spec, data=self.data, loss=self.loss)

    def __exit__(self, *_: object) -> None:
        for module in self.modules:
            take_off(module)
        for parameter, weight in self.weights:
            parameter.copy_(weight)
        for module, name, mask in self.before:
            put_on(module, name, mask)
