"""Tensors of one number, as large as the batch says."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..graph import Value
from .registry import Bound, RefusedError, name_of, rule
from .translation import INTEGERS, Translation, constant

NUMBERS = {"zeros": 0.0, "ones": 1.0}


@rule("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(c: Translation, node: fx.Node, a: Bound) -> Value:
    kept: Any = node.meta["val"]
    assert isinstance(kept, Tensor)
    if kept.dtype not in (torch.float32, torch.bool, *INTEGERS):
        raise RefusedError(f"of {kept.dtype}; values are float32")
    kind = name_of(node).removeprefix("new_").removesuffix("_like")
    number = float(NUMBERS[kind] if kind in NUMBERS else a["fill_value"])
    return c.emit("expand", node, [constant(f"{node.name}_number", np.array(number, np.float32))])


def is_zero(c: Translation, x: Value) -> bool:
    """Whether a value is known to be 0 everywhere."""
    if x.constant is not None:
        return not x.constant.any()
    made = c.maker(x)
    return made is not None and made.op in ("expand", "reshape") and is_zero(c, made.inputs[0])
