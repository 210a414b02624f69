"""Which kernel each layer takes: decided for given inputs at once, read, kept and taken up again."""

from typing import Any

import torch
from torch import nn

from ..measure.eval_mode import eval_mode
from ..measure.model_calls import arguments_of
from ..measure.progress import Progress
from ..measure.settling import settle_at_once
from .base import Pruned
from .dispatch import Choice
from .formats import DENSE, FORMATS
from .own_forward import OwnForward

Decisions = dict[str, list[dict[str, Any]]]


def autotune(model: nn.Module, example_inputs: Any, *, progress: bool = False) -> Decisions:
    """Decide anew, for `example_inputs`, which kernel each pruned layer of `model` takes.

    Layers do this by themselves on their first inputs of a size, a little in each call; here it happens now. Earlier decisions
    are dropped, and these are not looked at again; where a call fails or is interrupted, the earlier ones are put back. With
    SPARSE_ENGINE_AUTOTUNE=off the cost model decides and nothing is timed.

    Args:
        model: pruned. Run in eval mode under inference_mode; its training flags are restored.
        example_inputs: a tensor, a tuple of positional arguments of `model`, or a mapping of keyword arguments.
        progress: show on standard error how many layers have decided.
    Returns:
        The decisions, as `decisions` gives them.
    """
    deciding = _layers(model)
    arguments = arguments_of(model, example_inputs)
    before = [dict(layer._sparse.choices.buckets) for _, layer in deciding]
    for _, layer in deciding:
        layer._sparse.choices.clear()
    # The first call of a forward of somebody else's finds out what there is to decide.
    calls = 2 if any(isinstance(layer, OwnForward) for _, layer in deciding) else 1
    bar = Progress(calls * len(deciding)) if progress else None
    hooks = [layer.register_forward_hook(lambda *_, n=name: bar.advance(n)) for name, layer in deciding if bar is not None]
    try:
        with eval_mode(model), torch.inference_mode(), settle_at_once():
            for _ in range(calls):
                arguments.call(model)
    except BaseException:
        for (_, layer), decided in zip(deciding, before, strict=True):
            layer._sparse.choices.put_back(decided)
        raise
    finally:
        for hook in hooks:
            hook.remove()
        if bar is not None:
            bar.close()
    return decisions(model)


def decisions(model: nn.Module) -> Decisions:
    """What the pruned layers of `model` decided so far, as plain values for JSON.

    Returns:
        By layer name, a list of {"size": bucket of input sizes, "torch_threads", "threads", "isa", "dtype", "kernel": "dense"
        or a format, "seconds": median seconds by kernel, empty where the cost model decided}.
    """
    return {
        name: [
            {
                "size": list(size),
                "torch_threads": torch_threads,
                "threads": threads,
                "isa": isa,
                "dtype": dtype,
                "kernel": choice.kernel,
                "seconds": dict(choice.seconds),
            }
            for (size, torch_threads, threads, isa, dtype), choice in tuple(layer._sparse.choices.buckets.items())
        ]
        for name, layer in _layers(model)
    }


def set_decisions(model: nn.Module, saved: Decisions) -> None:
    """Take up decisions made before, of this model on such a machine, so that nothing is timed again.

    Args:
        model: pruned with the same masks.
        saved: what `decisions` gave, through JSON or not. Layers it does not name keep what they have.
    Raises:
        ValueError: a layer that `model` does not have, a kernel that is unknown or does not fit the layer's mask, or
            anything else that is not of the form.
    """
    layers = dict(_layers(model))
    checked: dict[str, dict[Any, Choice]] = {}
    for name, entries in saved.items():
        if name not in layers:
            raise ValueError(f"decisions name the layer '{name}'; the model has no such pruned layer")
        checked[name] = {}
        for entry in entries:
            bucket, choice = _read(name, entry)
            if choice.kernel not in (DENSE, *layers[name]._sparse.fitting):
                raise ValueError(
                    f"decisions['{name}'] take the kernel '{choice.kernel}'; the layer's mask fits: "
                    f"{', '.join((DENSE, *layers[name]._sparse.fitting))}"
                )
            checked[name][bucket] = choice
    for name, buckets in checked.items():
        layers[name]._sparse.choices.put_back(buckets)


def _read(name: str, entry: Any) -> tuple[Any, Choice]:
    try:
        size = tuple(int(side) for side in entry["size"])
        bucket = (
            size,
            int(entry["torch_threads"]),
            int(entry["threads"]),
            str(entry["isa"]),
            str(entry.get("dtype", "float32")),
        )
        seconds = {str(kernel): float(value) for kernel, value in entry["seconds"].items()}
        kernel = entry["kernel"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"decisions['{name}'] hold {entry!r}, which is not of the form engine.nn.decisions gives") from error
    if kernel != DENSE and kernel not in FORMATS:
        raise ValueError(f"decisions['{name}'] take the kernel '{kernel}'; known are: {', '.join((DENSE, *FORMATS))}")
    return bucket, Choice(kernel, seconds)


def _layers(model: nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Pruned)]
