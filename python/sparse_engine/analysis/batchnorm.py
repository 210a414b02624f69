"""Batch-norm statistics, estimated again after pruning changed what the layers before put out."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..measure.eval_mode import eval_mode
from ..measure.model_calls import Arguments, first_of, inputs_of

FAR = 100.0  # squared mean over variance, from which on a mean in float32 spoils the variance of several calls

Model = TypeVar("Model", bound=nn.Module)


def recalibrate_batchnorm(model: Model, batches: Iterable[Any]) -> Model:
    """Set the running statistics of every BatchNorm of `model` to mean and variance over all of `batches`, in place.

    Pruning shifts what reaches a batch-norm layer, whose stored statistics then no longer fit; in a deep network most of the
    accuracy that one-shot pruning loses is lost here, and one pass over some training inputs, without labels, wins it back.

    Every value of every batch weighs the same, whatever the batch sizes: each layer's own normalisation in training gives mean
    and variance of a call, which are put together in float64 (`momentum` plays no part), and the variance is the unbiased one,
    divided by n - 1, as torch stores it. During the pass each BatchNorm normalises with the statistics of the batch at hand, as
    in training, and everything else runs as in inference: no dropout, no gradients, native kernels where they are faster. A
    call that brings a single value per channel (the last batch of a loader may be one example) has no variance: it is
    normalised with the statistics of the calls before it, or the stored ones if it is the first, and counts all the same.
    Nothing but `running_mean`, `running_var` and `num_batches_tracked` (the number of calls seen) is different afterwards: not
    the weights and masks, not the training flags, not the state of torch's random generators. When this raises, these three
    are as they were, too.

    Args:
        model: any module, pruned or not. BatchNorm layers without running statistics (`track_running_stats=False`) and layers
            that its forward does not call are left alone.
        batches: inputs: tensors, mappings of keyword arguments, or tuples and lists that begin with either or with a tuple of
            positional arguments (a DataLoader with targets); each as `model` takes it, on its device. A few hundred to a few
            thousand training inputs, some dozens to a batch, are enough.
    Returns:
        `model`.
    Raises:
        ValueError: `batches` is empty, a layer sees a single value per channel in all, or a statistic is not finite.
        TypeError: `batches` is one tensor instead of a sequence of them, or an input is of another form.
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
            _arguments(model, batch, count).call(model)
            count += 1
    if count == 0:
        raise ValueError("batches is empty; give at least one batch of inputs (a generator can be used only once)")
    found = {name: (moment.mean, moment.variance()) for name, moment in moments.items() if moment.count}
    for name, statistics in found.items():
        if moments[name].count == 1:
            raise ValueError(
                f"layer {name!r} is given a single value per channel in all of batches, which has no variance; give more inputs"
            )
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

    def add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Take in `count` values per channel, (C,) their mean and the sum of their squared deviations from it."""
        total = self.count + count
        shift = mean.double() - self.mean
        self.mean = self.mean + shift * (count / total)
        self.squares = self.squares + squares.double() + shift.square() * (self.count * count / total)
        self.count = total
        self.calls += 1

    def variance(self) -> Tensor:
        """The unbiased variance."""
        result: Tensor = self.squares / max(self.count - 1, 1)
        return result


class _Observer:
    """Hooks of one layer: in place of its buffers there are others, which each call in training mode fills with its own
    statistics. So the layer counts what it counts anyway."""

    def __init__(self, layer: _BatchNorm, moments: _Moments) -> None:
        self.layer, self.moments = layer, moments
        self.own = dict(layer._buffers)
        self.mean, self.var = (torch.zeros_like(self.own[name]) for name in ("running_mean", "running_var"))  # type: ignore[arg-type]

    def __enter__(self) -> None:
        self.momentum, self.tracking = self.layer.momentum, self.layer.track_running_stats
        self.layer._buffers.update(running_mean=self.mean, running_var=self.var, num_batches_tracked=None)
        self.layer.momentum, self.layer.track_running_stats = 1.0, True
        self.hooks = [
            self.layer.register_forward_pre_hook(self.before, with_kwargs=True),
            self.layer.register_forward_hook(self.after, with_kwargs=True),
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.layer.momentum, self.layer.track_running_stats = self.momentum, self.tracking
        self.layer._buffers.update(self.own)

    def before(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Decide what the call normalises with."""
        x = first_of(args, kwargs)
        single = x.numel() == x.shape[1]
        self.layer.training = not single
        if single and self.moments.count > 1:
            self.mean.copy_(self.moments.mean)
            self.var.copy_(self.moments.variance())
        elif single:
            self.mean.copy_(self.own["running_mean"])  # type: ignore[arg-type]
            self.var.copy_(self.own["running_var"])  # type: ignore[arg-type]

    def after(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor) -> None:
        """Take in the statistics of the call."""
        x = first_of(args, kwargs).detach()
        count = x.numel() // max(1, x.shape[1])
        if count == 1:
            values = x.reshape(-1).double()
            self.moments.add(1, values, torch.zeros_like(values))
        elif count and bool((self.mean.square() > FAR * self.var).any()):
            # A float32 mean is not exact enough where it is large beside the spread.
            squares, mean = torch.var_mean(x.transpose(0, 1).flatten(1).double(), dim=1, correction=0)
            self.moments.add(count, mean, squares * count)
        elif count:
            self.moments.add(count, self.mean, self.var.double() * (count - 1))


@contextmanager
def _observing(model: nn.Module, layers: dict[str, _BatchNorm], moments: dict[str, _Moments]) -> Iterator[None]:
    """Have the layers normalise with batch statistics, leave their own alone, and report what they are given."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        for name, layer in layers.items():
            stack.enter_context(_Observer(layer, moments[name]))
        stack.enter_context(torch.random.fork_rng(devices=list(devices)))
        stack.enter_context(torch.no_grad())
        yield


def _arguments(model: nn.Module, batch: Any, position: int) -> Arguments:
    if isinstance(batch, (tuple, list)) and len(batch) > 2:  # (input, target, what else a loader adds)
        batch = batch[:1]
    return inputs_of(model, batch, "batches", position)


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
