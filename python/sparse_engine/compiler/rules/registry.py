"""Rules by the name of the operation they are for."""

from collections.abc import Callable
from typing import Any

from torch import fx

from ..graph import Value
from .translation import RefusedError, Translation

__all__ = ["RULES", "Bound", "RefusedError", "Rule", "name_of", "rule", "rule_for"]

Bound = dict[str, Any]  # arguments by name
# The result, or all of them where the operation has several.
Rule = Callable[[Translation, fx.Node, Bound], "Value | list[Value]"]
RULES: dict[str, Rule] = {}


def rule(*targets: str) -> Callable[[Rule], Rule]:
    """Register a function for operations by name, without overload: "conv2d" for aten.conv2d.default.

    An operation in place ("relu_") takes the rule of the one that is not.
    """

    def register(function: Rule) -> Rule:
        for target in targets:
            RULES[target] = function
        return function

    return register


def name_of(node: fx.Node) -> str:
    """The operation of a node, without namespace and overload; what changes its argument in place ends with "_"."""
    return str(node.target).removeprefix("aten.").split(".")[0]


def is_in_place(node: fx.Node) -> bool:
    """Whether an operation changes its argument: "add_", but not "__and__"."""
    name = name_of(node)
    return name.endswith("_") and not name.endswith("__")


def rule_for(node: fx.Node) -> Rule | None:
    """The rule of an operation of torch, or None."""
    if not str(node.target).startswith("aten."):
        return None
    name = name_of(node)
    return RULES.get(name) or RULES.get(name.rstrip("_"))
