"""How long calls of models take, side by side."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from .model_calls import arguments_of
from .settling import settle_at_once

WARM_UP_CALLS = 2  # in the first, a pruned layer finds out which of its kernels is faster
AT_ONCE = 5  # calls in a turn, so that caches hold what a call alone finds there


def interleaved(calls: Sequence[Callable[[], object]], rounds: int, at_once: int = 1, *, warm_up: bool = True) -> list[float]:
    """Median seconds of each of `calls`, which take turns so that whatever else the machine does falls on all alike.

    Args:
        rounds: turns of each.
        at_once: timed calls in a turn. With more than one, an untimed call opens the turn: it brings what it reads back into
            the caches, and so the median is of what a call finds that follows its like.
        warm_up: call each of them once before anything is timed.
    """
    if warm_up:
        for call in calls:
            call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, seconds, strict=True):
            if at_once > 1:
                call()
            for _ in range(at_once):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def time_alternating(models: Sequence[Callable[..., object]], inputs: Any, calls: int) -> list[float]:
    """Median seconds that a call of each model takes, in the mode that it is in; they take turns.

    Args:
        models: the first a module; what is called like it may follow.
        inputs: a tensor, a tuple of positional arguments, or a mapping of keyword arguments.
        calls: timed ones of each model, at least.
    """
    first = models[0]
    assert isinstance(first, nn.Module)
    arguments = arguments_of(first, inputs)
    with torch.inference_mode():
        with settle_at_once():
            for model in models:
                for _ in range(WARM_UP_CALLS):
                    arguments.call(model)
        rounds = -(-calls // AT_ONCE)
        return interleaved([partial(arguments.call, model) for model in models], rounds, AT_ONCE, warm_up=False)
