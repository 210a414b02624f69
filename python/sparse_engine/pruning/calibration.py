"""What criteria want to know of data: gradients of the loss, norms of the layers' inputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..measure.eval_mode import eval_mode
from ..measure.model_calls import (
    Arguments,
    every_layer_called,
    examples_in,
    first_of,
    inputs_of,
    real_positions,
    split_batch,
    without_padding,
)
from .targets import CONVOLUTIONS, TRANSPOSED, is_linear, parameters_of, view_of

Loss = Callable[[Any, Any], Tensor]


class Evidence:
    """Filled by `gather`; keyed by layer."""

    def __init__(self, layers: Sequence[Any], seed: int = 0) -> None:
        self.seed = seed
        self.place = {layer: index for index, layer in enumerate(layers)}
        self.gradients: dict[nn.Module, Tensor] = {}
        self.input_norms: dict[nn.Module, Tensor] = {}  # broadcast against the weight
        self.scales: dict[nn.Module, Tensor] = {}  # γ of the batch norm behind a layer, one per output channel

    def gather(self, needs: str, model: nn.Module, data: Iterable[Any], loss: Loss | None) -> None:
        """Run `model` in eval mode over `data`; parameters, their `.grad` and the training flags stay as they are.

        Raises:
            ValueError: no data, or a layer that no batch reached.
        """
        layers = list(self.place)
        with eval_mode(model), every_layer_called():
            if needs == "gradients":
                found, batches = self.gradients, self._gradients(model, layers, data, loss)
            elif needs == "inputs":
                found, batches = self.input_norms, self._inputs(model, layers, data)
            else:
                found, batches = self.scales, self._scales(model, layers, data)
        if batches == 0:
            raise ValueError(
                "data holds no batch; pass an iterable of batches (a list can be read again, a generator only once)"
            )
        require_seen(layers, found, "are followed by no batch normalisation" if needs == "scales" else "saw no data")

    def _gradients(self, model: nn.Module, layers: list[Any], data: Iterable[Any], loss: Loss | None) -> int:
        if loss is None:
            raise ValueError("this criterion needs loss=, a function of the model's output and the batch's target")
        weights = list({id(p): p for layer in layers for p in parameters_of(layer)}.values())
        wanted = [weight.requires_grad for weight in weights]
        totals = [torch.zeros_like(weight) for weight in weights]
        examples, batches = 0, 0
        try:
            for weight in weights:
                weight.requires_grad_(True)
            for batch in data:
                arguments, target, _ = split_batch(model, batch, "data", batches)
                if target is None:
                    raise ValueError("data must give (inputs, target) pairs for a criterion that needs a loss")
                count = examples_in(model, arguments)
                with torch.enable_grad():
                    value = loss(arguments.call(model), target)
                    gradients = torch.autograd.grad(value, weights, allow_unused=True)
                for total, gradient in zip(totals, gradients, strict=True):
                    if gradient is not None:
                        total += gradient * count  # the loss is a mean over the batch
                examples += count
                batches += 1
        finally:
            for weight, requires in zip(weights, wanted, strict=True):
                weight.requires_grad_(requires)
        if examples:
            means = {id(weight): total / examples for weight, total in zip(weights, totals, strict=True)}
            for layer in layers:
                self.gradients[layer] = view_of(layer, [means[id(parameter)] for parameter in parameters_of(layer)])
        return batches

    def _inputs(self, model: nn.Module, layers: list[Any], data: Iterable[Any]) -> int:
        squares: dict[nn.Module, Tensor] = {}
        real: Tensor | None = None

        def watch(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = first_of(args, kwargs).detach()
            added = input_squares(layer, without_padding(x, real) if is_linear(layer) else x)
            squares[layer] = squares[layer] + added if layer in squares else added

        handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in layers]
        batches = 0
        try:
            with torch.no_grad():
                for arguments in calls_of(model, data):
                    real = real_positions(model, arguments)
                    arguments.call(model)
                    batches += 1
        finally:
            for handle in handles:
                handle.remove()
        self.input_norms.update({layer: total.sqrt() for layer, total in squares.items()})
        return batches

    def _scales(self, model: nn.Module, layers: list[Any], data: Iterable[Any]) -> int:
        outputs: list[tuple[nn.Module, Tensor]] = []

        def follows(norm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for layer, output in outputs:
                if output is first_of(args, kwargs) and norm.weight is not None:
                    self.scales[layer] = norm.weight.detach().abs()

        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        handles = [layer.register_forward_hook(lambda m, _, output: outputs.append((m, output))) for layer in layers]
        handles += [norm.register_forward_pre_hook(follows, with_kwargs=True) for norm in norms]
        try:
            with torch.no_grad():
                for arguments in calls_of(model, data):
                    arguments.call(model)
                    return 1
        finally:
            for handle in handles:
                handle.remove()
        return 0


def calls_of(model: nn.Module, data: Iterable[Any]) -> Iterator[Arguments]:
    """What `model` is called with for each batch of `data`, targets left out."""
    for position, batch in enumerate(data):
        yield inputs_of(model, batch, "data", position)


def require_seen(layers: Sequence[Any], found: Any, what: str = "saw no data") -> None:
    """ValueError when some of `layers` are not among `found`."""
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise ValueError(f"{len(missing)} of the selected layers {what}, the first is {missing[0]}; exclude them")


def padded_input(layer: Any, x: Tensor) -> Tensor:
    """What a convolution slides over: its input as a batch, with its padding around it."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    batched = x if x.dim() == len(layer.kernel_size) + 2 else x[None]
    return F.pad(batched, layer._reversed_padding_repeated_twice, mode=mode)


