"""Pruning an ONNX file: its weights become layers of torch, are pruned as any, and go back where they were."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..pruning.mask_strategy import prune_masks
from ..pruning.spec import Spec
from .reading import read_onnx, saved_whole

MULTIPLY = {"Conv": 1, "Gemm": 1, "MatMul": 1}  # which input is the weight


class OnnxWeight(NamedTuple):
    """A weight of a file: the tensor that holds it, the first operation that multiplies by it, and whether it is transposed."""

    tensor: Any
    node: Any
    transposed: bool


def prune_onnx(source: Any, spec: Spec) -> Any:
    """A pruned copy of an ONNX model: the same graph, its pruned weights 0.

    Weights of Conv, Gemm and MatMul that the file holds are pruned, each once however often it is used; names are those of its
    tensors, without ".weight" at the end, for `include`, `exclude` and a sparsity for each layer.

    Args:
        source: a path, bytes, or an onnx.ModelProto.
        spec: as for a torch model; the criterion must not need data, nothing is known but the weights.
    Returns:
        an onnx.ModelProto, weights inside.
    Raises:
        ValueError: as `read_onnx` does; no weights that multiply; a spec that needs data.
    """
    model = saved_whole(read_onnx(source), source)
    weights = weights_of(model)
    if not weights:
        raise ValueError("the model has no Conv, Gemm or MatMul with a weight of its own: nothing can be pruned")
    holder = _Layers()
    layers: dict[str, Any] = {name: holder.hold(name, weight) for name, weight in weights.items()}
    prune_masks(holder, spec)
    for name, layer in layers.items():
        _write(weights[name], layer.weight.detach().numpy())
    return model


def weights_of(model: Any) -> dict[str, OnnxWeight]:
    """The weights that products of a graph read, by name."""
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    held[node.output[0]] = attribute.t
    found: dict[str, OnnxWeight] = {}
    for node in graph.node:
        index = MULTIPLY.get(node.op_type)
        if index is None or len(node.input) <= index or node.input[index] not in held:
            continue
        tensor = held[node.input[index]]
        rank = len(tensor.dims)
        flat = node.op_type != "Conv"
        if tensor.data_type not in (1, 10, 11, 16) or (rank != 2 if flat else rank not in (3, 4, 5)):
            continue
        turned = node.op_type == "MatMul" or (
            flat and not any(a.name == "transB" and a.i for a in node.attribute)
        )  # (inputs, outputs)
        found.setdefault(node.input[index].removesuffix(".weight"), OnnxWeight(tensor, node, turned))
    return found


def oriented(weight: OnnxWeight) -> NDArray[np.float32]:
    """A weight as float32, outputs first."""
    from onnx import numpy_helper

    array = numpy_helper.to_array(weight.tensor).astype(np.float32)
    return np.ascontiguousarray(array.T if weight.transposed else array)


def _write(weight: OnnxWeight, array: NDArray[np.float32]) -> None:
    from onnx import helper, numpy_helper

    array = np.ascontiguousarray(array.T) if weight.transposed else array
    name = weight.tensor.name
    made = numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(weight.tensor.data_type)), name)
    weight.tensor.CopyFrom(made)


class _Layers(nn.Module):
    """Layers under the names of a file's weights."""

    def hold(self, name: str, weight: OnnxWeight) -> nn.Module:
        """A layer with this weight, outputs first."""
        array = torch.from_numpy(oriented(weight))
        layer = _layer(array, weight.node)
        parent: nn.Module = self
        *path, last = [part or "_" for part in name.split(".")]
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            child = parent._modules[part]
            assert child is not None
            parent = child
        parent.add_module(last, layer)
        return layer


def _layer(array: torch.Tensor, node: Any) -> nn.Module:
    with torch.device("meta"):
        layer: nn.Module
        if array.ndim == 2:
            layer = nn.Linear(array.shape[1], array.shape[0], bias=False)
        else:
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[array.ndim]
            size: Any = tuple(array.shape[2:])
            layer = kind(array.shape[1] * groups, array.shape[0], size, groups=groups, bias=False)
    layer.weight = nn.Parameter(array)
    return layer
