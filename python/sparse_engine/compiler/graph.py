"""What a model computes: values and the nodes that make them. No layout, no machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """A size that may depend on the batch: `fixed + per_item · N`."""

    fixed: int
    per_item: int = 0

    def at(self, batch: int) -> int:
        """The size at a batch of `batch`."""
        return self.fixed + self.per_item * batch

    def __str__(self) -> str:
        if self.per_item == 0:
            return str(self.fixed)
        grows = "N" if self.per_item == 1 else f"{self.per_item}N"
        return grows if self.fixed == 0 else f"{grows}+{self.fixed}"


Shape = tuple[Size, ...]


@dataclass(eq=False)
class Value:
    """A tensor of 32-bit floats: an input, a result, or a constant. Integers and truth values are whole numbers in it.

    Attributes:
        dtype: of an input, what the caller gives; of an output, what the caller gets.
    """

    name: str
    shape: Shape
    constant: Array | None = None
    dtype: str = "float32"

    @property
    def number(self) -> float | None:
        """What a constant of one element holds."""
        return None if self.constant is None or self.constant.size != 1 else float(self.constant.reshape(-1)[0])

    def __str__(self) -> str:
        return f"%{self.name}({', '.join(map(str, self.shape))})"


@dataclass(eq=False)
class Node:
    """One operation.

    Attributes:
        op: one of `OPERATIONS`.
        path: the module it comes from.
        inputs: values read; what an operation expects stands in `OPERATIONS`.
        output: the value made.
        weight: (rows, columns) of a product, or of a recurrence's; several nodes may hold the same array.
        bias: (rows,) or None.
        residual: a value of the output's shape that is added before the activation.
        activation: applied last, "none" for none.
        slope: of the activations leaky_relu and elu.
        numbers: the operation's parameters, in the order of the program's (cpp/include/sparse_engine/operations.inc).
        scale, shift: of a batch norm, float64, per channel.
    """

    op: str
    path: str
    inputs: list[Value]
    output: Value
    weight: Array | None = None
    bias: NDArray[np.floating] | None = None
    residual: Value | None = None
    activation: str = "none"
    slope: float = 1.0
    numbers: tuple[int, ...] = ()
    scale: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None

    @property
    def reads(self) -> list[Value]:
        """Every value that has to be there first."""
        return [*self.inputs, *([self.residual] if self.residual is not None else [])]

    @property
    def is_product(self) -> bool:
        """Whether a weight is multiplied."""
        return self.op in PRODUCTS

    def __str__(self) -> str:
        extra = [f"{self.weight.shape[0]}x{self.weight.shape[1]}"] if self.weight is not None else []
        extra += [f"+ {self.residual}"] if self.residual is not None else []
        extra += [self.activation] if self.activation != "none" else []
        reads = ", ".join(map(str, self.inputs))
        return f"{self.output} = {self.op}({reads}){' ' if extra else ''}{', '.join(extra)}  # {self.path}"


Makers = dict[Value, Node]
Readers = dict[Value, list[Node]]
CONVOLUTIONS = ("conv2d", "conv3d")
PRODUCTS = (*CONVOLUTIONS, "linear")
RECURRENT = ("lstm", "gru")  # a product in every step
ELEMENTWISE = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal", "equal", "keep")
# What passes and the program know, and how many inputs each has (None: one or more).
OPERATIONS: dict[str, int | None] = {
    **dict.fromkeys(PRODUCTS, 1),
    "max_pool": 1,
    "average_pool": 1,
    "adaptive_max_pool": 1,
    "adaptive_average_pool": 1,
    "resize": 3,
    "mean": 1,
    "sum": 1,
    **dict.fromkeys(ELEMENTWISE, 2),
    "activation": 1,
    "concat": None,
    "reshape": 1,
    "expand": 1,
    "prefix": 1,
    "permute": 1,
    "slice": 1,
    "pad": 2,
    "softmax": 1,
    "layer_norm": None,
    "rms_norm": None,
    "gather": 2,
    "write_rows": 3,
    "matmul": 2,
    "attention": None,
    **dict.fromkeys(RECURRENT),
    "batch_norm": 1,  # until it is folded
}


@dataclass(eq=False)
class Graph:
    """Nodes in an order they can run in."""

    inputs: list[Value]
    outputs: list[Value]
    nodes: list[Node] = field(default_factory=list)

    def readers(self) -> Readers:
        """The nodes that read each value, once for each time they read it."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.reads:
                found.setdefault(value, []).append(node)
        return found

    def makers(self) -> Makers:
        """The node that makes each value."""
        return {node.output: node for node in self.nodes}

    def only_reader(self, value: Value, readers: Readers) -> Node | None:
        """The node that alone reads a value which is no output; None where there is none, or it reads it twice."""
        found = readers.get(value, [])
        return found[0] if len(found) == 1 and value not in self.outputs else None

    def replace(self, old: Value, new: Value) -> None:
        """Let everything that reads `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if value is old else value for value in node.inputs]
            node.residual = new if node.residual is old else node.residual
        self.outputs = [new if value is old else value for value in self.outputs]

    def remove(self, gone: Iterable[Node]) -> None:
        """Take nodes out; nothing may read them any more."""
        dead = set(map(id, gone))
        self.nodes = [node for node in self.nodes if id(node) not in dead]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __str__(self) -> str:
        lines = [f"inputs {', '.join(map(str, self.inputs))}", *map(str, self.nodes)]
        return "\n".join([*lines, f"outputs {', '.join(map(str, self.outputs))}"])

    def check(self) -> None:
        """Raise AssertionError where this is no graph: run after every pass by the tests."""
        known = set(map(id, self.inputs))
        for node in self.nodes:
            assert node.op in OPERATIONS, f"{node.op} is no operation"
            count = OPERATIONS[node.op]
            assert count is None or len(node.inputs) == count, f"{node} has {len(node.inputs)} inputs"
            for value in node.reads:
                assert value.constant is not None or id(value) in known, f"{node} reads {value} before anything makes it"
            assert id(node.output) not in known, f"{node.output} is made twice"
            weighted = node.is_product or node.op in RECURRENT
            assert (node.weight is not None) == weighted, f"{node}: products and nothing else have weights"
            if node.weight is not None:
                assert node.weight.ndim == 2, f"{node}: its weight has shape {node.weight.shape}"
                assert node.bias is None or node.bias.shape == node.weight.shape[:1], f"{node}: its bias does not fit"
            assert node.residual is None or node.residual.shape == node.output.shape, f"{node}: its residual does not fit"
            known.add(id(node.output))
        for value in self.outputs:
            assert id(value) in known, f"output {value} is made by nothing"


def elements(shape: Shape, batch: int) -> int:
    """How many elements there are at a batch of `batch`."""
    return prod(size.at(batch) for size in shape)
