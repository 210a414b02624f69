"""Which nodes of an ONNX graph are covered."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...onnx_files.extraction import reads_of
from ...onnx_files.reading import OnnxFile, plain
from ..onnx_module import RESHAPED, OnnxOperation
from ..onnx_rules import RULES, Known
from ..rules.translation import BATCHES
from ..unsupported import Refused, UnsupportedModel
from .model import Shape
from .partition import Part, Unit, partition

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention", "FusedMatMul")
OPEN = ("NonZero", "NonMaxSuppression", "Unique", "Compress", "If", "Loop", "Scan", "StringSplit")  # sizes depend on values
# Inputs that sizes of results depend on, of operations where they may be computed.
SIZED_BY = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "TopK": (1,),
    "OneHot": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CenterCropPad": (1,),
    "DFT": (1, 2),
}
ENTERS = ("float32", "float16", "bool")  # dtypes of values that a program may have; 16-bit floats become float32


class OnnxCoverage:
    """Nodes of a graph, by their numbers, and its values, by their names.

    What depends on constants and shapes alone belongs to every segment that reads it and is in none of its own.

    Attributes:
        file, whole: the file, and the model with all of its tensors inside.
        uncovered: why each node that cannot be compiled cannot.
    """

    def __init__(self, file: OnnxFile, whole: Any, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
        """`first`, `second`: every value at two batch sizes, or the same twice where the batch is fixed."""
        self.file, self.whole, self._first, self._second = file, whole, first, second
        self.uncovered: dict[int, Refused] = {}
        self._nodes = list(whole.graph.node)
        self._outputs = {value.name for value in whole.graph.output}
        self._known: dict[str, NDArray[Any]] = dict(file.constants)
        self._known_makers: dict[str, int] = {}
        self._makers: dict[str, int] = {}
        self._left: set[int] = set()  # nodes on constants that make an output
        self._open = {name for name in first if self._sizes(name) is None}
        read = {name for node in self._nodes for name in reads_of(node)} | self._outputs
        with torch.no_grad():
            for number, node in enumerate(self._nodes):
                self._look(number, node, OnnxOperation(node, file.opset, read))

    def parts(self) -> list[Part]:
        """Segments, with the numbers of their nodes."""
        numbers = sorted(set(self._makers.values()))
        units = [
            Unit(
                tuple(self._sources([number])[1]),
                tuple(name for name in self._nodes[number].output if name),
                number not in self.uncovered and number not in self._left,
                self._nodes[number].op_type in PRODUCTS,
            )
            for number in numbers
        ]
        sizes = {name: int(value.size) for name, value in self._first.items() if isinstance(value, np.ndarray)}
        return [Part(part.compiled, [numbers[unit] for unit in part.units]) for part in partition(units, sizes)]

    def refuse(self, found: Mapping[int, Refused]) -> None:
        """Nodes that turned out not to be covered."""
        for number, refused in found.items():
            reason = f"{refused.operation} in torch{': ' if refused.reason else ''}{refused.reason}"
            node = self._nodes[number]
            self.uncovered[number] = Refused(node.op_type, str(node.name), reason, refused.multiply_adds)

    def maker(self, name: str) -> "int | None":
        """The node that makes a value; None where it is known beforehand."""
        return self._makers.get(name)

    def reads(self, numbers: Iterable[int]) -> list[str]:
        """Values that nodes read and none of them makes, also where the shape alone counts."""
        return self._sources(numbers)[1]

    def makes(self, numbers: Iterable[int]) -> list[str]:
        """Values of nodes that others read or that are outputs."""
        inside = set(numbers)
        outside = self._makers.keys() - {name for name, number in self._makers.items() if number in inside}
        others = {self._makers[name] for name in outside}
        read = self._outputs.union(*(self._sources([number])[1] for number in others))
        return [name for number in sorted(inside) for name in self._nodes[number].output if name in read]

    def with_known(self, numbers: Iterable[int]) -> list[int]:
        """Nodes, and those of constants and shapes that they read."""
        return self._sources(numbers)[0]

    def operations(self, numbers: Iterable[int]) -> "Counter[str]":
        """By name, how often."""
        return Counter(self._nodes[number].op_type for number in numbers)

    def dtype(self, name: str) -> "str | None":
        """That of a value; None where it is no tensor."""
        value = self._known[name] if name in self._known else self._first[name]
        return str(value.dtype) if isinstance(value, np.ndarray) else None

    def shape(self, name: str) -> "Shape | None":
        """(fixed, per item) of each axis; None where a size depends on values."""
        if name in self._known:
            return [(size, 0) for size in self._known[name].shape]
        return None if name in self._open else self._sizes(name)

    def constant(self, name: str) -> "NDArray[Any] | None":
        """A value that the file holds."""
        return self.file.constants.get(name)

    def value_info(self, name: str) -> Any:
        """An onnx.ValueInfoProto of a value."""
        import onnx

        value = self._first[name]
        if not isinstance(value, np.ndarray):
            return onnx.ValueInfoProto(name=name)
        shape = self.shape(name)
        sizes = None if shape is None else [None if each else fixed for fixed, each in shape]
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), sizes)

    def _look(self, number: int, node: Any, operation: OnnxOperation) -> None:
        """Whether a node is known beforehand, covered or not."""
        reads = reads_of(node)
        shaped = operation.op in RESHAPED and not self._open & set(reads)
        if not operation.has_graphs and (shaped or all(name in self._known for name in reads)):
            try:
                made = (
                    [operation.of_shape(self._first[reads[0]])]
                    if shaped and reads[0] not in self._known
                    else self._fold(operation)
                )
            except UnsupportedModel as error:
                self.uncovered[number] = error.refused[0]
            else:
                if not self._outputs & set(node.output):
                    for name, known in zip(node.output, made, strict=False):
                        if name:
                            self._known[name], self._known_makers[name] = known.array, number
                    return
                self._left.add(number)
        for name in node.output:
            if name:
                self._makers[name] = number
        sized = [node.input[i] for i in SIZED_BY.get(node.op_type, ()) if i < len(node.input) and node.input[i]]
        if node.op_type in OPEN or self._open & set(reads) or any(name not in self._known for name in sized):
            self._open.update(name for name in node.output if name)
        if number not in self._left and number not in self.uncovered:
            refused = self._refused(number, node, operation, reads)
            if refused is not None:
                self.uncovered[number] = refused

    def _fold(self, operation: OnnxOperation) -> Sequence[Known]:
        return operation.known([Known(self._known[name]) if name else None for name in operation._node.input])

    def _refused(self, number: int, node: Any, operation: OnnxOperation, reads: Sequence[str]) -> "Refused | None":
        step = str(node.name)
        if operation.op not in RULES:
            return Refused(operation.title, step)
        made = [name for name in node.output if name]
        if self._open & {*reads, *made}:
            return Refused(operation.title, step, "its size depends on values")
        for name in (*reads, *made):
            if name not in self._known and name in self._first and (dtype := self.dtype(name)) not in ENTERS:
                return Refused(operation.title, step, f"of {dtype or 'what is no tensor'}")
        given: list[Any] = []
        for name in node.input:
            if not name:
                given.append(None)
            else:
                known = self._known.get(name)
                given.append(torch.from_numpy(np.array(plain(self._first[name]))) if known is None else Known(known))
        try:
            operation(*given)
        except UnsupportedModel as error:
            return error.refused[0]._replace(path=step)
        except Exception as error:  # whatever torch raises at what a rule asks of it
            return Refused(operation.title, step, (str(error).strip() or type(error).__name__).splitlines()[0])
        return None

    def _sources(self, numbers: Iterable[int]) -> tuple[list[int], list[str]]:
        """Nodes with the known ones that they read, and the values that none of these makes."""
        inside = set(numbers)
        waiting, nodes, reads = list(inside), set(inside), dict[str, None]()
        own = {name for number in inside for name in self._nodes[number].output}
        while waiting:
            for name in reads_of(self._nodes[waiting.pop()]):
                maker = self._known_makers.get(name)
                if maker is not None:
                    if maker not in nodes:
                        nodes.add(maker)
                        waiting.append(maker)
                elif name in self._first and name not in own:
                    reads[name] = None
        return sorted(nodes), sorted(reads)

    def _sizes(self, name: str) -> "Shape | None":
        first, second = self._first[name], self._second[name]
        if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray) or first.ndim != second.ndim:
            return None
        found = []
        for a, b in zip(first.shape, second.shape, strict=True):
            per_item = (b - a) // (BATCHES[1] - BATCHES[0])
            found.append((a - per_item * BATCHES[0], per_item))
        return found
