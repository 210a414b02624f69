"""How inputs given by a user become a call of a model: by place, by name, with a target or without, with padding or without.

The rule, everywhere: a tuple is the model's positional arguments, a mapping (a dict, a tokenizer's batch) its keyword
arguments, anything else its one argument. A batch is one of these, or a pair (inputs, target).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

REAL = ("attention_mask", "decoder_attention_mask", "mask")  # arguments that are 0 where there is padding
PADDED = ("key_padding_mask", "src_key_padding_mask", "tgt_key_padding_mask", "padding_mask")  # and not 0 there


class Arguments(NamedTuple):
    """What a model is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """Those among them, in order."""
        return [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor)]

    def call(self, model: Callable[..., Any]) -> Any:
        """The model's output."""
        return model(*self.args, **self.kwargs)


def arguments_of(model: nn.Module, inputs: Any, name: str = "example_inputs") -> Arguments:
    """The arguments of one call of `model`.

    Args:
        inputs: a tuple of positional arguments, a mapping of keyword arguments, or anything else as the only argument; a model
            that takes a dict or tuple as such is given ({...},). A mapping with a single entry whose name `forward` does not
            know gives its only argument.
        name: how the user calls `inputs`, for messages.
    Raises:
        TypeError: a mapping whose names `forward` does not take, or None.
    """
    if inputs is None:
        raise TypeError(f"{name} is None; give a tensor, a tuple of positional arguments or a dict of keyword arguments")
    if isinstance(inputs, Mapping):
        return _named(model, inputs, name)
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):  # a named tuple, such as a packed sequence, is one value
        return Arguments(inputs, {})
    return Arguments((inputs,), {})


def _named(model: nn.Module, inputs: Mapping[Any, Any], name: str) -> Arguments:
    wrong = [key for key in inputs if not isinstance(key, str)]
    if wrong:
        raise TypeError(f"{name} has the key {wrong[0]!r}; a mapping gives keyword arguments, whose names are strings")
    known = _parameters(model)
    taken = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [key for key in inputs if key not in taken]
    if not known or not unknown or any(p.kind == p.VAR_KEYWORD for p in known):
        return Arguments((), dict(inputs))
    if len(inputs) == 1:
        return Arguments(tuple(inputs.values()), {})
    raise TypeError(
        f"{name} names {', '.join(unknown)}, which forward of {type(model).__name__} does not take; it takes "
        f"{', '.join(taken) or 'no names'}: rename or leave out, or give a tuple of positional arguments"
    )


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # a forward that does not tell
        return []


def examples_in(model: nn.Module, arguments: Arguments) -> int:
    """How many examples a call is given: the length of the first tensor, 1 where there is none.

    Of a recurrent layer or cell alone, which may take one example without a dimension for it or steps first: what it takes.
    """
    for value in (*arguments.args, *arguments.kwargs.values()):
        if isinstance(value, PackedSequence):
            return int(value.batch_sizes[0])
        if isinstance(value, Tensor) and value.dim() > 0:
            recurrent = isinstance(model, (nn.RNNBase, nn.RNNCellBase))
            if recurrent and value.dim() == (2 if isinstance(model, nn.RNNBase) else 1):
                return 1
            steps_first = isinstance(model, nn.RNNBase) and not model.batch_first
            return value.shape[1 if steps_first else 0]
    return 1


class Batch(NamedTuple):
    """One batch of a user's data."""

    arguments: Arguments
    target: Any
    paired: bool  # whether a target was given beside the inputs


def split_batch(model: nn.Module, batch: Any, name: str = "data", position: int = 0) -> Batch:
    """Arguments of `model` and the target of a batch.

    Args:
        batch: inputs as `arguments_of` takes them, but for a tuple or list, which is (inputs, target) or (inputs,), the inputs
            being a tuple or list of positional arguments, a mapping, or the only argument. A mapping without a target beside
            it may hold the target, and is its own.
        name, position: which batch of what this is, for messages.
    Raises:
        TypeError: a batch of another form.
    """
    what = f"batch {position} of {name}"
    if isinstance(batch, Mapping):
        return Batch(arguments_of(model, batch, what), batch, False)
    if isinstance(batch, Tensor):
        return Batch(Arguments((batch,), {}), None, False)
    if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
        if len(batch) in (1, 2):
            inputs = tuple(batch[0]) if isinstance(batch[0], list) else batch[0]
            return Batch(arguments_of(model, inputs, what), batch[1] if len(batch) == 2 else None, len(batch) == 2)
        raise TypeError(
            f"{what} is a {type(batch).__name__} of {len(batch)}, which does not say what of it is the target: give (inputs, "
            f"target), inputs being a tensor, a tuple of positional arguments or a dict of keyword arguments"
        )
    raise TypeError(
        f"{what} is a {type(batch).__name__}; it must be a tensor, a dict of keyword arguments, or (inputs, target) with "
        f"inputs a tensor, a tuple of positional arguments or a dict"
    )


def inputs_of(model: nn.Module, batch: Any, name: str = "data", position: int = 0) -> Arguments:
    """The arguments of `model` where no target is wanted.

    As `split_batch`, but that of a pair of token ids and the mask beside them both are arguments: when `forward` calls its
    second argument a mask of padding, and the second entry is one (only 0 and 1, of the shape of the first).
    """
    arguments, target, paired = split_batch(model, batch, name, position)
    if paired and len(arguments.args) == 1 and not arguments.kwargs and isinstance(target, Tensor):
        first = arguments.args[0]
        second = next(iter(_parameters(model)[1:2]), None)
        named = second is not None and second.name in (*REAL, *PADDED)
        if named and isinstance(first, Tensor) and target.shape == first.shape[:2] and _is_mask(target):
            return Arguments((first, target), {})
    return arguments


def _is_mask(value: Tensor) -> bool:
    return value.dim() == 2 and not value.is_complex() and bool(((value == 0) | (value == 1)).all())


def real_positions(model: nn.Module, arguments: Arguments) -> Tensor | None:
    """Which positions, (batch, tokens), are no padding as the mask among the arguments says, or None where there is no mask.

    Of several masks of one shape, encoder and decoder, what neither leaves out counts.
    """
    names = [parameter.name for parameter in _parameters(model)]
    given = {**dict(zip(names, arguments.args, strict=False)), **arguments.kwargs}
    found: Tensor | None = None
    for name, value in given.items():
        if name not in (*REAL, *PADDED) or not isinstance(value, Tensor) or value.dim() != 2 or value.is_floating_point():
            continue
        real = value == 0 if name in PADDED else value != 0
        if found is None:
            found = real
        elif found.shape == real.shape:
            found = found | real
    return found


def without_padding(x: Tensor, real: Tensor | None) -> Tensor:
    """The positions of `x`, (batch, tokens, features) or (batch · tokens, features), that are real: (positions, features);
    `x` itself where it is of another shape."""
    if real is None:
        return x
    if x.dim() == 3 and x.shape[:2] == real.shape:
        return x[real.to(x.device)]
    if x.dim() == 2 and x.shape[0] == real.numel() and real.shape[1] > 1:
        return x[real.reshape(-1).to(x.device)]
    return x


def first_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a layer was given first, by place or by name."""
    return args[0] if args else next(iter(kwargs.values()), None)


@contextmanager
def every_layer_called() -> Iterator[None]:
    """Torch's fused path through transformer layers, which calls none of the layers inside, is off in the `with` block."""
    backend: Any = torch.backends.mha
    was = backend.get_fastpath_enabled()
    backend.set_fastpath_enabled(False)
    try:
        yield
    finally:
        backend.set_fastpath_enabled(was)
