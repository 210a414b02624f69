"""Tables and the plot of what bench/regimes.py measured."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from patterns import source
from regime_list import REGIMES, Case, Regime
from rivals import RIVALS


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def cell(cases: list[Case], goal: float | None) -> str:
    if not cases:
        return "–"
    speedup = mean([c.speedup for c in cases])
    mark = "" if goal is None else " ✓" if speedup >= goal else f" (< {goal:g})"
    return f"{speedup:.2f}×{mark}"


def published(cases: list[Case], regime: Regime) -> str:
    speedups = [c.speedup for c in cases]
    goal = f"≥ {regime.published:g}: {'yes' if mean(speedups) >= (regime.published or 0) else 'NO'}"
    each = " ".join(f"{s:.1f}" for s in speedups)
    return f"{mean(speedups):.2f}× | {goal} | {min(speedups):.2f}× | {each}"


def markdown(cases: list[Case], arguments: str) -> str:
    swept = [c for c in cases if REGIMES[c.regime].published is None]
    sparsities = sorted({c.sparsity for c in swept})
    head = ["| regime | " + " | ".join(f"{s:.0%}" for s in sparsities) + " |", "|---" * (len(sparsities) + 1) + "|"]

    def rows(text: Callable[[list[Case], Regime, float], str]) -> list[str]:
        lines = [*head]
        for name, regime in REGIMES.items():
            mine = {s: [c for c in swept if c.regime == name and c.sparsity == s] for s in sparsities}
            cells = [text(mine[s], regime, s) if mine[s] else "–" for s in sparsities]
            if set(cells) != {"–"}:
                lines.append(f"| {regime.title} | " + " | ".join(cells) + " |")
        return lines

    def over(rival: str) -> Callable[[list[Case], Regime, float], str]:
        def text(cases: list[Case], regime: Regime, sparsity: float) -> str:
            known = [c.over_rivals[rival] for c in cases if rival in c.over_rivals]
            return f"{mean(known):.2f}× (least {min(known):.2f})" if known else "–"

        return text

    lines = ["# Speed by regime", "", f"Written by `python bench/regimes.py{arguments}`. {describe()}", ""]
    lines += [f"Geometric means over the shapes of a regime; {source()}.", ""]
    lines += ["## Over dense torch", "", *rows(lambda cases, regime, s: cell(cases, regime.goals.get(s))), ""]
    for rival in RIVALS:
        if any(rival in c.over_rivals for c in swept):
            lines += [f"## Over {rival}: mean, and the least over the shapes", "", *rows(over(rival)), ""]
    lines += [f"## {torch.get_num_threads()} threads over one", ""]
    lines += rows(lambda cases, regime, s: f"{mean([c.over_one_thread for c in cases]):.2f}×")
    fixed = {name: [c for c in cases if c.regime == name] for name, regime in REGIMES.items() if regime.published is not None}
    if any(fixed.values()):
        lines += [
            "",
            "## At published sparsities, over dense torch",
            "",
            "| layers | mean | goal | least | each |",
            "|---|---|---|---|---|",
        ]
        lines += [f"| {REGIMES[n].title} | {published(found, REGIMES[n])} |" for n, found in fixed.items() if found]
    return "\n".join(lines) + "\n"


def plot(cases: list[Case], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5))
    for name, regime in REGIMES.items():
        points = sorted({c.sparsity for c in cases if c.regime == name})
        if len(points) > 1 and regime.published is None:
            y = [mean([c.speedup for c in cases if c.regime == name and c.sparsity == s]) for s in points]
            axes.plot([100 * s for s in points], y, marker="o", label=regime.title.replace("`", ""))
    axes.axhline(1, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="sparsity (%)", ylabel="speed-up over dense torch (×)", yscale="log", title="Speed-up by regime")
    ticks = [1, 2, 3, 5, 8, 12, 20, 35, 60]
    axes.set_yticks(ticks, [f"{t}×" for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
