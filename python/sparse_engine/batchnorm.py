"""Batch-norm statistics, estimated again after pruning changed what the layers before put out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)


def recalibrate_batchnorm(model: Model, batches: Iterable[Any]) -> Model:
    """Set the running statistics of every BatchNorm of `model` to mean and variance over all of `batches`, in place.

    Pruning shifts what reaches a batch-norm layer, whose stored statistics then no longer fit; in a deep network most of the
    accuracy that one-shot pruning loses is lost here, and one pass over some training inputs, without labels, wins it back.

    Every value of every batch weighs the same, whatever the batch sizes: means and squared deviations are added up in float64
    (`momentum` plays no part) and the variance is the unbiased one, divided by n - 1, as torch stores it. During the pass each
    BatchNorm normalises with the statistics of the batch at hand, as in training, and everything else runs as in inference: no
    dropout, no gradients, native kernels where they are faster. Nothing but `running_mean`, `running_var` and
    `num_batches_tracked` (the number of calls seen) is different afterwards: not the weights and masks, not the training flags,
    not the state of torch's random generators. When this raises, these three are as they were, too.

    Args:
        model: any module, pruned or not. BatchNorm layers without running statistics (`track_running_stats=False`) and layers
            that its forward does not call are left alone.
        batches: tensors, or tuples and lists whose first entry is the input (a DataLoader with targets); each as `model` takes
            it, on its device. A few hundred to a few thousand training inputs, some dozens to a batch, are enough.
    Returns:
        `model`.
    Raises:
        ValueError: `batches` is empty, a batch leaves a layer a single value per channel, or a statistic is not finite.
        TypeError: `batches` is one tensor instead of a sequence of them, or an input is not a tensor.
    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021 (PreciseBN); for pruned networks Li et al., "EagleEye",
        ECCV 2020.
    """
    if isinstance(batches, Tensor):
        raise TypeError(f"batches is one tensor of shape {tuple(batches.shape)}; give a sequence of batches, such as [x]")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is not None}
    moments = {name: _Moments() for name in layers}
    count = 0
    with _observing(model, layers, moments):
        for batch in batches:
            model(_input_of(batch, count))
            count += 1
    if count == 0:
        raise ValueError("batches is empty; give at least one batch of inputs (a generator can be used only once)")
    found = {name: (moment.mean, moment.variance()) for name, moment in moments.items() if moment.count}
    for name, statistics in found.items():
        _refuse_infinite(name, statistics)
    with torch.no_grad():
        for name, (mean, variance) in found.items():
            _write(layers[name], mean, variance, moments[name].calls)
    return model


class _Moments:
    """Mean and squared deviations per channel, in float64, of values that come in parts.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0  # sum of squared deviations from the mean

    def add(self, x: Tensor) -> None:
        """Take in `x`, (N, C) or (N, C, ...)."""
        values = x.detach().transpose(0, 1).flatten(1).double()
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        count = values.shape[1]
        total = self.count + count
        shift = mean - self.mean
        self.mean = self.mean + shift * (count / total)
        self.squares = self.squares + variance * count + shift.square() * (self.count * count / total)
        self.count = total
        self.calls += 1

    def variance(self) -> Tensor:
        """The unbiased variance."""
        result: Tensor = self.squares / max(self.count - 1, 1)
        return result


@contextmanager
def _observing(model: nn.Module, layers: dict[str, _BatchNorm], moments: dict[str, _Moments]) -> Iterator[None]:
    """Have the layers normalise with batch statistics, leave their own alone, and report what they are given."""
    training = {module: module.training for module in model.modules()}
    tracking = {layer: layer.track_running_stats for layer in layers.values()}
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    hooks = []
    try:
        for module in training:
            module.training = False
        for name, layer in layers.items():
            # Training without tracking: torch then takes the batch's statistics and writes to no buffer.
            layer.training, layer.track_running_stats = True, False
            hooks.append(layer.register_forward_hook(_observer(moments[name]), with_kwargs=True))
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, was in tracking.items():
            layer.track_running_stats = was
        for module, was in training.items():
            module.training = was


def _observer(moments: _Moments) -> Any:
    def observe(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], _output: Any) -> None:
        moments.add(arguments[0] if arguments else named["input"])

    return observe


def _input_of(batch: Any, position: int) -> Tensor:
    value = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(value, Tensor):
        raise TypeError(
            f"batch {position} of batches holds a {type(value).__name__}; it must be a tensor, or a tuple or list that starts "
            f"with one, such as (input, target)"
        )
    return value


def _refuse_infinite(name: str, statistics: tuple[Tensor, Tensor]) -> None:
    if not all(bool(torch.isfinite(values).all()) for values in statistics):
        raise ValueError(f"the inputs of layer {name!r} hold NaN or Inf, which have no mean; look at batches and weights")


def _write(layer: _BatchNorm, mean: Tensor, variance: Tensor, calls: int) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.fill_(calls)
