"""The graph of a torch module, by `torch.export`.

The model is exported at two batch sizes and the shapes compared: what grows with the batch is known from that, not from
symbols.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..channels.export import Arguments, exported, plain_copy
from .graph import Array, Graph, Node, Shape, Size, Value
from .unsupported import Refused, UnsupportedModel

BATCHES = (2, 3)

Bound = dict[str, Any]
Rule = Callable[["Capture", fx.Node, Bound], Value]
RULES: dict[str, Rule] = {}


class _RefusedError(Exception):
    """Why one operation is not covered as it stands."""


def rule(*targets: str) -> Callable[[Rule], Rule]:
    """Register a function for operations by name, without overload: "conv2d" for aten.conv2d.default."""

    def register(function: Rule) -> Rule:
        for target in targets:
            RULES[target] = function
        return function

    return register


def capture(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph:
    """The graph of `model` as it computes in eval mode, its masks applied.

    Args:
        model: on the CPU, in eval mode.
        args, kwargs: an example of its inputs. The first axis of each tensor is the batch.
    Raises:
        UnsupportedModel: operations that are not covered, all of them.
        ValueError: what is computed depends on the batch size or on values.
    """
    copied = plain_copy(model)
    programs = []
    for batch in BATCHES:
        sized = Arguments(tuple(_resized(a, batch) for a in args), {name: _resized(a, batch) for name, a in kwargs.items()})
        try:
            programs.append(exported(copied, sized, training=False))
        except Exception as error:  # torch's exporter raises dozens of kinds
            raise ValueError(
                f"torch.export cannot follow {type(model).__name__}: {str(error).strip().splitlines()[0]}. Control flow must "
                f"not depend on values; compile a part of the model that has none"
            ) from error
    first, second = (list(p.graph.nodes) for p in programs)
    if _computed(first) != _computed(second):
        raise ValueError(
            f"{type(model).__name__} computes something else for a batch of {BATCHES[0]} than for one of {BATCHES[1]}: a "
            f"compiled model serves every batch size with one program"
        )
    return Capture(programs[0], first, second).graph()


def _computed(nodes: list[fx.Node]) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in nodes if node.op != "output"]


def _resized(value: Any, batch: int) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    rows = torch.arange(batch) % max(1, value.shape[0])
    return value.detach()[rows].contiguous()


def array_of(tensor: Tensor) -> Array:
    """A float32 copy of a parameter or buffer."""
    found: Array = tensor.detach().to(torch.float32).cpu().numpy().copy()
    return found


class Capture:
    """One walk over an exported program."""

    def __init__(self, program: Any, nodes: list[fx.Node], others: list[fx.Node]) -> None:
        self._program, self._nodes = program, nodes
        self._other = dict(zip(nodes, others, strict=True))
        self._made: list[Node] = []
        self._values: dict[fx.Node, Value] = {}
        self._tensors: dict[fx.Node, Tensor] = {}
        self._arrays: dict[Any, Array] = {}  # by what they are made of, so that shared weights stay shared
        self._base: dict[Value, Value] = {}  # of a view: what it views

    def graph(self) -> Graph:
        """Everything, or UnsupportedModel."""
        signature = self._program.graph_signature
        held = {**self._program.state_dict, **self._program.constants}
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        inputs: list[Value] = []
        outputs: list[Value] = []
        refused: list[Refused] = []
        for node in self._nodes:
            if node.op == "placeholder":
                if node.name in named:
                    self._tensors[node] = held[named[node.name]]
                elif isinstance(node.meta.get("val"), Tensor):
                    if node.meta["val"].dtype != torch.float32:
                        refused.append(Refused(f"an input of {node.meta['val'].dtype}", node.name, "inputs are float32"))
                    inputs.append(self._values.setdefault(node, Value(node.name, self.shape(node))))
            elif node.op == "call_function":
                name = str(node.target).removeprefix("aten.").split(".")[0]
                found = RULES.get(name.rstrip("_") if name not in RULES else name)
                path = path_of(node)
                if found is None or not str(node.target).startswith("aten."):
                    refused.append(Refused(name, path))
                    self._values[node] = Value(node.name, self.shape(node))
                    continue
                try:
                    value = found(self, node, _bound(node))
                except _RefusedError as refusal:
                    refused.append(Refused(name, path, str(refusal)))
                    value = Value(node.name, self.shape(node))
                self._values[node] = value
                if name.endswith("_") and not refused:
                    self._overwrite(node, value)
            elif node.op == "output":
                returned: Any = node.args[0]
                outputs = [self.value(v) for v in returned if isinstance(v, fx.Node)]
        if refused:
            raise UnsupportedModel(refused)
        return Graph(inputs, outputs, self._made)

    def _overwrite(self, node: fx.Node, value: Value) -> None:
        """An operation in place: whoever reads what it changed reads the result from now on."""
        target = node.args[0]
        assert isinstance(target, fx.Node)
        old = self._values[target]
        viewed = self._base.get(old, old)
        for other, known in self._values.items():
            if known is old:
                self._values[other] = value
            elif self._base.get(known, known) is viewed and any(user not in self._values for user in other.users):
                raise UnsupportedModel([Refused(str(node.target), path_of(node), "in place on memory that a view is read of")])

    # --- what rules use

    def shape(self, node: fx.Node) -> Shape:
        """The shape of a result, from both batch sizes."""
        first, second = node.meta.get("val"), self._other[node].meta.get("val")
        if not isinstance(first, Tensor) or not isinstance(second, Tensor):
            return ()
        sizes = []
        for a, b in zip(first.shape, second.shape, strict=True):
            per_item = (int(b) - int(a)) // (BATCHES[1] - BATCHES[0])
            sizes.append(Size(int(a) - per_item * BATCHES[0], per_item))
        return tuple(sizes)

    def value(self, argument: Any) -> Value:
        """The value of an argument; a parameter, a buffer or a number becomes a constant."""
        if isinstance(argument, fx.Node):
            if argument in self._values:
                return self._values[argument]
            tensor = self._tensors.get(argument)
            if tensor is None:
                raise _RefusedError(f"{argument} is no tensor")
            array = array_of(tensor)
            return Value(argument.name, tuple(Size(n) for n in array.shape), array)
        if isinstance(argument, (int, float)):
            return Value(repr(argument), (), np.array(argument, np.float32))
        raise _RefusedError(f"{argument!r} is no tensor")

    def parameter(self, argument: Any, what: str) -> Tensor:
        """A parameter or buffer, which a product's weight has to be."""
        if isinstance(argument, fx.Node) and argument in self._tensors:
            return self._tensors[argument]
        raise _RefusedError(f"its {what} is computed, not a parameter")

    def weight(self, argument: Any) -> Array:
        """A parameter as (rows, columns); the same array for the same parameter."""
        tensor = self.parameter(argument, "weight")
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if key not in self._arrays:
            self._arrays[key] = array_of(tensor).reshape(tensor.shape[0], -1)
        return self._arrays[key]

    def emit(self, op: str, node: fx.Node, inputs: list[Value], **attributes: Any) -> Value:
        """A node whose result is that of the exported one."""
        output = Value(node.name, self.shape(node))
        self._made.append(Node(op, path_of(node), inputs, output, **attributes))
        return output

    def emit_shaped(self, op: str, node: fx.Node, suffix: str, shape: Shape, inputs: list[Value], **attributes: Any) -> Value:
        """A node in between, of a shape of its own."""
        output = Value(f"{node.name}_{suffix}", shape)
        self._made.append(Node(op, path_of(node), inputs, output, **attributes))
        return output

    def view(self, node: fx.Node, x: Value) -> Value:
        """The same elements in another shape."""
        shape = self.shape(node)
        if shape == x.shape:
            return x
        output = self.emit("reshape", node, [x])
        self._base[output] = self._base.get(x, x)
        return output


