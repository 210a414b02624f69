"""How long calls of models take, side by side."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .choice import without_bound
from .model_calls import arguments_of

WARM_UP_CALLS = 2  # in the first, a pruned layer finds out which of its kernels is faster
AT_ONCE = 5  # calls in a turn, so that caches hold what a call alone finds there


def time_alternating(models: Sequence[nn.Module], inputs: Any, calls: int) -> list[float]:
    """Median seconds that a call of each model takes, in the mode that it is in.

    They take turns of some calls, so that whatever else the machine does falls on all of them alike. The first call of a turn
    brings the model's weights back into the caches and is not counted.

    Args:
        inputs: a tensor, a tuple of positional arguments, or a mapping of keyword arguments.
        calls: counted ones of each model, at least.
    """
    arguments = arguments_of(models[0], inputs)
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        with without_bound():
            for model in models:
                for _ in range(WARM_UP_CALLS):
                    arguments.call(model)
        while len(seconds[-1]) < calls:
            for model, times in zip(models, seconds, strict=True):
                arguments.call(model)
                for _ in range(AT_ONCE):
                    start = time.perf_counter()
                    arguments.call(model)
                    times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]
