"""How long calls of models take, side by side."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from .model_calls import arguments_of
from .settling import settle_at_once
from .turns import taking_turns

WARM_UP_CALLS = 2  # in the first, a pruned layer finds out which of its kernels is faster
AT_ONCE = 5  # calls in a turn, so that caches hold what a call alone finds there


def interleaved(calls: Sequence[Callable[[], object]], rounds: int, at_once: int = 1, *, warm_up: bool = True) -> list[float]:
    """Median seconds of each of `calls`, which take turns as `taking_turns` says."""
    return [statistics.median(times) for times in taking_turns(calls, rounds, at_once, warm_up=warm_up)]


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