def path_of(node: fx.Node) -> str:
    """The module that a node stands in, as `named_modules` calls it."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _bound(node: fx.Node) -> Bound:
    """The arguments by name, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value if a.has_default_value() else None) for a in schema}


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return (int(values[0]), int(values[-1]))


@rule("conv2d")
def _conv2d(c: Capture, node: fx.Node, a: Bound) -> Value:
    weight = c.parameter(a["weight"], "weight")
    stride, dilation = _pair(a["stride"]), _pair(a["dilation"])
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    if isinstance(a["padding"], str):
        if a["padding"] not in ("same", "valid"):
            raise _RefusedError(f"padding {a['padding']!r}")
        around = [d * (k - 1) if a["padding"] == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        before = (around[0] // 2, around[1] // 2)
        after = (around[0] - before[0], around[1] - before[1])
    else:
        before = after = _pair(a["padding"])
    bias = None if a["bias"] is None else array_of(c.parameter(a["bias"], "bias"))
    numbers = (*kernel, *stride, *before, *after, *dilation, int(a["groups"]))
    return c.emit("conv2d", node, [c.value(a["input"])], weight=c.weight(a["weight"]), bias=bias, numbers=numbers)


@rule("linear")
def _linear(c: Capture, node: fx.Node, a: Bound) -> Value:
    bias = None if a["bias"] is None else array_of(c.parameter(a["bias"], "bias"))
    return c.emit("linear", node, [c.value(a["input"])], weight=c.weight(a["weight"]), bias=bias)


@rule("batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(c: Capture, node: fx.Node, a: Bound) -> Value:
    if a.get("training") or a["running_mean"] is None:
        raise _RefusedError("normalises by the batch's own statistics")
    mean = c.parameter(a["running_mean"], "mean").double().numpy()
    var = c.parameter(a["running_var"], "variance").double().numpy()
    gamma = np.ones_like(mean) if a["weight"] is None else c.parameter(a["weight"], "weight").detach().double().numpy()
    beta = np.zeros_like(mean) if a["bias"] is None else c.parameter(a["bias"], "bias").detach().double().numpy()
    scale = gamma / np.sqrt(var + float(a["eps"]))
    return c.emit("batch_norm", node, [c.value(a["input"])], scale=scale, shift=beta - mean * scale)


ACTIVATIONS = ("relu", "relu6", "silu", "sigmoid", "tanh", "hardswish")


@rule(*ACTIVATIONS)
def _activation(c: Capture, node: fx.Node, a: Bound) -> Value:
    name = str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")
    return c.emit("activation", node, [c.value(a["self"])], activation=name)


@rule("gelu")
def _gelu(c: Capture, node: fx.Node, a: Bound) -> Value:
    if a["approximate"] != "none":
        raise _RefusedError(f"approximate={a['approximate']!r}")
    return c.emit("activation", node, [c.value(a["self"])], activation="gelu")


@rule("hardtanh")
def _hardtanh(c: Capture, node: fx.Node, a: Bound) -> Value:
    if (float(a["min_val"]), float(a["max_val"])) != (0.0, 6.0):
        raise _RefusedError(f"between {a['min_val']} and {a['max_val']}; 0 and 6 (relu6) are covered")
    return c.emit("activation", node, [c.value(a["self"])], activation="relu6")


def _pool_numbers(c: Capture, node: fx.Node, a: Bound) -> tuple[Value, tuple[int, ...]]:
    x = c.value(a["self"])
    if len(x.shape) != 4:
        raise _RefusedError(f"over {len(x.shape)} axes; (N, C, H, W) is covered")
    kernel = _pair(a["kernel_size"])
    stride = _pair(a["stride"]) if a["stride"] not in (None, []) else kernel
    before = _pair(a["padding"])
    # The last window decides how far the padding reaches: further with ceil_mode, less where rows are left over.
    after = [
        max(0, (c.shape(node)[2 + i].fixed - 1) * stride[i] + kernel[i] - x.shape[2 + i].fixed - before[i]) for i in range(2)
    ]
    return x, (*kernel, *stride, *before, *after)


@rule("max_pool2d")
def _max_pool(c: Capture, node: fx.Node, a: Bound) -> Value:
    if _pair(a["dilation"]) != (1, 1):
        raise _RefusedError("with dilation")
    x, numbers = _pool_numbers(c, node, a)
    return c.emit("max_pool", node, [x], numbers=numbers)


@rule("avg_pool2d")
def _average_pool(c: Capture, node: fx.Node, a: Bound) -> Value:
    if a["divisor_override"] is not None:
        raise _RefusedError("with divisor_override")
    x, numbers = _pool_numbers(c, node, a)
    return c.emit("average_pool", node, [x], numbers=(*numbers, int(a["count_include_pad"])))


@rule("adaptive_avg_pool2d")
def _adaptive_average_pool(c: Capture, node: fx.Node, a: Bound) -> Value:
    x, shape = c.value(a["self"]), c.shape(node)
    sizes = [(x.shape[axis].fixed, shape[axis].fixed) for axis in (-2, -1)]
    if len(shape) != 4 or any(size % out for size, out in sizes):
        raise _RefusedError(f"from {sizes[0][0]}×{sizes[1][0]} to {sizes[0][1]}×{sizes[1][1]}: windows of different sizes")
    if all(out == 1 for _, out in sizes):
        return c.emit("mean", node, [x], numbers=(2, 1))
    if all(size == out for size, out in sizes):
        return x
    kernel = tuple(size // out for size, out in sizes)
    return c.emit("average_pool", node, [x], numbers=(*kernel, *kernel, 0, 0, 0, 0, 0))


@rule("mean")
def _mean(c: Capture, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axes = sorted(int(d) % len(x.shape) for d in a.get("dim") or range(len(x.shape)))
    last = list(range(len(x.shape) - len(axes), len(x.shape)))
    if axes != last or len(axes) == len(x.shape) or any(x.shape[i].per_item for i in axes):
        raise _RefusedError(f"over axes {axes} of {len(x.shape)}; the last ones are covered")
    return c.emit("mean", node, [x], numbers=(len(axes), int(bool(a.get("keepdim")))))


_BINARY = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}


@rule(*_BINARY)
def _binary(c: Capture, node: fx.Node, a: Bound) -> Value:
    op = _BINARY[str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")]
    if a.get("alpha", 1) != 1 or a.get("rounding_mode"):
        raise _RefusedError("with alpha or a rounding mode")
    left, right = c.value(a["self"]), c.value(a["other"])
    shape = c.shape(node)
    if left.shape != shape and right.shape == shape and op in ("add", "multiply"):
        left, right = right, left
    if left.shape != shape or not _lies_under(right.shape, shape):
        raise _RefusedError("of shapes that are broadcast in another way than along whole leading and trailing axes")
    if left.constant is not None:
        raise _RefusedError("of two constants")
    return c.emit(op, node, [left, right])


def _lies_under(small: Shape, large: Shape) -> bool:
    one = Size(1)
    aligned = [one] * (len(large) - len(small)) + list(small)
    middle = [i for i, size in enumerate(aligned) if size != one]
    return not middle or all(aligned[i] == large[i] for i in range(middle[0], middle[-1] + 1))


@rule("cat", "concat")
def _concat(c: Capture, node: fx.Node, a: Bound) -> Value:
    values = [c.value(v) for v in a["tensors"]]
    axis = int(a["dim"]) % len(values[0].shape)
    if axis == 0:
        raise _RefusedError("along the batch")
    return c.emit("concat", node, values, numbers=(axis,))


@rule("flatten", "view", "reshape", "squeeze", "unsqueeze", "_unsafe_view")
def _view(c: Capture, node: fx.Node, a: Bound) -> Value:
    return c.view(node, c.value(a["self"]))


@rule("dropout", "feature_dropout", "alpha_dropout", "contiguous", "detach", "clone", "alias", "lift_fresh_copy", "to")
def _same(c: Capture, node: fx.Node, a: Bound) -> Value:
    if a.get("train"):
        raise _RefusedError("in training mode")
    x = c.value(a["input"] if "input" in a else a["self"])
    kept = node.meta.get("val")
    if isinstance(kept, Tensor) and kept.dtype != torch.float32:
        raise _RefusedError(f"to {kept.dtype}; values are float32")
    return x
