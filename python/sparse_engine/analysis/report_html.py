"""A report as one self-contained HTML page: tables, weight histograms, sparsity maps and speed-ups, drawn as inline SVG."""

import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..io.atomic_write import write_atomically
from ..measure.html_page import COLOURS, html_table, page
from .report_data import LayerReport, ReportData

HISTOGRAM_BINS = 41
MAP_SIDE = 24

WIDTH, HEIGHT = 260, 90  # of a histogram


def picture_of(weight: torch.Tensor) -> dict[str, Any]:
    """What of a weight a page draws."""
    w = weight.detach().to(device="cpu", dtype=torch.float32).flatten(1)
    stored = w[w != 0]
    reach = float(stored.abs().max()) if stored.numel() else 0.0
    if not math.isfinite(reach) or w.numel() == 0:
        return {}
    counts = torch.histc(stored, HISTOGRAM_BINS, -reach, reach) if reach else torch.zeros(HISTOGRAM_BINS)
    sides = [min(side, MAP_SIDE) for side in w.shape]
    kept = nn.functional.adaptive_avg_pool2d((w != 0).float()[None, None], (sides[0], sides[1]))[0, 0]
    return {
        "reach": reach,
        "histogram": [int(c) for c in counts],
        "density_map": [[round(float(v), 3) for v in r] for r in kept],
    }


def write_page(path: "str | os.PathLike[str]", reports: Mapping[str, ReportData]) -> None:
    """Write `reports` of one model, by stage such as "before", "pruned" and "fine-tuned", to `path`.

    Args:
        path: an HTML file; it needs nothing else, neither files nor a network.
        reports: at least one; the last is what tables and maps show, histograms show all.
    Raises:
        ValueError: no report. OSError: the file cannot be written; what was there before is unharmed.
    """
    if not reports:
        raise ValueError("reports is empty; give at least one, such as {'pruned': engine.report(model)}")
    last = list(reports.values())[-1]
    names = [row.name for row in last.layers]
    stages = {stage: {row.name: row for row in report.layers} for stage, report in reports.items()}
    parts = [_summary(reports), "<h2>Layers</h2>", _table(last)]
    if last.seconds is not None:
        parts += ["<h2>Speed-up over dense, layer by layer</h2>", _speedups(last.layers)]
    parts += ["<h2>Weights that are not 0, number by size</h2>", _legend(list(reports)), '<div class="layers">']
    parts += [_figure(name, _histograms([stages[stage].get(name) for stage in stages])) for name in names]
    parts += [
        "</div>",
        "<h2>Where weights are left: black is dense, white is empty; outputs downwards</h2>",
        '<div class="layers">',
    ]
    parts += [_figure(row.name, _map(row.density_map)) for row in last.layers]
    parts.append("</div>")
    write_atomically(Path(path), page("Sparsity report", parts).encode())


def _summary(reports: Mapping[str, ReportData]) -> str:
    return html_table(
        ["stage", "parameters", "not 0", "MACs", "with a weight", "dense ms", "now ms"],
        [
            [
                stage,
                f"{r.parameters:,}",
                f"{r.nonzeros:,}",
                _count(r.macs),
                _count(r.nonzero_macs),
                _ms(r.dense_seconds),
                _ms(r.seconds),
            ]
            for stage, r in reports.items()
        ],
    )


def _table(report: ReportData) -> str:
    return html_table(
        ["layer", "kind", "weight", "density", "kernel", "dense ms", "now ms", ""],
        [
            [
                row.name or "(model)",
                row.kind,
                "×".join(map(str, row.shape)),
                f"{row.density:.1%}",
                row.kernel,
                _ms(row.dense_seconds),
                _ms(row.seconds),
                row.reason,
            ]
            for row in report.layers
        ],
    )


def _speedups(layers: Sequence[LayerReport]) -> str:
    measured = [row for row in layers if row.seconds and row.dense_seconds]
    most = max((row.dense_seconds / row.seconds for row in measured if row.dense_seconds and row.seconds), default=1.0)
    scale, bars = 400 / max(most, 1.0), []
    for place, row in enumerate(measured):
        ratio = (row.dense_seconds or 0.0) / (row.seconds or 1.0)
        y = 20 * place
        bars.append(f'<text x="195" y="{y + 14}" text-anchor="end" font-size="12">{html.escape(row.name or "(model)")}</text>')
        bars.append(f'<rect x="200" y="{y + 3}" width="{ratio * scale:.1f}" height="14" fill="{COLOURS[2]}"/>')
        bars.append(f'<text x="{205 + ratio * scale:.1f}" y="{y + 14}" font-size="12">{ratio:.2f}×</text>')
    one = 200 + scale
    bars.append(f'<line x1="{one:.1f}" y1="0" x2="{one:.1f}" y2="{20 * len(measured)}" stroke="#333" stroke-dasharray="3"/>')
    return f'<svg width="660" height="{20 * len(measured)}">{"".join(bars)}</svg>'


def _legend(stages: Sequence[str]) -> str:
    entries = [f'<span style="color:{COLOURS[i % len(COLOURS)]}">■ {html.escape(s)}</span>' for i, s in enumerate(stages)]
    return f"<p>{' &nbsp; '.join(entries)}</p>"


def _histograms(rows: Sequence[LayerReport | None]) -> str:
    """The same layer at every stage, on one scale; the sizes of weights go from −reach to reach."""
    shown = [(place, row) for place, row in enumerate(rows) if row is not None and row.histogram]
    reach = max((row.reach for _, row in shown), default=0.0)
    most = max((max(row.histogram) for _, row in shown), default=0) or 1
    lines = []
    for place, row in shown:
        bins = len(row.histogram)
        width = WIDTH * (row.reach / reach if reach else 1.0)
        left = (WIDTH - width) / 2
        points = " ".join(
            f"{left + width * (i + 0.5) / bins:.1f},{HEIGHT - 2 - (HEIGHT - 6) * count / most:.1f}"
            for i, count in enumerate(row.histogram)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="1.5"/>')
    axis = f'<text x="2" y="{HEIGHT + 11}" font-size="10">−{reach:.3g}</text>'
    axis += f'<text x="{WIDTH - 2}" y="{HEIGHT + 11}" font-size="10" text-anchor="end">{reach:.3g}</text>'
    return f'<svg width="{WIDTH}" height="{HEIGHT + 14}">{"".join(lines)}{axis}</svg>'


def _map(densities: Sequence[Sequence[float]]) -> str:
    cells = [
        f'<rect x="{8 * x}" y="{8 * y}" width="8" height="8" fill="rgb({shade},{shade},{shade})"/>'
        for y, line in enumerate(densities)
        for x, density in enumerate(line)
        for shade in [round(255 * (1 - density))]
    ]
    width = 8 * max((len(line) for line in densities), default=0)
    return f'<svg width="{width}" height="{8 * len(densities)}">{"".join(cells)}</svg>'


def _figure(name: str, drawing: str) -> str:
    return f"<figure>{drawing}<figcaption>{html.escape(name or '(model)')}</figcaption></figure>"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
