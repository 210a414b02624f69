"""How often a call multiplies by each weight: the one count behind every number of multiply-accumulates.

A product is counted where a weight meets an input: linear layers, convolutions (what a transposed one crops is counted, as
padding is), recurrent layers and cells once a step, and what makes queries, keys, values and the output of torch's attention.
Products without a weight, such as those of queries and keys, are not counted.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .attention import projections
from .evidence import evaluating
from .model_calls import arguments_of, every_layer_called, first_of
from .ranked import TRANSPOSED, WEIGHTED, Part, is_linear, is_turned, masks_on, parameters_of, places_of, weight_of

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
Place = tuple[nn.Module, str]  # a module and the name of one of its weights


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
    return {}


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


def uses_in(module: Any, call: Call, output: Any) -> dict[Place, tuple[int, ...]]:
    """How often one call of `module` multiplies by each of its weights; several numbers are of equal parts of the rows."""
    if not multiplying(module):
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


def _attention_uses(module: Any, call: Call) -> dict[Place, tuple[int, ...]]:
    widths = (module.embed_dim, module.kdim, module.vdim)
    counts = [x.numel() // max(1, width) for x, width in zip(attended(module, call), widths, strict=True)]
    found: dict[Place, tuple[int, ...]] = {(module.out_proj, "weight"): (counts[0],)}
    names = projections(module)
    if len(names) == 1:
        found[(module, names[0])] = tuple(counts)
    else:
        found |= {(module, name): (count,) for name, count in zip(names, counts, strict=True)}
    return found


def macs_of(flags: Tensor, uses: Sequence[int]) -> int:
    """Multiplications by the entries of a weight where `flags` is True."""
    return sum(count * int(part.sum()) for count, part in zip(uses, flags.chunk(len(uses)), strict=True))


class Watch:
    """Hooks on every layer of a model that multiplies; counts calls inside the `with` block, torch's fused path being off.

    Args:
        also: called with module, call and output each time.
    """

    def __init__(self, model: nn.Module, also: Callable[[nn.Module, Call, Any], None] | None = None) -> None:
        self.model, self.also = model, also
        self.uses: dict[Place, tuple[int, ...]] = {}
        self.calls: dict[nn.Module, Call] = {}  # the last of each

    def __enter__(self) -> "Watch":
        layers = [module for module in self.model.modules() if reported(module)]
        self._handles = [layer.register_forward_hook(self._see, with_kwargs=True) for layer in layers]
        self._unfused = every_layer_called()
        self._unfused.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._unfused.__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call = self.calls[module] = Call(args, kwargs)
        if self.also is not None:
            self.also(module, call, output)
        for place, counts in uses_in(module, call, output).items():
            before = self.uses.get(place, (0,) * len(counts))
            self.uses[place] = tuple(a + b for a, b in zip(before, counts, strict=True))


def called(model: nn.Module, layers: Sequence[Any], example_inputs: Any) -> tuple[list[float], dict[nn.Module, Call]]:
    """One call of `model` in eval mode: how often it multiplies by each weight of each layer, and what each was given.

    Parts of layers are not called by themselves: nothing is told of what they are given. Where parts of a weight are used at
    different times (keys of another length than queries), its number is their mean.
    """
    with evaluating(model), torch.no_grad(), Watch(model) as watch:
        arguments_of(model, example_inputs).call(model)
    calls = {layer: watch.calls[layer] for layer in layers if layer in watch.calls}
    return [_uses_of(layer, watch.uses) for layer in layers], calls


def _uses_of(layer: Any, uses: dict[Place, tuple[int, ...]]) -> float:
    found = [uses.get(place, (0,)) for place in places_of(layer)]
    different = {count for counts in found for count in counts}
    if len(different) == 1:
        return different.pop()
    whole = [
        torch.cat([torch.full_like(part, count, dtype=torch.float64) for part, count in zip(p.chunk(len(c)), c, strict=True)])
        for p, c in zip(parameters_of(layer), found, strict=True)
    ]
    return float(layer.view(whole).mean() if isinstance(layer, Part) else whole[0].mean())
