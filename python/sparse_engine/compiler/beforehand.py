"""What depends on parameters, buffers and sizes alone: computed while a model is captured, as torch computes it.

Constants are torch's own tensors, and views of them its own views: an operation in place on one changes all that share its
memory, as it does in the model. A value of the program that was made of a constant holds what that was then.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from .graph import Value
from .open_axis import at_every_length
from .rules.registry import name_of
from .rules.translation import Grown, Translation, path_of
from .unsupported import Refused, UnsupportedModel

# Operations that look at the dtype of one operand, by its number, and at none of its elements; those below at its shape too.
_LEND_DTYPE = {"new_zeros": 0, "new_ones": 0, "new_full": 0, "new_empty": 0, "type_as": 1}
_LEND_SHAPE = {
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), 0),
    **dict.fromkeys(("expand_as", "view_as", "reshape_as"), 1),
}
_OF_NUMBERS = ("_operator", "math", "builtins")  # modules of functions of numbers


class Beforehand(Translation):
    """A translation that computes constants at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As a translation."""
        super().__init__(*args, **kwargs)
        self._shared: set[int] = set()  # memory that the model keeps from call to call, or that there is of several lengths
        self._overwritten: list[Tensor] = []  # kept, so that no other tensor takes their place in memory

    def hold(self, node: fx.Node, tensor: Tensor) -> None:
        """A parameter, a buffer or a constant of the model, which nothing may write to."""
        self.tensors[node] = tensor
        self._share(tensor)

    def note_grown(self, node: fx.Node, made: Grown) -> bool:
        """Keep a constant that may differ with the length; whether the longest begins as the shorter ones are."""
        if not made.is_beginning():
            return False
        for tensor in made.all:
            self._share(tensor)
        if made.longest.shape == made.first.shape:
            self.tensors[node] = made.longest
        else:
            self.grown[node] = made
        return True

    def is_ahead(self, node: fx.Node) -> bool:
        """Whether a node is still to be looked at."""
        return node not in self.values and node not in self.lists and not self.is_known(node)

    def known_beforehand(self, node: fx.Node) -> bool:
        """Compute an operation on constants alone; whether it is one.

        Raises:
            UnsupportedModel: it writes to a parameter or a buffer, or to memory of which a computed value is a view.
        """
        target: Any = node.target
        if not isinstance(target, torch._ops.OpOverload):
            return self._known_outside_torch(node)
        if target.namespace != "aten" or torch.Tag.nondeterministic_seeded in target.tags:
            return False
        stands_in = self._without_elements(node)
        sources = [source for source in node.all_input_nodes if source not in stands_in]
        if not all(self.is_known(source) or source in self.grown for source in sources):
            return False
        if not self._is_alike(node) or any(source in self.grown for source in sources):
            at_lengths = self.longest is not None and not target._schema.is_mutable and isinstance(node.meta.get("val"), Tensor)
            return at_lengths and self._known_at_every_length(node)
        for written in _written(node):
            self._check_write(node, written)
        with torch.no_grad():
            self._keep(node, target(*self._constants_of(node.args, stands_in), **self._constants_of(node.kwargs, stands_in)))
        return True

    def _is_alike(self, node: fx.Node) -> bool:
        """Whether both exports give the operation the same arguments."""
        other = self.other(node)
        return str((node.args, node.kwargs)) == str((other.args, other.kwargs))

    def _known_outside_torch(self, node: fx.Node) -> bool:
        target: Any = node.target
        if target is operator.getitem and node.args[0] in self.constant_lists:
            several: Any = node.args[0]
            self._keep(node, self.constant_lists[several][int(node.args[1])])  # type: ignore[arg-type]
            return True
        of_numbers = getattr(target, "__module__", "") in _OF_NUMBERS and node.all_input_nodes
        if not of_numbers or any(source not in self.numbers for source in node.all_input_nodes):
            return False
        if not self._is_alike(node):
            return False
        self._keep(node, target(*self._constants_of(node.args, {}), **self._constants_of(node.kwargs, {})))
        return True

    def _without_elements(self, node: fx.Node) -> dict[fx.Node, Tensor]:
        """A computed operand that only lends its dtype and shape, which does not grow, and a tensor of them in its place."""
        name = name_of(node)
        number = {**_LEND_DTYPE, **_LEND_SHAPE}.get(name)
        source: Any = None if number is None or number >= len(node.args) else node.args[number]
        known = source.meta.get("val") if isinstance(source, fx.Node) and not self.is_known(source) else None
        if not isinstance(known, Tensor) or any(size.per_item for size in self.shape(node)):
            return {}
        if name in _LEND_DTYPE:
            return {source: torch.empty((), dtype=known.dtype)}
        whole = all(isinstance(size, int) for size in known.shape)
        return {source: torch.empty(known.shape, dtype=known.dtype)} if whole else {}

    def _constants_of(self, argument: Any, stands_in: dict[fx.Node, Tensor]) -> Any:
        def constant_of(source: fx.Node) -> Any:
            if source in stands_in:
                return stands_in[source]
            return self.numbers[source] if source in self.numbers else self.tensors[source].detach()

        return fx.map_arg(argument, constant_of)

    def _keep(self, node: fx.Node, made: Any) -> None:
        if isinstance(made, Tensor):
            self.tensors[node] = made
        elif isinstance(made, (list, tuple)):
            self.constant_lists[node] = list(made)
        else:  # nothing, where it is a check that has passed
            self.numbers[node] = made

    def _known_at_every_length(self, node: fx.Node) -> bool:
        assert self.longest is not None
        if any(source in self.numbers for source in node.all_input_nodes):
            return False
        try:
            made = at_every_length(node, self.other(node), self.longest, self.tensors, self.grown)
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"longest is {self.longest}, for which {name_of(node)} in {path_of(node) or 'the model itself'} fails: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        return made is not None and self.note_grown(node, made)

    # --- operations in place

    def _check_write(self, node: fx.Node, target: fx.Node) -> None:
        """Refuse to write to what outlives a call, and to what a value was made a view of that is still to be read."""
        memory = _memory(self.tensors[target])
        if memory in self._shared:
            raise UnsupportedModel([Refused(name_of(node), path_of(node), "in place on a parameter or a constant")])
        views: set[fx.Node] = set()
        for made in self._other:
            if made is not node and (made in self.values or made in self.lists):
                lies_in = any(
                    source in views or (source in self.tensors and _memory(self.tensors[source]) == memory)
                    for source in made.all_input_nodes
                )
                if lies_in and _is_view(made.target):
                    views.add(made)
        self._refuse_if_read(node, views)

    def overwrite_constant(self, node: fx.Node, target: fx.Node, value: Value) -> None:
        """A computed value takes the place of a constant that an operation in place wrote it to.

        Raises:
            UnsupportedModel: it is a parameter or a buffer, or a view of its memory is still to be read.
        """
        if target not in self.tensors:
            raise UnsupportedModel([Refused(name_of(node), path_of(node), "in place on a parameter or a constant")])
        self._check_write(node, target)
        whole = self.tensors[target]
        parts = [several for several, held in self.constant_lists.items() if _memory(whole) in map(_memory, held)]
        for other, held in list(self.tensors.items()):
            if _memory(held) != _memory(whole):
                continue
            if _place(held) == _place(whole):
                self._overwritten.append(self.tensors.pop(other))
                self.values[other] = value
            else:
                parts.append(other)
        self._refuse_if_read(node, parts)

    def _refuse_if_read(self, node: fx.Node, views: Any) -> None:
        if any(self.is_ahead(user) for view in views for user in view.users):
            raise UnsupportedModel([Refused(name_of(node), path_of(node), "in place on memory that a view is read of")])

    def _share(self, tensor: Tensor) -> None:
        if tensor.numel():
            self._shared.add(_memory(tensor))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _is_view(target: "Callable[..., Any] | str") -> bool:
    """Whether a result may be memory of an operand."""
    if target is operator.getitem:
        return True
    return isinstance(target, torch._ops.OpOverload) and any(made.alias_info is not None for made in target._schema.returns)


def _written(node: fx.Node) -> list[fx.Node]:
    """The operands that an operation writes to."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    changed = [given.get(a.name) for a in schema if a.alias_info is not None and a.alias_info.is_write]
    return [source for source in pytree.tree_leaves(changed) if isinstance(source, fx.Node)]
