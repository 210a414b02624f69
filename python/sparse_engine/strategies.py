"""`prune(model, spec)`: picks one of three strategies, which know nothing of one another.

- masks: layers are scored, the least weights held at zero (`pruning/mask_strategy.py`);
- sparsegpt: layers are solved one after another, the weights that stay move (`pruning/sparsegpt.py`);
- channels: tensors become smaller (`channels/api.py`).

An ONNX model goes the way of masks (`onnx_files/pruning.py`).
"""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from torch import nn

from .channels.api import prune_channels
from .onnx_files.pruning import prune_onnx
from .onnx_files.reading import is_onnx
from .pruning.calibration import Loss
from .pruning.criteria import criterion_of
from .pruning.granularity import Channels
from .pruning.mask_strategy import check_types, prune_masks
from .pruning.sparsegpt import prune_sparsegpt
from .pruning.spec import Spec

Model = TypeVar("Model")


def prune(
    model: Model,
    spec: Spec,
    *,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    example_inputs: Any = None,
) -> Model:
    """Prune `model` in place as `spec` says, and return the same object.

    Every selected weight that multiplies (of linear layers, convolutions, attention, recurrent layers, experts, and of classes
    of one's own that are seen to) gets a mask, its pruned entries become 0 and stay 0 through training, and in inference
    (`model.eval()` under `torch.inference_mode()` or `torch.no_grad()`) all but RNN and cells
    run on native sparse kernels where these measure faster. Parameters, their names and `state_dict`
    keys do not change. Pruning again, at a higher sparsity, goes on from where the model is.

    What is rarely meant is left alone unless `include` names it, with one warning: frozen layers while others train, heads tied
    to an embedding, adapters, embeddings, classes not seen to multiply; and weights that a parametrization computes.

    With granularity "channel" nothing is masked: channels are taken out of every tensor they run through, parameters keep their
    names and become smaller, and the budget is that of the whole model's parameters (or multiply-accumulates) as it is
    now. The smaller model is first tried on a copy, where it must compute what zeros in these channels give. Optimizers made
    before go on with what they keep of the channels that stay.

    Args:
        model: any `torch.nn.Module`. Or ONNX, the path of a file, its bytes or an onnx.ModelProto, which is left as it is: a
            pruned onnx.ModelProto is returned, by criteria that need no data.
        spec: what to remove; see `Spec`. Counts are exact: round(sparsity · n) single weights go; of groups as many
            stay as fit. Which of equal scores stay is fixed, and spread evenly over rows, columns and layers.
        data: batches for the criteria that look at data: inputs, or (inputs, target) pairs. Inputs are a tensor, a tuple of
            positional arguments of `model`, or a mapping of keyword arguments, such as a tokenizer's batch. What an
            `attention_mask` among them (or a `key_padding_mask` of torch) marks as padding does not count as input of linear
            layers; a criterion without a loss takes (ids, mask) for both where `forward` calls its second argument so.
        loss: for "taylor": (output, target) -> the mean loss of a batch. A mapping without a target beside it, which may hold
            labels, is its own target.
        example_inputs: for `Spec(macs=...)`, `latency_ms` and granularity "channel": inputs of one call, as in `data`.
    Returns:
        `model`; of ONNX the pruned model, for `onnx.save` and `engine.compile`.
    Raises:
        ValueError: no layer is selected, or every one is left alone; a weight or score is NaN; a budget that cannot be met.
            The model is unchanged then.
        TypeError: `model` is not a Module or `spec` not a Spec.
    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015.
    """
    if is_onnx(model):
        if data is not None or loss is not None or example_inputs is not None:
            raise ValueError("data, loss and example_inputs are for torch models; an ONNX model is pruned by its weights alone")
        return cast(Model, prune_onnx(model, spec))
    check_types(model, spec)
    module = cast(nn.Module, model)
    if isinstance(spec.granularity, Channels):
        prune_channels(module, spec, data=data, loss=loss, example_inputs=example_inputs)
    elif criterion_of(spec.criterion).moves_weights:
        prune_sparsegpt(module, spec, data=data)
    else:
        prune_masks(module, spec, data=data, loss=loss, example_inputs=example_inputs)
    return model
