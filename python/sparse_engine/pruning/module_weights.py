"""Which weights a module holds: what of it is ranked like the weight of a layer, under which name."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..nn.convert import plain_class, registered
from ..nn.products import product_of
from ..nn.recurrent import GATES
from .targets import WEIGHTED, Gate, Slice

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
WITHOUT_MATRIX = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
    nn.PReLU,
    nn.utils.parametrize.ParametrizationList,
)
EMBEDDING, BILINEAR, UNKNOWN, BARE = "embeddings", "bilinear layers", "unknown forward", "bare parameters"


class Weight(NamedTuple):
    """A weight that can be ranked.

    Attributes:
        name: of the layer or, of a partial target, with the parameter behind it.
        layer: the module or `PartialTarget` that is ranked.
        module, parameter: where it lies.
        doubt: why it is left alone unless it is named, or "".
    """

    name: str
    layer: Any
    module: nn.Module
    parameter: str
    doubt: str = ""

    @property
    def tensor(self) -> Tensor | None:
        """The parameter; None where a parametrization computes it."""
        return self.module._parameters.get(self.parameter)


def weights_of(name: str, module: nn.Module) -> Iterator[Weight]:
    """Every weight of `module` itself, not of modules inside."""
    if isinstance(module, (torch.jit.ScriptModule, *WITHOUT_MATRIX)):
        return
    said = registered(module)
    if said is not None:
        for parameter in said.weights:
            yield from _of_registered(name, module, parameter, bool(said.transposed))
    elif isinstance(module, WEIGHTED):
        yield Weight(name, module, module, "weight")
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        yield from _of_recurrent(name, module)
    elif isinstance(module, nn.MultiheadAttention):
        yield from _of_attention(name, module)
    else:
        yield from _of_others(name, module)


def _of_registered(name: str, module: nn.Module, parameter: str, transposed: bool) -> Iterator[Weight]:
    tensor = module._parameters.get(parameter)
    if parameter == "weight" and (tensor is None or tensor.dim() != 3):
        yield Weight(name, module, module, parameter)
    elif tensor is not None and tensor.dim() == 3:
        yield from _matrices(name, module, parameter, len(tensor), transposed)
    else:
        yield Weight(_joined(name, parameter), Slice(module, parameter, transposed=transposed), module, parameter)


def _of_recurrent(name: str, layer: Any) -> Iterator[Weight]:
    if isinstance(layer, nn.RNNBase):
        mode, names = layer.mode, layer._flat_weights_names
    else:
        mode = "LSTM" if isinstance(layer, nn.LSTMCell) else "GRU" if isinstance(layer, nn.GRUCell) else ""
        names = ["weight_ih", "weight_hh"]
    letters = GATES.get(mode, "")
    for parameter in names:
        if not parameter.startswith("weight_"):
            continue
        if parameter.startswith("weight_hr") or not letters:  # a projection has no gates, nor has a plain recurrent layer
            yield Weight(_joined(name, parameter), Slice(layer, parameter), layer, parameter)
            continue
        for index, letter in enumerate(letters):
            yield Weight(_joined(name, parameter, letter), Gate(layer, parameter, index), layer, parameter)


def _of_attention(name: str, layer: Any) -> Iterator[Weight]:
    packed = layer._parameters.get("in_proj_weight")
    if packed is not None:
        rows = len(packed) // 3
        for index, letter in enumerate("qkv"):
            part = Slice(layer, "in_proj_weight", slice(index * rows, (index + 1) * rows))
            yield Weight(_joined(name, "in_proj_weight", letter), part, layer, "in_proj_weight")
    for parameter in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        if layer._parameters.get(parameter) is not None:
            yield Weight(_joined(name, parameter), Slice(layer, parameter), layer, parameter)
    if hasattr(layer, "parametrizations"):
        for parameter in layer.parametrizations:
            if parameter.endswith("proj_weight"):
                yield Weight(_joined(name, parameter), Slice(layer, parameter), layer, parameter)


def _of_others(name: str, module: nn.Module) -> Iterator[Weight]:
    for parameter, tensor in module._parameters.items():
        if tensor is None or isinstance(tensor, nn.UninitializedParameter) or not _is_matrix(tensor) or "bias" in parameter:
            continue
        if parameter == "weight":
            yield Weight(name, module, module, parameter, _doubt(module))
        elif tensor.dim() == 3 and _are_experts(name, module, len(tensor)):
            yield from _matrices(name, module, parameter, len(tensor), False)
        else:
            yield Weight(_joined(name, parameter), Slice(module, parameter), module, parameter, BARE)
    for parameter in getattr(module, "parametrizations", ()):
        if parameter == "weight":
            yield Weight(name, module, module, parameter)


def _matrices(name: str, module: nn.Module, parameter: str, count: int, transposed: bool) -> Iterator[Weight]:
    for index in range(count):
        part = Slice(module, parameter, index, transposed)
        yield Weight(_joined(name, parameter, str(index)), part, module, parameter)


def _is_matrix(tensor: Tensor) -> bool:
    return sum(side > 1 for side in tensor.shape) >= 2


def _doubt(module: nn.Module) -> str:
    if isinstance(module, EMBEDDINGS):
        return EMBEDDING
    if isinstance(module, nn.Bilinear):
        return BILINEAR
    weight = module._parameters["weight"]
    if weight is None or weight.device.type == "meta" or not weight.dtype.is_floating_point:
        return UNKNOWN
    return "" if product_of(module, plain_class(module)) is not None else UNKNOWN


def _are_experts(name: str, module: nn.Module, count: int) -> bool:
    """Whether the matrices of a three-dimensional parameter are those of experts."""
    said = [getattr(module, attribute, None) for attribute in ("num_experts", "n_experts", "num_local_experts")]
    called = f"{name.rpartition('.')[2]} {type(module).__name__}".lower()
    return count in [n for n in said if type(n) is int] or "expert" in called


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)
