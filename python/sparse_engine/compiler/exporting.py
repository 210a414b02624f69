"""What `torch.export` makes of a model at both batch sizes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..channels.export import Arguments, exported, plain_copy
from .open_axis import BATCH, OpenAxis, differ_in_what_they_hold
from .rules.translation import BATCHES
from .unsupported import UnsupportedModel


class BatchError(ValueError):
    """What is computed depends on the batch size."""


def exports(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], any_batch: bool, opened: OpenAxis = BATCH
) -> list[Any]:
    """The exported programs of a copy without masks, at both of `BATCHES` or with the example alone.

    Raises:
        UnsupportedModel: operations that cannot be exported.
        BatchError, a ValueError: what is computed depends on the batch size. ValueError: on values.
    """
    sizes = [Arguments(tuple(args), dict(kwargs))]
    if any_batch:
        sizes = [resized_arguments(args, kwargs, batch, opened) for batch in BATCHES]
    programs = exports_at(plain_copy(model), sizes)
    if any_batch and opened.longest is None and differ_in_what_they_hold(programs[0], programs[1]):
        raise BatchError(
            f"{type(model).__name__} makes a constant of the batch size: make it of a tensor's own size, as "
            f"x.new_zeros(x.shape[0], 1) does, so that it grows with the batch"
        )
    return programs


def resized_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], length: int, opened: OpenAxis) -> Arguments:
    """An example of inputs whose open axis has this length."""
    return Arguments(
        tuple(resized(a, length, opened.of(i)) for i, a in enumerate(args)),
        {name: resized(a, length, opened.axis) for name, a in kwargs.items()},
    )


def exports_at(model: nn.Module, sizes: Sequence[Arguments]) -> list[Any]:
    """The exported programs of a model without masks for inputs of several batch sizes. Raises as `exports` does."""
    programs = []
    for sized in sizes:
        try:
            programs.append(exported(model, sized, training=False))
        except UnsupportedModel:
            raise
        except Exception as error:  # torch's exporter raises dozens of kinds
            raise ValueError(
                f"torch.export cannot follow {type(model).__name__}: {str(error).strip().splitlines()[0][:200]}. Control flow "
                f"must not depend on values; compile a part of the model that has none"
            ) from error
    check_alike(programs, type(model).__name__)
    return programs


def check_alike(programs: Sequence[Any], name: str) -> None:
    """Raise BatchError where the programs do not consist of the same operations."""
    if _computed(programs[0].graph.nodes) != _computed(programs[-1].graph.nodes):
        raise BatchError(
            f"{name} computes something else for a batch of {BATCHES[0]} than for one of {BATCHES[1]}: a "
            f"compiled model serves every batch size with one program"
        )


def _computed(nodes: Iterable[fx.Node]) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in nodes if node.op != "output"]


def resized(value: Any, batch: int, axis: "int | None" = 0) -> Any:
    """A tensor with `batch` rows, or as long along another axis, the given ones again and again; anything else as it is."""
    if not isinstance(value, Tensor) or axis is None or value.ndim <= axis:
        return value
    rows = torch.arange(batch) % max(1, value.shape[axis])
    return value.detach().index_select(axis, rows).contiguous()