def input_squares(layer: nn.Module, x: Tensor) -> Tensor:
    """Σ x² for each weight of an output channel, over the batch and all positions; broadcasts against the weight."""
    if is_linear(layer):
        return x.reshape(-1, x.shape[-1]).square().sum(0)[None]
    if isinstance(layer, TRANSPOSED):
        return _transposed_squares(layer, x)
    assert isinstance(layer, CONVOLUTIONS)
    axes = len(layer.kernel_size)
    squares = padded_input(layer, x).square()
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    last = [(size - r - 1) // s * s + 1 for size, r, s in zip(squares.shape[2:], reach, stride, strict=True)]
    taps = []
    for tap in product(*map(range, kernel)):
        first = [t * d for t, d in zip(tap, dilation, strict=True)]
        window = tuple(slice(f, f + n, s) for f, n, s in zip(first, last, stride, strict=True))
        taps.append(squares[(slice(None), slice(None), *window)].sum((0, *range(2, axes + 2))))
    return _for_each_output(layer, taps)


def _transposed_squares(layer: Any, x: Tensor) -> Tensor:
    """The same of a transposed convolution: positions whose product with a tap falls outside the output do not count."""
    squares = (x if x.dim() == len(layer.kernel_size) + 2 else x[None]).square()
    sizes = squares.shape[2:]
    ends = [
        (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for size, s, p, d, k, extra in zip(
            sizes, layer.stride, layer.padding, layer.dilation, layer.kernel_size, layer.output_padding, strict=True
        )
    ]
    taps = []
    for tap in product(*map(range, layer.kernel_size)):
        inside = squares
        for axis, (t, size, end) in enumerate(zip(tap, sizes, ends, strict=True)):
            places = torch.arange(size) * layer.stride[axis] + t * layer.dilation[axis] - layer.padding[axis]
            shape = [1] * squares.dim()
            shape[2 + axis] = size
            inside = inside * ((places >= 0) & (places < end)).reshape(shape).to(inside.device)
        taps.append(inside.sum((0, *range(2, squares.dim()))))
    return _for_each_output(layer, taps)


def _for_each_output(layer: Any, taps: list[Tensor]) -> Tensor:
    """(out, in / groups, kernel...) from a value for each tap and input channel."""
    per_group = torch.stack(taps, dim=1).reshape(layer.groups, layer.in_channels // layer.groups, *layer.kernel_size)
    return per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)
