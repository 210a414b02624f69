"""An ONNX graph as a torch module: a module for each operation, so that torch.export follows it and names it."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..onnx_files.reading import OnnxFile, inputs_of, plain
from .onnx_rules import CONSTANTS, DTYPES, RULES, Call, Known
from .rules import RefusedError
from .unsupported import Refused, UnsupportedModel

RESHAPED = ("Shape", "Size")  # known whenever a shape is
BY_RULE = ("LRN", "Softmax", "LogSoftmax")  # of constants too: onnx's reference knows their newest form alone, or is wrong
HELD_FROM = 64  # elements from which a constant is a buffer
Values = dict[str, "Tensor | Known | None"]


class OnnxModule(nn.Module):
    """Computes what an ONNX graph does, in float32.

    What depends on the file and on shapes alone is computed by onnx's reference implementation, once for each call; all else
    by the rules of `onnx_rules`.

    Attributes:
        input_names, output_names: of the graph.
    """

    def __init__(self, file: OnnxFile) -> None:
        """Raises UnsupportedModel with every operation that no rule is for."""
        super().__init__()
        graph = file.model.graph
        self.opset = file.opset
        self.input_names = [given.name for given in inputs_of(file)]
        self.output_names = [value.name for value in graph.output]
        self._constants = _Shared(file.constants)
        self._steps: list[tuple[str, list[str], list[str]]] = []
        self._fold(graph)
        self._hold()
        self._check(file)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs of its inputs, in its order."""
        values: Values = {name: Known(array, getattr(self, self._held[name], None) if name in self._held else None)
                          for name, array in self._constants.items()}  # fmt: skip
        values |= dict(zip(self.input_names, inputs, strict=True))
        values[""] = None
        for step, reads, makes in self._steps:
            operation: Any = getattr(self, step)
            given = [values[name] for name in reads]
            if all(value is None or isinstance(value, Known) for value in given):
                results: Sequence[Any] = operation.known(given)
            elif operation.op in RESHAPED:
                results = [operation.of_shape(given[0])]
            else:
                results = operation(*given)
            values |= dict(zip(makes, results, strict=False))
        outputs: list[Tensor] = []
        for name in self.output_names:
            value = values.get(name)
            if value is None:
                raise UnsupportedModel([Refused("an output", name, "nothing makes it")])
            made = value.tensor if isinstance(value, Known) else value
            again = any(made is other for other in (*inputs, *outputs))
            outputs.append(made.clone() if again else made)  # each has a name of its own
        return tuple(outputs)

    def _fold(self, graph: Any) -> None:
        """Operations on constants alone are computed now; of the others a module is made."""
        read = {name for node in graph.node for name in node.input if name} | set(self.output_names)
        for index, node in enumerate(graph.node):
            operation = OnnxOperation(node, self.opset, read)
            reads = list(node.input)
            if all(name == "" or name in self._constants for name in reads) and not operation.has_graphs:
                given = [Known(self._constants[name]) if name else None for name in reads]
                made = operation.known(given)
                self._constants.update({name: known.array for name, known in zip(node.output, made, strict=False) if name})
                continue
            name = (node.name or f"{node.op_type}_{index}").replace(".", "_")
            if name in self._modules or hasattr(self, name):
                name = f"{name}_{index}"
            self.add_module(name, operation)
            self._steps.append((name, reads, list(node.output)))

    def _hold(self) -> None:
        """Floats that operations read become buffers, each once."""
        read = {name for _, reads, _ in self._steps for name in reads} | set(self.output_names)
        for name in list(self._constants):
            if name not in read:
                del self._constants[name]
        self._held: dict[str, str] = {}
        for number, (name, array) in enumerate(self._constants.items()):
            if array.dtype.kind == "f" and array.size >= HELD_FROM:
                self._held[name] = f"constant_{number}"
                whole = np.array(array, np.float32, order="C", copy=True)
                self.register_buffer(self._held[name], torch.from_numpy(whole))

    def _check(self, file: OnnxFile) -> None:
        refused = [
            Refused(
                f"an input of ONNX's data type {given.element_type}", given.name, "inputs are floats, integers or truth values"
            )
            for given in inputs_of(file)
            if given.element_type not in DTYPES
        ]
        known = set(self._constants) | {""}
        for step, reads, makes in self._steps:
            operation: Any = getattr(self, step)
            if all(name in known for name in reads) or operation.op in RESHAPED:
                known |= set(makes)
            elif operation.op not in RULES:
                refused.append(Refused(operation.title, step))
        if refused:
            raise UnsupportedModel(refused)


class OnnxOperation(nn.Module):
    """One operation of a graph.

    Attributes:
        op: its name in ONNX.
        title: the same with the domain, where that is not ONNX's own.
        outputs: how many results there are up to the last that is read.
    """

    def __init__(self, node: Any, opset: int, read: Container[str]) -> None:
        import onnx

        super().__init__()
        self.op, self.opset, self._node = node.op_type, opset, node
        self.title = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        self.outputs = max((i + 1 for i, name in enumerate(node.output) if name in read), default=0)
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.has_graphs = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)

    def forward(self, *inputs: "Tensor | Known | None") -> list[Tensor]:
        """The results, at least one input being computed."""
        found = RULES.get(self.op)
        if found is None:
            raise UnsupportedModel([Refused(self.title, self._node.name)])
        try:
            made = found(Call(self.op, self._attributes, inputs, self.outputs, self.opset))
        except RefusedError as refusal:
            raise UnsupportedModel([Refused(self.title, self._node.name, str(refusal))]) from refusal
        return made if isinstance(made, list) else [made]

    def known(self, inputs: Sequence[Any]) -> list[Known]:
        """The results where all inputs are known, by onnx's reference implementation."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        if self.op in ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"):
            raise UnsupportedModel([Refused(self.title, self._node.name, "is random")])
        if self.op in BY_RULE:
            return [Known(made.numpy()) for made in self.forward(*[v if v is None else v.tensor for v in inputs])]
        if self.op in CONSTANTS:
            return [Known(CONSTANTS[self.op]([v if v is None else v.array for v in inputs], self._attributes))]
        feeds = {name: value.array for name, value in zip(self._node.input, inputs, strict=True) if name}
        graph = helper.make_graph(
            [self._node],
            "one",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for name, a in feeds.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in self._node.output if name],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if self._node.domain:
            opsets.append(helper.make_opsetid(self._node.domain, 1))
        try:
            made = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, feeds)
        except Exception as error:  # the reference raises whatever numpy raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnsupportedModel([Refused(self.title, self._node.name, f"on constants: {reason}")]) from error
        found = iter(made)
        return [Known(plain(np.asarray(next(found)))) if name else Known(np.zeros(0)) for name in self._node.output]

    def of_shape(self, x: Any) -> Known:
        """Shape or Size of a computed value."""
        shape = np.array(x.shape, np.int64)
        if self.op == "Size":
            return Known(np.array(shape.prod(), np.int64))
        return Known(shape[self._attributes.get("start", 0) : self._attributes.get("end", len(shape))])


class _Shared(dict[str, NDArray[Any]]):
    """Constants by name; copies of a module share them, nothing changes them."""

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "_Shared":
        return self
