"""What is not pruned unless it is named, why, and the one warning that says so."""

import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from .module_weights import BARE, BILINEAR, EMBEDDING, EMBEDDINGS, UNKNOWN, Weight
from .spec import Spec
from .targets import CONVOLUTIONS, TRANSPOSED

SHOWN = 3  # names of a reason
NOTABLE = 0.01  # share of all weights from which a bare parameter is worth a word
FEW = 0.01  # share of all weights below which a convolution that much hangs on saves nothing
IMAGE_CHANNELS = 3
PLAIN = (
    "not a plain parameter (weight_norm, a parametrization or torch's own pruning): remove that first "
    "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove)"
)
FROZEN = "frozen (requires_grad=False) while others are trained"
SHARED = "weight shared with an embedding"
ADAPTER = "adapter (LoRA and the like)"
DEPTHWISE = "depthwise convolution, less than 1% of the weights, a few of which a whole channel hangs on"
FIRST = "convolution of an image's channels, less than 1% of the weights, which all others depend on"
DOUBTS = {
    EMBEDDING: "embedding, a table of which a call reads some rows",
    BILINEAR: "bilinear layer, masked and dense if it is named",
    UNKNOWN: "own class, not seen to multiply by its weight: engine.nn.register(its class) says that it does",
    BARE: "parameter of no layer",
}
# How adapter packages name what they add: LoRA, DoRA and VeRA, LoHa and LoKr, OFT and BOFT, (IA)³, bottleneck adapters.
_ADAPTERS = re.compile(r"(lora|dora|vera|hada|loha|lokr|oft|boft|ia3)_\w+|adapters|adapter_(down|up)|(down|up)_adapter")


class LeftAlone:
    """Names by reason, in the order they came."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Remember a name; parts of the same layer are shown as they come."""
        found = self.names.setdefault(reason, [])
        if name not in found:
            found.append(name)

    def __bool__(self) -> bool:
        return bool(self.names)

    def __str__(self) -> str:
        return "; ".join(f"{_some(names)}: {reason}" for reason, names in self.names.items())

    def warn(self) -> None:
        """Once, at the caller's line; nothing when nothing was left alone."""
        if self:
            warnings.warn(
                f"left alone: {self}. Name them in include= to prune what can be, or in exclude= to say that it is meant",
                stacklevel=_depth_of_caller(),
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(name or "(the model itself)" for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _depth_of_caller() -> int:
    """Frames up to the first one outside this package, as `warnings.warn` counts them."""
    depth, frame = 1, sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        depth, frame = depth + 1, frame.f_back
    return depth


def is_named(spec: Spec, names: Iterable[str]) -> bool:
    """Whether a pattern other than "*" speaks of one of `names`."""
    patterns = [*spec.include, *(spec.sparsity if isinstance(spec.sparsity, Mapping) else ())]
    return any(pattern != "*" and fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Defaults:
    """What a practitioner would not prune in `model`, among the weights that patterns select."""

    def __init__(self, model: nn.Module, weights: Iterable[Weight]) -> None:
        self.embedded = {id(module._parameters.get("weight")) for module in model.modules() if isinstance(module, EMBEDDINGS)}
        tensors = {id(w.tensor): w.tensor for w in weights if w.tensor is not None and not w.doubt}
        adapters = any(is_adapter(name) for name, _ in model.named_parameters())
        # With adapters, or when all is frozen, freezing says nothing of single layers.
        self.frozen_matter = not adapters and any(tensor.requires_grad for tensor in tensors.values())
        self.total = sum(tensor.numel() for tensor in tensors.values())

    def is_trifle(self, weight: Weight) -> bool:
        """Whether nobody would expect `weight` to be pruned, nor want to be told."""
        tensor = weight.tensor
        return weight.doubt == BARE and (tensor is None or tensor.numel() <= NOTABLE * self.total)

    def reason(self, weight: Weight) -> str | None:
        """Why `weight` is left alone unless it is named, or None."""
        tensor = weight.tensor
        if weight.doubt:
            return DOUBTS[weight.doubt]
        if is_adapter(weight.name):
            return ADAPTER
        if id(tensor) in self.embedded:
            return SHARED
        if self.frozen_matter and tensor is not None and not tensor.requires_grad:
            return FROZEN
        few = tensor is not None and tensor.numel() < FEW * self.total
        return _what_hangs_on(weight.layer) if few else None


def _what_hangs_on(layer: object) -> str | None:
    """Why a layer of few weights is better left dense, or None."""
    if not isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)):
        return None
    if layer.groups == layer.in_channels > 1:
        return DEPTHWISE
    of_image = layer.in_channels <= IMAGE_CHANNELS and max(layer.kernel_size) > 1 and not isinstance(layer, TRANSPOSED)
    return FIRST if of_image else None


def is_adapter(name: str) -> bool:
    """Whether a module or parameter of this name was added by an adapter package."""
    return any(_ADAPTERS.fullmatch(part) for part in name.split("."))
