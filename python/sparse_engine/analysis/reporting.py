"""What pruning did to a model: parameters, multiply-accumulates, and measured time, layer by layer."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..measure.eval_mode import eval_mode
from ..measure.model_calls import Arguments, arguments_of, every_layer_called
from ..measure.settling import settle_at_once
from ..measure.text_table import table
from ..measure.timing import interleaved
from ..nn.base import Pruned
from ..nn.fallback import DISABLED, dense_only
from ..pruning.macs_per_weight import Call, Watch, flags_of, macs_of, reported
from .report_data import LayerReport, ReportData
from .report_html import picture_of, write_page

REPEATS = 5


class Report(ReportData):
    """Result of `report`: rows, totals, and a table when printed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "macs": self.macs, "nonzero_macs": self.nonzero_macs}

    def to_json(self, path: "str | os.PathLike[str]") -> None:
        """Everything, as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")

    def to_csv(self, path: "str | os.PathLike[str]") -> None:
        """A line per layer."""
        columns = [f.name for f in fields(LayerReport) if f.name not in ("histogram", "density_map")]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in self.layers:
                values = {**vars(row), "shape": "x".join(map(str, row.shape))}
                writer.writerow(["" if values[c] is None else values[c] for c in columns])

    def to_html(self, path: "str | os.PathLike[str]", **earlier: "Report") -> None:
        """One self-contained page; reports of `earlier` stages, such as before=..., go into the same histograms."""
        write_page(path, {**earlier, "now": self})

    def __str__(self) -> str:
        head = [
            "layer",
            "kind",
            "weight",
            "density",
            "nonzeros",
            "MACs",
            "kernel",
            "dense ms",
            "now ms",
            "speed-up",
            "",
        ]
        rows = [
            [
                row.name or "(model)",
                row.kind,
                "×".join(map(str, row.shape)),
                f"{row.density:.1%}",
                f"{row.nonzeros:,} / {row.parameters:,}",
                _of(row.nonzero_macs, row.macs),
                row.kernel,
                _ms(row.dense_seconds),
                _ms(row.seconds),
                _ratio(row.dense_seconds, row.seconds),
                row.reason,
            ]
            for row in self.layers
        ]
        total = [
            "total",
            "",
            "",
            f"{self.nonzeros / self.parameters:.1%}" if self.parameters else "",
            f"{self.nonzeros:,} / {self.parameters:,}",
            _of(self.nonzero_macs, self.macs),
            f"{self.isa}, {self.threads} thr.",
            _ms(self.dense_seconds),
            _ms(self.seconds),
            _ratio(self.dense_seconds, self.seconds),
            "whole model",
        ]
        return table(head, [*rows, total])


def report(model: nn.Module, example_inputs: Any = None) -> Report:
    """Parameters, multiply-accumulates and measured time of every layer of `model` with weights that can be pruned.

    Linear, convolution and recurrent layers, and torch's attention. A weight counts as there when its mask keeps it, without
    a mask when it is not 0 (one that is 0 throughout has not begun to learn, and counts): a dense model has a density of 100%.

    Args:
        model: pruned or not. Run in eval mode under inference_mode; its training flags are restored.
        example_inputs: a tensor, a tuple of positional arguments of `model`, or a mapping of keyword arguments, such as a
            tokenizer's batch. Without it no MACs and no times.
    Returns:
        `Report`; print it for a table. "now" is what the layer does in inference, "dense" torch's arithmetic on the same
        weights; both are medians of interleaved calls on the input this layer saw.
    """
    flags = {m: {n: flags_of(m, n) for n in reported(m)} for m in model.modules() if reported(m)}
    rows = {m: _row(name, m, flags[m]) for name, m in model.named_modules() if m in flags}
    gone = {id(getattr(m, n)): int((~there).sum()) for m, own in flags.items() for n, there in own.items()}
    parameters = sum(p.numel() for p in model.parameters())
    result = Report(layers=list(rows.values()), parameters=parameters, nonzeros=parameters - sum(gone.values()))
    seen: dict[nn.Module, Call] | None = None
    if example_inputs is not None:
        arguments = arguments_of(model, example_inputs)
        with eval_mode(model), torch.inference_mode():
            seen = _measure_layers(model, rows, flags, arguments)
            result.dense_seconds, result.seconds = time_both(lambda: arguments.call(model))
    for module, row in rows.items():
        row.kernel, row.reason = _kernel(module, seen)
    return result


def _row(name: str, module: nn.Module, flags: dict[str, torch.Tensor]) -> LayerReport:
    # Several weights are shown as one above the other where they are equally wide, and as one long row otherwise.
    weights = list(reported(module).values())
    stacked = len({weight.shape[1:] for weight in weights}) == 1
    shown = torch.cat([w.detach() if stacked else w.detach().reshape(1, -1) for w in weights], dim=0 if stacked else 1)
    return LayerReport(
        name=name,
        kind=type(module).__name__,
        shape=tuple(shown.shape),
        parameters=shown.numel(),
        nonzeros=sum(int(there.sum()) for there in flags.values()),
        **picture_of(shown),
    )


def time_both(call: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of `call` with dense arithmetic and as it is, in turns after a warm-up of both."""

    def dense() -> None:
        with dense_only():
            call()

    before, now = interleaved([dense, call], REPEATS)
    return before, now


