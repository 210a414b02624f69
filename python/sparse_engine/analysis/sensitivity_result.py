"""What a sensitivity scan found: scores and times by layer and sparsity, printed, plotted, kept in a file."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ..channels.groups import ChannelCost
from ..io.atomic_write import write_atomically
from ..measure.text_table import table
from ..nn.fallback import dense_only


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
        for index, (name, row) in enumerate(self.scores.items()):
            style = {"marker": "o", "markersize": 3, "color": colours[index % 20], "linestyle": ("-", "--")[index // 20 % 2]}
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


def begin(resume: Any, model: nn.Module, evaluate: Callable[[nn.Module], float], weights: dict[str, int]) -> Sensitivity:
    """What is known already: of a file to resume from, or the score of the model as it is."""
    if resume is not None and Path(resume).exists():
        found = Sensitivity.from_dict(json.loads(Path(resume).read_text()))
        if found.weights != weights:
            raise ValueError(f"resume = {os.fspath(resume)!r} holds the scan of another model; delete it or name another file")
        return found
    with dense_only():
        baseline = float(evaluate(model))
    return Sensitivity(baseline, {n: {} for n in weights}, weights, {}, {n: {} for n in weights})


def keep(path: Path, result: Sensitivity) -> None:
    """Write what is known so far, so that a stop in the middle of it loses nothing."""
    write_atomically(path, json.dumps(result.to_dict()).encode())
