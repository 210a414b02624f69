"""How often a call multiplies by each weight: the one count behind every number of multiply-accumulates.

A product is counted where a weight meets an input: linear layers, convolutions (what a transposed one crops is counted, as
padding is), recurrent layers and cells once a step, what makes queries, keys, values and the output of torch's attention, and
the products that a forward of somebody else's is seen to make (`products.py`, and batched ones).
Products without a weight, such as those of queries and keys, are not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from ..measure.eval_mode import eval_mode
from ..measure.model_calls import arguments_of, every_layer_called, first_of
from ..nn.base import masks_on
from ..nn.fallback import dense_only
from ..nn.products import Convolution, Product, Products
from .heads import projections
from .module_weights import weights_of
from .targets import TRANSPOSED, WEIGHTED, PartialTarget, is_linear, is_turned, owners_of, parameters_of, weight_of

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
Owner = tuple[nn.Module, str]  # a module and the name of one of its weights


class Call(NamedTuple):
    """What a layer was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def x(self) -> Any:
        """The first argument, however it was given."""
        return first_of(self.args, self.kwargs)


def multiplying(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of `module` itself that meet its inputs, by name; none for a module that holds no such layer."""
    if isinstance(module, WEIGHTED) or is_linear(module):
        return {"weight": module.weight}  # type: ignore[dict-item]
    if isinstance(module, RECURRENT):
        return {name: p for name, p in module.named_parameters(recurse=False) if name.startswith("weight_")}
    if isinstance(module, nn.MultiheadAttention):
        return {name: getattr(module, name) for name in projections(module)}
    return _inside(module)


def _inside(module: nn.Module) -> dict[str, Tensor]:
    """The weights by which a forward of somebody else's is expected to multiply, or that are under masks there."""
    if isinstance(module, RECURRENT) or "parametrizations" in vars(module).get("_modules", {}):
        return {}
    masked = masks_on(module)
    found = {weight.parameter for weight in weights_of("", module) if not weight.doubt or weight.parameter in masked}
    return {name: p for name, p in module.named_parameters(recurse=False) if name in found and p.dim() > 1 and not is_lazy(p)}


def has_own_forward(module: nn.Module) -> bool:
    """Whether what `module` multiplies by is known only from the products that its forward makes."""
    known = isinstance(module, (*WEIGHTED, *RECURRENT, nn.MultiheadAttention)) or is_linear(module)
    return not known and bool(_inside(module))


def reported(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of `module` itself that meet its inputs or are under masks, by name."""
    masked = {name: getattr(module, name) for name in masks_on(module)}
    return multiplying(module) | masked


def flags_of(module: nn.Module, name: str) -> Tensor:
    """Which entries of a weight are there, a bool tensor of its shape: those its mask keeps, or that are not 0 without a mask.

    A weight that is 0 throughout and under no mask has not begun to learn (a head, an adapter that starts at 0): it is there.
    """
    weight: Tensor = getattr(module, name).detach()
    mask = masks_on(module).get(name)
    if mask is not None:
        return torch.from_numpy(mask.to_numpy()).to(weight.device)
    flags = weight != 0
    return flags if flags.any() else torch.ones_like(flags)


def uses_in(module: Any, call: Call, output: Any) -> dict[Owner, tuple[int, ...]]:
    """How often one call of `module` multiplies by each of its weights; several numbers are of equal parts of the rows."""
    if not multiplying(module) or has_own_forward(module):
        return {}
    if isinstance(module, nn.MultiheadAttention):
        return _attention_uses(module, call)
    if isinstance(module, TRANSPOSED):
        count = call.x.numel() // max(1, module.in_channels)
    elif isinstance(module, RECURRENT):
        given = call.x.data if isinstance(call.x, PackedSequence) else call.x
        count = given.numel() // max(1, given.shape[-1])
    else:
        count = output.numel() // max(1, module.weight.shape[1] if is_turned(module) else weight_of(module).shape[0])
    return {(module, name): (count,) for name in multiplying(module)}


def attended(module: nn.Module, call: Call) -> list[Tensor]:
    """Queries, keys and values that torch's attention was called with."""
    given = {**dict(zip(("query", "key", "value"), call.args, strict=False)), **call.kwargs}
    return [given[name] for name in ("query", "key", "value")]


def _attention_uses(module: Any, call: Call) -> dict[Owner, tuple[int, ...]]:
    widths = (module.embed_dim, module.kdim, module.vdim)
    counts = [x.numel() // max(1, width) for x, width in zip(attended(module, call), widths, strict=True)]
    found: dict[Owner, tuple[int, ...]] = {(module.out_proj, "weight"): (counts[0],)}
    names = projections(module)
    if len(names) == 1:
        found[(module, names[0])] = tuple(counts)
    else:
        found |= {(module, name): (count,) for name, count in zip(names, counts, strict=True)}
    return found


def macs_of(flags: Tensor, uses: Sequence[int]) -> int:
    """Multiplications by the entries of a weight where `flags` is True."""
    return sum(count * int(part.sum()) for count, part in zip(uses, flags.chunk(len(uses)), strict=True))


class _Counted(Products):
    """Counts the products that a forward makes with some weights, and lets torch make them."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.uses = module, dict[Owner, tuple[int, ...]]()
        self.weights = _inside(module)
        super().__init__(self.weights, self._note)

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Torch's call; batched products, which no kernel here takes, are counted too."""
        if function in _BATCHED and len(args) == 2 and isinstance(args[1], Tensor) and args[1].dim() == 3:
            factor = self._factor(args[1])
            if factor is not None:
                self._add(factor.parameter, (args[0].shape[-2] if args[0].dim() > 1 else 1,) * len(args[1]))
        return super().__torch_function__(function, types, args, kwargs)

    def _note(self, product: Product) -> None:
        name, matrix, _ = product.factor
        weight = self.weights[name]
        if product.convolution is None:
            count = product.x.numel() // max(1, product.x.shape[-1])
        else:
            count = positions(product.x, weight, product.convolution)
        counts = (count,) if matrix is None else tuple(count * (index == matrix) for index in range(len(weight)))
        self._add(name, counts)

    def _add(self, name: str, counts: tuple[int, ...]) -> None:
        self.uses[self.module, name] = _sum(self.uses.get((self.module, name)), counts)


_BATCHED = (torch.bmm, Tensor.bmm, torch.matmul, Tensor.matmul, Tensor.__matmul__)


def _sum(before: tuple[int, ...] | None, counts: tuple[int, ...]) -> tuple[int, ...]:
    return counts if before is None else tuple(a + b for a, b in zip(before, counts, strict=True))


def positions(x: Tensor, weight: Tensor, how: Convolution) -> int:
    """Of all images together, where a convolution is computed."""
    axes = weight.dim() - 2
    count = x.shape[0] if x.dim() == axes + 2 else 1
    for axis, (side, taps) in enumerate(zip(x.shape[-axes:], weight.shape[2:], strict=True)):
        if how.padding == "same":
            count *= side
            continue
        stride, padding, dilation = (
            value if isinstance(value, int) else value[axis % len(value)]
            for value in (how.stride, 0 if how.padding == "valid" else how.padding, how.dilation)
        )
        count *= (side + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    return count


class Watch:
    """Hooks on every layer of a model that multiplies; counts calls inside the `with` block.

    Everything runs dense there, on torch's unfused paths: what is counted is what the model asks for, whichever kernel is
    fastest and however often it is tried.

    Args:
        also: called with module, call and what it multiplied by each time.
    """

    def __init__(
        self, model: nn.Module, also: Callable[[nn.Module, Call, Mapping[Owner, tuple[int, ...]]], None] | None = None
    ) -> None:
        self.model, self.also = model, also
        self.uses: dict[Owner, tuple[int, ...]] = {}
        self.calls: dict[nn.Module, Call] = {}  # the last of each

    def __enter__(self) -> "Watch":
        layers = [module for module in self.model.modules() if reported(module)]
        self._handles: list[Any] = [layer.register_forward_hook(self._see, with_kwargs=True) for layer in layers]
        self._handles += [layer.register_forward_pre_hook(self._begin) for layer in layers if has_own_forward(layer)]
        self._counting: list[_Counted] = []
        self._modes = ExitStack()
        self._modes.enter_context(dense_only())
        self._modes.enter_context(every_layer_called())
        return self

    def __exit__(self, *error: Any) -> None:
        while self._counting:  # of calls that failed
            self._counting.pop().__exit__(*error)  # type: ignore[no-untyped-call]
        self._modes.__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, _args: tuple[Any, ...]) -> None:
        self._counting.append(_Counted(module))
        self._counting[-1].__enter__()  # type: ignore[no-untyped-call]

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call = self.calls[module] = Call(args, kwargs)
        if self._counting and self._counting[-1].module is module:
            counted = self._counting.pop()
            counted.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            uses = counted.uses
        else:
            uses = uses_in(module, call, output)
        if self.also is not None:
            self.also(module, call, uses)
        for owner, counts in uses.items():
            self.uses[owner] = _sum(self.uses.get(owner), counts)


def called(model: nn.Module, layers: Sequence[Any], example_inputs: Any) -> tuple[list[float], dict[nn.Module, Call]]:
    """One call of `model` in eval mode: how often it multiplies by each weight of each layer, and what each was given.

    Parts of layers are not called by themselves: nothing is told of what they are given. Where parts of a weight are used at
    different times (keys of another length than queries), its number is their mean.
    """
    with eval_mode(model), torch.no_grad(), Watch(model) as watch:
        arguments_of(model, example_inputs).call(model)
    calls = {layer: watch.calls[layer] for layer in layers if layer in watch.calls}
    return [_uses_of(layer, watch.uses) for layer in layers], calls


def _uses_of(layer: Any, uses: dict[Owner, tuple[int, ...]]) -> float:
    found = [uses.get(owner, (0,)) for owner in owners_of(layer)]
    different = {count for counts in found for count in counts}
    if len(different) == 1:
        return different.pop()
    whole = [
        torch.cat([torch.full_like(part, count, dtype=torch.float64) for part, count in zip(p.chunk(len(c)), c, strict=True)])
        for p, c in zip(parameters_of(layer), found, strict=True)
    ]
    return float(layer.view(whole).mean() if isinstance(layer, PartialTarget) else whole[0].mean())
