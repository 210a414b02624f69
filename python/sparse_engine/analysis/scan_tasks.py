"""The tasks of a sensitivity scan: each changes a model, scores it and puts it back, here or wherever a `map` runs it."""

import builtins
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..measure.eval_mode import eval_mode
from ..measure.progress import Progress
from ..nn.fallback import dense_only
from .sensitivity_result import Sensitivity, keep

Evaluate = Callable[[nn.Module], float]
Map = Callable[..., Iterable[Any]]  # map(function, tasks) -> results, in any order
Undo = Callable[[], None]


class Task(NamedTuple):
    """A cell of the table, and what a change must know beside it."""

    layer: str
    sparsity: float
    details: Any = None


Change = Callable[[nn.Module, Task], Undo]  # removes a task's weights from a model


class Score(NamedTuple):
    """The result of a task, with the cell that it belongs to."""

    layer: str
    sparsity: float
    value: float


class Scoring:
    """The function that is mapped over tasks; pure, and pickled together with its model.

    Layers run dense: native kernels are chosen by time, and each rounds differently, so scores would depend on chance.

    Args:
        in_place: change `model` itself, for tasks that run one after another. Otherwise each task changes a copy, for threads
            may share `model`.
    """

    def __init__(self, model: nn.Module, evaluate: Evaluate, change: Change, in_place: bool) -> None:
        self.model, self.evaluate, self.change, self.in_place = model, evaluate, change, in_place

    def __call__(self, task: Task) -> Score:
        """Score the model with this change alone."""
        model = self.model if self.in_place else copy.deepcopy(self.model)
        with eval_mode(model), torch.no_grad():
            undo = self.change(model, task)
            try:
                with dense_only():
                    return Score(task.layer, task.sparsity, float(self.evaluate(model)))
            finally:
                undo()


def run_tasks(
    result: Sensitivity,
    tasks: Sequence[Task],
    model: nn.Module,
    evaluate: Evaluate,
    change: Change,
    map: Map,
    note: Callable[[str], None],
) -> None:
    """Fill in the scores of `tasks` as they come, and call `note` after each.

    Raises:
        ValueError: `map` gave no result for some task. Besides, what a task or `map` raises.
    """
    missing = {(task.layer, task.sparsity) for task in tasks}
    if tasks:
        for name, share, value in map(Scoring(model, evaluate, change, map is builtins.map), list(tasks)):
            result.scores[name][share] = value
            missing.discard((name, share))
            note(f"{name} at {share:.0%}")
    if missing:
        raise ValueError(
            f"map gave {len(tasks) - len(missing)} results for {len(tasks)} tasks; it must run every task, as the built-in one"
        )
    for name, row in result.scores.items():
        result.scores[name] = dict(sorted(row.items()))


@contextmanager
def noted(result: Sensitivity, steps: int, resume: Any, progress: bool) -> Iterator[Callable[[str], None]]:
    """A function to call with a label after each of so many steps: writes the file to resume from, and advances the bar."""
    bar = Progress(steps) if progress else None

    def note(label: str) -> None:
        if resume is not None:
            keep(Path(resume), result)
        if bar is not None:
            bar.advance(label)

    yield note
    if bar is not None:
        bar.close()
