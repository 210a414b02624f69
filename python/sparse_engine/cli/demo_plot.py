"""The demo's picture."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .demo import Result

INK = "#333333"
DENSE, PRUNED, FINE_TUNED, ITERATIVE, SPARSE, COMPILED = "#767676", "#c44536", "#e09f3e", "#1f6f8b", "#1f6f8b", "#5b8c5a"
TICKS = (10, 50, 80, 90, 95, 97, 98, 99, 99.5, 99.9)  # accuracies, in percent
SMALLEST_ERROR = 0.05  # percent; a network without errors is drawn here


def plot(result: Result, path: Path) -> None:
    """Write `result` to `path` as a PNG of about 1650 × 780 pixels: accuracy on the left, time on the right.

    Raises:
        OSError: `path` cannot be written.
    """
    with rc_context({"font.size": 11.5}):  # half as large it can still be read
        figure = Figure(figsize=(11, 5.2), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        _accuracy(left, result)
        _time(right, result)
        for axes in (left, right):
            axes.set_xlabel("sparsity (% of weights removed)")
            axes.set_xticks([100 * step.sparsity for step in result.steps])
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="png")


def _accuracy(axes: Any, result: Result) -> None:
    sparsities = [100 * step.sparsity for step in result.steps]
    pruned = [_percent(step.pruned_accuracy) for step in result.steps]
    fine_tuned = [_percent(step.fine_tuned_accuracy) for step in result.steps]
    iterative = [_percent(step.iterative_accuracy) for step in result.steps]
    dense = _percent(result.dense_accuracy)
    axes.axhline(dense, color=DENSE, linestyle="--", label=f"dense ({result.dense_accuracy:.1%})")
    axes.plot(sparsities, iterative, "o-", color=ITERATIVE, label="iteratively pruned and fine-tuned")
    axes.plot(sparsities, fine_tuned, "s-", color=FINE_TUNED, label="pruned and fine-tuned")
    axes.plot(sparsities, pruned, "^-", color=PRUNED, label="pruned only")
    # Two of the curves lie within a few points of each other and one falls to chance; by the logarithm of the error all show.
    axes.set_yscale("function", functions=(_log_error, _accuracy_at))
    everything = [dense, *pruned, *fine_tuned, *iterative]
    axes.set_ylim(max(0.0, 1.5 * min(everything) - 50), _accuracy_at(_log_error(max(everything)) + 0.15))
    axes.set_yticks([tick for tick in TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("test accuracy (%), spaced by log of error")
    axes.set_title("Accuracy")
    _legend(axes)


def _percent(accuracy: float) -> float:
    return min(100 * accuracy, 100 - SMALLEST_ERROR)


def _log_error(percent: Any) -> Any:
    return -np.log10(np.maximum(100 - np.asarray(percent), SMALLEST_ERROR / 10))


def _accuracy_at(height: Any) -> Any:
    return 100 - 10 ** -np.asarray(height)


def _time(axes: Any, result: Result) -> None:
    sparsities = [100 * step.sparsity for step in result.steps]
    dense = [1e3 * step.dense_seconds for step in result.steps]
    sparse = [1e3 * step.sparse_seconds for step in result.steps]
    compiled = [1e3 * step.compiled_seconds for step in result.steps]
    axes.plot(sparsities, dense, "s--", color=DENSE, label="dense")
    axes.plot(sparsities, sparse, "o-", color=SPARSE, label="sparse")
    axes.plot(sparsities, compiled, "D-", color=COMPILED, label="sparse, compiled")
    for x, step, above, below in zip(sparsities, result.steps, sparse, compiled, strict=True):
        for y, ratio, offset in ((above, step.speed_up, 8), (below, step.compiled_speed_up, -18)):
            label = f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"
            axes.annotate(label, (x, y), (0, offset), textcoords="offset points", ha="center", color=INK)
    most = max(*dense, *sparse, *compiled)
    axes.set_ylim(-0.1 * most, 1.25 * most)  # room for what stands under the lowest point
    axes.set_ylabel(f"time for {result.settings.timed_images} images (ms)")
    axes.set_title("Inference time and speed-up")
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, columnspacing=1.0)
