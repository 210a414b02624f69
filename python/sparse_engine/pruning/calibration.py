"""Calibration statistics: what criteria are shown of data. To add one: a class here, given to a criterion as `needs=`.

Importing this needs no torch, because a `Spec` is made without it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..measure.model_calls import Arguments

Loss = Callable[[Any, Any], "Tensor"]


class Statistic:
    """What is gathered of data for each prune target before a criterion scores it."""

    of_calls: ClassVar[bool] = True  # it is that of a layer's inputs or outputs, so that the layer's calls must be known
    of_values: ClassVar[bool] = True  # it depends on what the batches hold, not only on what a call runs
    missing: ClassVar[str] = "saw no data"  # what is said of targets without it

    def gather(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "Mapping[Any, Tensor]":
        """Run `model` in eval mode over `data`; parameters, their `.grad` and the training flags stay as they are.

        Returns:
            A tensor for each of `targets`, which broadcasts against its weight, outputs first.
        Raises:
            ValueError: no data, or a target that no batch reached.
        """
        from ..measure.eval_mode import eval_mode
        from ..measure.model_calls import every_layer_called

        with eval_mode(model), every_layer_called():
            found, batches = self.over(model, targets, data, loss)
        if batches == 0:
            raise ValueError(
                "data holds no batch; pass an iterable of batches (a list can be read again, a generator only once)"
            )
        require_seen(targets, found, self.missing)
        return found

    def over(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "tuple[dict[Any, Tensor], int]":
        """What batches say of the targets that they reach, and how many batches there were."""
        raise AssertionError("every statistic defines this")


class CalibrationStatistics:
    """What a criterion scores prune targets with: a statistic of each, their indices and the seed of chance."""

    def __init__(self, targets: Sequence[Any], seed: int = 0) -> None:
        self.seed = seed
        self.index = {target: index for index, target in enumerate(targets)}
        self._of: Mapping[Any, Tensor] = {}

    def gather(self, needs: Statistic, model: "nn.Module", data: Iterable[Any], loss: Loss | None) -> None:
        """Run `model` over `data`; see `Statistic.gather`."""
        self._of = needs.gather(model, list(self.index), data, loss)

    def __getitem__(self, target: Any) -> "Tensor":
        return self._of[target]


class Gradients(Statistic):
    """The mean gradient of the loss over all examples, of the weight's shape."""

    of_calls = False

    def over(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "tuple[dict[Any, Tensor], int]":
        """Batches are (inputs, target) pairs; the loss is a mean over the batch."""
        import torch

        from ..measure.model_calls import examples_in, split_batch
        from .targets import parameters_of, view_of

        if loss is None:
            raise ValueError("this criterion needs loss=, a function of the model's output and the batch's target")
        weights = list({id(p): p for target in targets for p in parameters_of(target)}.values())
        wanted = [weight.requires_grad for weight in weights]
        totals = [torch.zeros_like(weight) for weight in weights]
        examples, batches = 0, 0
        try:
            for weight in weights:
                weight.requires_grad_(True)
            for batch in data:
                arguments, goal, _ = split_batch(model, batch, "data", batches)
                if goal is None:
                    raise ValueError("data must give (inputs, target) pairs for a criterion that needs a loss")
                count = examples_in(model, arguments)
                with torch.enable_grad():
                    value = loss(arguments.call(model), goal)
                    gradients = torch.autograd.grad(value, weights, allow_unused=True)
                for total, gradient in zip(totals, gradients, strict=True):
                    if gradient is not None:
                        total += gradient * count
                examples += count
                batches += 1
        finally:
            for weight, requires in zip(weights, wanted, strict=True):
                weight.requires_grad_(requires)
        if not examples:
            return {}, batches
        means = {id(weight): total / examples for weight, total in zip(weights, totals, strict=True)}
        return {target: view_of(target, [means[id(p)] for p in parameters_of(target)]) for target in targets}, batches


class InputNorms(Statistic):
    """‖x‖₂ of what each weight is multiplied with, over all batches and positions but padding."""

    def over(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "tuple[dict[Any, Tensor], int]":
        """Layers are watched while the model runs."""
        import torch

        from ..measure.model_calls import first_of, real_positions, without_padding
        from .input_squares import input_squares
        from .targets import is_linear

        squares: dict[Any, Tensor] = {}
        real: Tensor | None = None

        def watch(layer: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = first_of(args, kwargs).detach()
            added = input_squares(layer, without_padding(x, real) if is_linear(layer) else x)
            squares[layer] = squares[layer] + added if layer in squares else added

        handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in targets]
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
        return {layer: total.sqrt() for layer, total in squares.items()}, batches


class BatchNormScales(Statistic):
    """|γ| of the batch normalisation that follows a layer, one for each output channel; the first batch says what follows."""

    of_values = False
    missing = "are followed by no batch normalisation"

    def over(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "tuple[dict[Any, Tensor], int]":
        """A norm follows the layer whose output it is given."""
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        from ..measure.model_calls import first_of
        from .targets import weight_of

        scales: dict[Any, Tensor] = {}
        outputs: list[tuple[nn.Module, Tensor]] = []

        def follows(norm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for layer, output in outputs:
                if output is first_of(args, kwargs) and norm.weight is not None:
                    sides = [1] * (weight_of(layer).dim() - 1)
                    scales[layer] = norm.weight.detach().abs().reshape(-1, *sides)

        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        handles = [layer.register_forward_hook(lambda m, _, output: outputs.append((m, output))) for layer in targets]
        handles += [norm.register_forward_pre_hook(follows, with_kwargs=True) for norm in norms]
        try:
            with torch.no_grad():
                for arguments in calls_of(model, data):
                    arguments.call(model)
                    return scales, 1
        finally:
            for handle in handles:
                handle.remove()
        return scales, 0


class Hessians(Statistic):
    """Σ x·xᵀ of each layer's inputs. Nothing is gathered ahead: `sparsegpt.py` makes each layer's when those before it are
    pruned."""

    def gather(
        self, model: "nn.Module", targets: Sequence[Any], data: Iterable[Any], loss: Loss | None
    ) -> "Mapping[Any, Tensor]":
        """None yet; `data` is not read."""
        return {}


def calls_of(model: "nn.Module", data: Iterable[Any]) -> "Iterator[Arguments]":
    """What `model` is called with for each batch of `data`, targets left out."""
    from ..measure.model_calls import inputs_of

    for index, batch in enumerate(data):
        yield inputs_of(model, batch, "data", index)


def require_seen(targets: Sequence[Any], found: Any, what: str = Statistic.missing) -> None:
    """ValueError when some of `targets` are not among `found`."""
    missing = [target for target in targets if target not in found]
    if missing:
        raise ValueError(f"{len(missing)} of the selected layers {what}, the first is {missing[0]}; exclude them")
