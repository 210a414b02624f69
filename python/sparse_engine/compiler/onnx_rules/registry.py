"""Rules by the name of the ONNX operation they are for, and what a rule is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..rules import RefusedError

__all__ = ["DTYPES", "RULES", "Call", "Known", "RefusedError", "Rule", "rule"]


# What inputs become, by ONNX's data types; half and bfloat16 are computed in float32.
DTYPES = {
    1: torch.float32,
    10: torch.float32,
    16: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}


@dataclass(frozen=True)
class Known:
    """A value that depends on the file and on shapes alone.

    Attributes:
        array: of any dtype.
        held: the same as a buffer of the module, where it is a weight: it then stays shared, and is never copied.
    """

    array: NDArray[Any]
    held: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        """As an operand of computed values: floats as float32."""
        if self.held is not None:
            return self.held
        array = self.array
        if array.dtype.kind not in "biu":
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape).copy())


@dataclass(frozen=True)
class Call:
    """One operation of a file with what it reads, at least one of it computed.

    Attributes:
        op: its name in ONNX.
        attributes: those that the file gives.
        inputs: values in ONNX's order, None for one that is left out.
        outputs: how many results are read.
        opset: the version of ONNX's operations that the file follows.
    """

    op: str
    attributes: dict[str, Any]
    inputs: Sequence["Tensor | Known | None"]
    outputs: int
    opset: int

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def x(self, index: int = 0) -> Tensor:
        """An input as a tensor."""
        value = self.inputs[index]
        if value is None:
            raise RefusedError(f"without its input {index + 1}")
        return value.tensor if isinstance(value, Known) else value

    def known(self, index: int, what: str) -> NDArray[Any]:
        """An input that must not depend on values."""
        value = self.inputs[index]
        if not isinstance(value, Known):
            raise RefusedError(f"its {what} is computed, not a constant")
        return value.array

    def integers(self, index: int, what: str) -> list[int]:
        """A known input as a list of integers."""
        return [int(n) for n in self.known(index, what).reshape(-1)]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word; onnx gives bytes."""
        value = self.get(name, default)
        return value if isinstance(value, str) else str(value.decode())

    def listed(self, name: str, index: int, what: str) -> "list[int] | None":
        """Integers that are an attribute in old versions of an operation, an input in new ones; None where neither is given."""
        if self.has(index):
            return self.integers(index, what)
        given = self.get(name)
        return None if given is None else [int(n) for n in given]

    def other(self, op: str, inputs: Sequence["Tensor | Known | None"], **attributes: Any) -> Tensor:
        """The result of another operation of ONNX that this one is made of."""
        made = RULES[op](Call(op, attributes, inputs, 1, self.opset))
        assert isinstance(made, Tensor)
        return made


# The result, or all of them where the operation has several.
Rule = Callable[[Call], "Tensor | list[Tensor]"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function for operations by name: the same in torch, on real tensors as on those of torch.export."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register
