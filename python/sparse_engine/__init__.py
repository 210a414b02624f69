"""Prune a PyTorch model with one call and run it faster on an ordinary CPU.

    import sparse_engine as engine

    model = engine.prune(model, engine.Spec(sparsity=0.9)).eval()
    with torch.inference_mode():
        y = model(x)
    print(engine.report(model, example_inputs=x))

Matrices, `linear`, `conv1d` and `conv2d` need numpy only; what works on models imports torch on first use.
"""

from typing import TYPE_CHECKING, Any

from .bitmask import BitmaskMatrix
from .bsr import BSRMatrix
from .csr import CSRMatrix
from .mask import Mask, keep_largest
from .matrix import Matrix
from .nm import NMMatrix
from .ops import conv1d, conv2d, linear
from .runtime import isa, num_threads, set_isa, set_num_threads, show_config, supported_isas
from .schedules import SET, Cosine, Cubic, Exponential, Linear, OneShot, RigL
from .spec import Spec
from .version import __version__

if TYPE_CHECKING:
    from . import nn
    from .allocation import allocate
    from .attachment import masks, remove_masks
    from .autotuning import autotune, decisions, set_decisions
    from .batchnorm import recalibrate_batchnorm
    from .channels import ChannelGroups, channel_groups
    from .counting import MacCounts, count_macs, densities
    from .files import load, save
    from .given_masks import masks_from_zeros, set_masks
    from .layer import dense_only
    from .lottery import LotteryTicket, rewind
    from .multihead import MaskedMultiheadAttention
    from .nn import (
        MaskedConv3d,
        MaskedConvTranspose1d,
        MaskedConvTranspose2d,
        MaskedConvTranspose3d,
        SparseConv1d,
        SparseConv2d,
        SparseLinear,
    )
    from .penalties import penalty
    from .prediction import what_if
    from .pruner import Pruner
    from .pruning import prune
    from .recurrent import SparseGRU, SparseLSTM
    from .removal import remove_channels, removed_channels
    from .reporting import Report, report
    from .scan import Sensitivity, sensitivity

# Names that need torch, and the module each lives in.
_TORCH_NAMES = {
    "MaskedConv3d": "nn",
    "MaskedConvTranspose1d": "nn",
    "MaskedConvTranspose2d": "nn",
    "MaskedConvTranspose3d": "nn",
    "MaskedMultiheadAttention": "multihead",
    "SparseConv1d": "nn",
    "SparseConv2d": "nn",
    "SparseGRU": "recurrent",
    "SparseLSTM": "recurrent",
    "SparseLinear": "nn",
    "allocate": "allocation",
    "autotune": "autotuning",
    "ChannelGroups": "channels",
    "channel_groups": "channels",
    "MacCounts": "counting",
    "count_macs": "counting",
    "decisions": "autotuning",
    "densities": "counting",
    "dense_only": "layer",
    "load": "files",
    "LotteryTicket": "lottery",
    "masks": "attachment",
    "masks_from_zeros": "given_masks",
    "nn": "nn",
    "Pruner": "pruner",
    "penalty": "penalties",
    "prune": "pruning",
    "recalibrate_batchnorm": "batchnorm",
    "remove_channels": "removal",
    "removed_channels": "removal",
    "remove_masks": "attachment",
    "Report": "reporting",
    "report": "reporting",
    "rewind": "lottery",
    "save": "files",
    "Sensitivity": "scan",
    "sensitivity": "scan",
    "set_decisions": "autotuning",
    "set_masks": "given_masks",
    "what_if": "prediction",
}

__all__ = [
    "SET",
    "BSRMatrix",
    "BitmaskMatrix",
    "CSRMatrix",
    "ChannelGroups",
    "Cosine",
    "Cubic",
    "Exponential",
    "Linear",
    "LotteryTicket",
    "MacCounts",
    "Mask",
    "MaskedConv3d",
    "MaskedConvTranspose1d",
    "MaskedConvTranspose2d",
    "MaskedConvTranspose3d",
    "MaskedMultiheadAttention",
    "Matrix",
    "NMMatrix",
    "OneShot",
    "Pruner",
    "Report",
    "RigL",
    "Sensitivity",
    "SparseConv1d",
    "SparseConv2d",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "Spec",
    "__version__",
    "allocate",
    "autotune",
    "channel_groups",
    "conv1d",
    "conv2d",
    "count_macs",
    "decisions",
    "dense_only",
    "densities",
    "isa",
    "keep_largest",
    "linear",
    "load",
    "masks",
    "masks_from_zeros",
    "nn",
    "num_threads",
    "penalty",
    "prune",
    "recalibrate_batchnorm",
    "remove_channels",
    "remove_masks",
    "removed_channels",
    "report",
    "rewind",
    "save",
    "sensitivity",
    "set_decisions",
    "set_isa",
    "set_masks",
    "set_num_threads",
    "show_config",
    "supported_isas",
    "what_if",
]


def __getattr__(name: str) -> Any:
    if name not in _TORCH_NAMES:
        raise AttributeError(f"module 'sparse_engine' has no attribute '{name}'")
    import importlib

    try:
        module = importlib.import_module(f"{__name__}.{_TORCH_NAMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f"sparse_engine.{name} works on torch models and torch is not installed; pip install 'sparse-engine[torch]'",
            name="torch",
        ) from error
    value = globals()[name] = module if name == "nn" else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