def _measure_layers(
    model: nn.Module, rows: dict[nn.Module, LayerReport], flags: dict[nn.Module, dict[str, torch.Tensor]], arguments: Arguments
) -> dict[nn.Module, Call]:
    """Fill in MACs and times; returns what each called layer was called with."""
    with Watch(model) as watch:
        arguments.call(model)
    for module in rows:
        if isinstance(module, Pruned):
            module._sparse.fallbacks.clear()  # so that what is there afterwards is about these inputs
    with settle_at_once(), every_layer_called():
        arguments.call(model)
    for module, row in rows.items():
        uses = {name: watch.uses[module, name] for name in flags[module] if (module, name) in watch.uses}
        if uses:
            row.macs = sum(macs_of(torch.ones_like(flags[module][name]), counts) for name, counts in uses.items())
            row.nonzero_macs = sum(macs_of(flags[module][name], counts) for name, counts in uses.items())
    seen = {module: watch.calls[module] for module in rows if module in watch.calls}
    for module, call in seen.items():
        rows[module].dense_seconds, rows[module].seconds = time_both(lambda m=module, c=call: m(*c.args, **c.kwargs))  # type: ignore[misc]
    return seen


def _kernel(module: nn.Module, seen: dict[nn.Module, Call] | None) -> tuple[str, str]:
    """Which kernel `module` takes, and why when it is not a native one."""
    if not isinstance(module, Pruned):
        return "dense", "not pruned"
    if seen is not None and module not in seen:
        return "dense", "not called by the model's forward, or its weight read by another layer"
    state = module._sparse
    reasons = [reason for reason in state.fallbacks if reason != DISABLED]
    choices = state.choices.exact
    if seen is not None:
        # Keys of attention hold more than a shape; the last decision is that of this call then.
        key: Any = (getattr(seen[module].x, "shape", None), torch.get_num_threads())
        choice = next(
            (choice for where, choice in reversed(choices.items()) if where[:2] == key), next(reversed(choices.values()), None)
        )
    else:
        choice = next(reversed(choices.values()), None)
    if reasons and (seen is not None or choice is None):
        return "dense", reasons[-1]
    if choice is None:
        return "dense", "not run in inference yet"
    if choice.native:
        return choice.kernel, ""
    return "dense", "dense measured faster" if choice.seconds else "the cost model takes dense (SPARSE_ENGINE_AUTOTUNE=off)"


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.3f}"


def _ratio(dense: float | None, now: float | None) -> str:
    return "–" if not dense or not now else f"{dense / now:.2f}×"


def _of(part: int | None, whole: int | None) -> str:
    return "–" if whole is None or part is None else f"{part / 1e6:,.2f} / {whole / 1e6:,.2f} M"
