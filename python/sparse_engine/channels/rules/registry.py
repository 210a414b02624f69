"""What operations do to channels, by their names in torch's ATen. To add one: a function, or a name in a list."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..groups import Doubt
from ..surgery import bare_sizes
from ..tracer import Axis, Held, Tracer, Value, operation, size_of

ELEMENTWISE = """
    dropout alpha_dropout feature_dropout clone contiguous alias detach to _to_copy lift_fresh_copy prelu rrelu relu
    relu6 leaky_relu elu selu celu silu mish gelu hardswish hardsigmoid hardtanh hardshrink softshrink softplus log_sigmoid
    type_as where masked_fill
"""
POSITIONWISE = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_pool2d_with_indices
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_bilinear2d
    upsample_linear1d upsample_trilinear3d upsample_bicubic2d
"""
CHECKS = ("_assert", "sym_constrain")  # operations that only look, beginning so

Rule = Callable[[Tracer, Any], Value]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for some operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def argument(node: Any, place: int, name: str, default: Any = None) -> Any:
    """An argument of a node, by position or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def fallback(tracer: Tracer, node: Any) -> Value:
    """Element by element where torch says so; of any other operation, what it reads is kept whole."""
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return pointwise(tracer, node)
    values = [tracer.value(given) for given in node.all_input_nodes]
    if operation(node).startswith(CHECKS):
        return None
    if any(isinstance(value, (Axis, Held, list)) for value in values):
        tracer.fix(*values, reason=f"{tracer.where()} is an operation that cannot be followed")
    return None


@rule(*ELEMENTWISE.split())
def pointwise(tracer: Tracer, node: Any) -> Value:
    """Element by element, with broadcasting: channels that meet are joined."""
    shape = size_of(node)
    given = [(tracer.value(n), size_of(n)) for n in node.all_input_nodes if hasattr(n.meta.get("val"), "shape")]
    axes = [(len(shape) - len(size) + value.dim, value.slots) for value, size in given if isinstance(value, Axis)]
    if not axes:
        tracer.fix(*(value for value, _ in given))
        return None
    dim, slots = max(axes, key=lambda axis: len(axis[1]))
    for value, size in given:
        own = dim - (len(shape) - len(size))
        if operation(node) == "prelu" and isinstance(value, Held):
            own = 0  # a weight per channel, which is dimension 1
        if isinstance(value, Axis) and value.dim == own:
            tracer.join(value.slots, slots, f"{tracer.where()} joins it with channels of a fixed number")
        elif isinstance(value, Held):
            if own >= 0 and size[own] > 1:
                tracer.tie(value, own, slots)
            elif len(size):
                tracer.fix(value)
        elif isinstance(value, Axis) or (own >= 0 and size[own] > 1):
            tracer.fix(value, Axis(dim, slots), reason=f"{tracer.where()} joins it with channels of a fixed number")
    return Axis(dim, slots)


@rule("batch_norm", "instance_norm")
def batch_norm(tracer: Tracer, node: Any) -> Value:
    """Each channel by itself."""
    x, *held = (tracer.value(given) for given in node.args[:5])
    if not isinstance(x, Axis) or x.dim != 1:
        tracer.fix(x, *held)
        return None if not isinstance(x, Axis) else x
    for tensor in held:
        tracer.tie(tensor, 0, x.slots)
    tie_size(tracer, node, x)
    return x


def tie_size(tracer: Tracer, node: Any, x: Axis) -> None:
    """The number of channels that a normalisation without tensors keeps shrinks with them."""
    name, _ = next(iter(reversed(node.meta.get("nn_module_stack", {}).values())), ("", None))
    for own, (size,) in bare_sizes(tracer.modules.get(name, torch.nn.Identity())).items():
        if size == len(x.slots) and "." not in own:
            tracer.shapes[f"{name}.{own}" if name else own] = (size,)
            tracer.tie(Held(f"{name}.{own}" if name else own, (0,)), 0, x.slots)


@rule("group_norm")
def group_norm(tracer: Tracer, node: Any) -> Value:
    """Statistics of a group are those of all its channels, so that whole groups go."""
    x, *held = (tracer.value(argument(node, i, n)) for i, n in ((0, "input"), (2, "weight"), (3, "bias")))
    groups = int(argument(node, 1, "num_groups"))
    if not isinstance(x, Axis) or x.dim != 1 or groups == 1:
        tracer.fix(x, *held, reason=f"{tracer.where()} mixes its channels")
        return None
    rows = x.slots.reshape(groups, -1)
    tracer.join(np.repeat(rows[:, :1], rows.shape[1], axis=1), rows)
    for tensor in held:
        tracer.tie(tensor, 0, x.slots)
    tie_size(tracer, node, x)
    tracer.doubts.append(Doubt(x.slots, tracer.where()))  # the number of groups may stand in the code
    return x


@rule("layer_norm", "rms_norm", "softmax", "_softmax", "log_softmax", "_log_softmax")
def mixes(tracer: Tracer, node: Any) -> Value:
    """What makes every result depend on all of a dimension: channels along it stay."""
    values = [tracer.value(given) for given in node.all_input_nodes]
    name, x, dims = operation(node), values[0], len(size_of(node))
    tracer.fix(*values[1:])
    if not isinstance(x, Axis):
        return None
    if name in ("layer_norm", "rms_norm"):
        mixed = x.dim >= dims - len(node.args[1])
    else:
        mixed = x.dim == int(argument(node, 1, "dim", -1)) % dims
    if mixed:
        tracer.fix(x, reason=f"{tracer.where()} mixes its channels")
    return x


@rule("glu")
def glu(tracer: Tracer, node: Any) -> Value:
    """One half gates the other: their channels go by position."""
    x = tracer.value(node.args[0])
    if isinstance(x, Axis) and x.dim == int(argument(node, 1, "dim", -1)) % len(size_of(node)):
        first, second = np.split(x.slots, 2)
        tracer.join(first, second)
        return Axis(x.dim, first)
    return x


@rule(*["mean", "sum", "amax", "amin", "max", "min", "var", "std", "logsumexp", "any", "all", "prod", "argmax", "argmin"])
def reduction(tracer: Tracer, node: Any) -> Value:
    """Over some dimensions; channels must not be among them."""
    x, given = tracer.value(node.args[0]), argument(node, 1, "dim")
    if not isinstance(x, Axis):
        tracer.fix(x)
        return None
    count = len(size_of(node.args[0]))
    dims = {int(d) % count for d in ([given] if isinstance(given, int) else given or range(count))}
    if x.dim in dims or (given is not None and isinstance(given, torch.fx.Node)):
        tracer.fix(x, reason=f"{tracer.where()} mixes its channels")
        return None
    first = node.meta["val"][0] if isinstance(node.meta["val"], (tuple, list)) else node.meta["val"]
    kept = Axis(x.dim - (0 if first.dim() == count else sum(d < x.dim for d in dims)), x.slots)
    return [kept, kept] if isinstance(node.meta["val"], (tuple, list)) else kept


@rule(*POSITIONWISE.split())
def spatial(tracer: Tracer, node: Any) -> Value:
    """Positions of each channel by themselves."""
    x = tracer.value(node.args[0])
    several = isinstance(node.meta["val"], (tuple, list))
    axes = next(int(c) for c in operation(node) if c.isdigit())
    if not isinstance(x, Axis) or x.dim != len(size_of(node.args[0])) - 1 - axes:
        tracer.fix(x)
        return None
    return [x, None] if several else x
