"""What each layer is given once the layers before it are pruned, with every module computed about once.

To see the inputs of a layer in the middle of a model, all before it has to run. Doing so from the start for each layer costs a
number of passes that grows with the square of the depth. Here a pass ends at the first module that holds a layer still to be
pruned; that module is dealt with alone, from the inputs it was about to be given; and the next pass takes its outputs, as those
of every other module that is done, from what is remembered.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..measure.model_calls import Arguments

REMEMBERED = 1 << 30  # bytes of outputs; modules beyond it run again. Of inputs as many, beyond which `walk` gives up.


class Irregular(Exception):  # noqa: N818
    """The model does not run the same way for all batches, or its tensors are too many to be remembered."""


class _Stop(BaseException):
    """Ends a pass where a module with layers to prune would begin."""

    def __init__(self, module: nn.Module, number: int, arguments: Arguments) -> None:
        self.key, self.arguments = (module, number), arguments


Kept = dict[tuple[nn.Module, int], Any]  # outputs, by module and the number of its call
Solve = Callable[[Any, list[Arguments]], None]


def walk(model: nn.Module, calls: Sequence[Arguments], layers: Sequence[Any], solve: Solve) -> list[Any]:
    """Call `solve(layer, what it is given for each batch)` for every layer that the model reaches, in the order of calls.

    Args:
        calls: what the model is called with, a batch each.
        layers: those to solve; `solve` changes them in place.
    Returns:
        The layers that were not reached.
    Raises:
        Irregular: some layers are solved then, all of them properly; the rest takes another way.
    """
    left = dict.fromkeys(layers)
    _outputs(model, list(calls), left, solve)
    return list(left)


def _outputs(module: nn.Module, calls: list[Arguments], left: dict[Any, None], solve: Solve) -> list[Any]:
    """What `module` gives for each of `calls`, the layers in it solved."""
    if module in left:
        solve(module, calls)
        del left[module]
        return [module.forward(*call.args, **call.kwargs) for call in calls]
    remembered: list[Kept] = [{} for _ in calls]
    while True:
        ends = _Passes(module, left).run(calls, remembered)
        stops = [end for end in ends if isinstance(end, _Stop)]
        if not stops:
            return ends
        if len(stops) < len(ends) or len({stop.key for stop in stops}) > 1:
            raise Irregular("batches take different ways")
        inputs = [stop.arguments for stop in stops]
        if sum(_bytes([i.args, i.kwargs]) for i in inputs) > REMEMBERED:
            raise Irregular("inputs take too much memory")
        inner, number = stops[0].key
        before = len(left)
        results = _outputs(inner, inputs, left, solve)
        if len(left) == before:
            raise Irregular(f"{type(inner).__name__} does not call its layers")
        for kept, result in zip(remembered, results, strict=True):
            kept[inner, number] = result


class _Passes:
    """Passes of `module` in which the modules inside answer from memory, and those that hold a layer of `left` end the pass."""

    def __init__(self, module: nn.Module, left: dict[Any, None]) -> None:
        self.module = module
        inside = [m for m in module.modules() if m is not module and not isinstance(m, torch.jit.ScriptModule)]
        self.holding = {m for m in inside if any(part in left for part in m.modules())}
        self.inside = [m for m in inside if m in self.holding or next(m.parameters(), None) is not None]
        self.numbers: Counter[nn.Module] = Counter()
        self.kept: Kept = {}
        self.within = False  # a module whose own parts need not be remembered
        self.size = 0

    def run(self, calls: list[Arguments], remembered: list[Kept]) -> list[Any]:
        """The output or the stop of each call."""
        own = {module: module.__dict__.get("forward") for module in self.inside}
        self.size = sum(_bytes(list(kept.values())) for kept in remembered)
        ends: list[Any] = []
        try:
            for module in self.inside:
                module.__dict__["forward"] = self._answering(module, module.forward)
            for call, self.kept in zip(calls, remembered, strict=True):
                self.numbers.clear()
                self.within = False
                args, kwargs = _copied((call.args, call.kwargs))
                try:
                    ends.append(self.module.forward(*args, **kwargs))
                except _Stop as stop:
                    ends.append(stop)
        finally:
            for module, forward in own.items():
                if forward is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = forward
        return ends

    def _answering(self, module: nn.Module, forward: Any) -> Any:
        def answer(*args: Any, **kwargs: Any) -> Any:
            if self.within:
                return forward(*args, **kwargs)
            number = self.numbers[module]
            self.numbers[module] += 1
            if (module, number) in self.kept:
                return _copied(self.kept[module, number])
            if module in self.holding:
                raise _Stop(module, number, Arguments(args, kwargs))
            given = _tensors([args, kwargs])
            versions = [_version(x) for x in given]
            self.within = True
            try:
                output = forward(*args, **kwargs)
            finally:
                self.within = False
            self._remember((module, number), output, given, versions)
            return output

        return answer

    def _remember(self, key: tuple[nn.Module, int], output: Any, given: list[Tensor], versions: list[int]) -> None:
        # What writes into its inputs, or hands them on, does more than its output tells: it runs again.
        addresses = {x.untyped_storage().data_ptr() for x in given}
        aliased = any(x.untyped_storage().data_ptr() in addresses for x in _tensors(output))
        size = _bytes(output)
        if not aliased and versions == [_version(x) for x in given] and self.size + size <= REMEMBERED:
            self.kept[key] = _copied(output)
            self.size += size


def _copied(value: Any) -> Any:
    """The value with tensors and objects of its own, so that what is done to it in place is done to the copy."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(_copied(part) for part in value)
    if type(value) is dict:
        return {name: _copied(part) for name, part in value.items()}
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device)):
        return value
    try:
        return copy.deepcopy(value)
    except Exception as error:
        raise Irregular(f"{type(value).__name__} cannot be copied") from error


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _bytes(value: Any) -> int:
    return sum(x.numel() * x.element_size() for x in _tensors(value))


def _version(x: Tensor) -> int:
    return -1 if x.is_inference() else x._version
