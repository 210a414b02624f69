"""torch's transformer encoder around pruned layers.

In inference `nn.TransformerEncoderLayer` hands its weights to one fused dense kernel and never calls the layers it is made of,
so that pruned ones would gain nothing. Encoders that hold pruned layers decline that path and call them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Pruned, become


class UnfusedEncoderLayer(nn.TransformerEncoderLayer):
    """A `torch.nn.TransformerEncoderLayer` that calls its layers one by one."""

    plain = nn.TransformerEncoderLayer

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """As torch's."""
        if src.is_nested:
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        padding = F._canonical_mask(
            src_key_padding_mask, "src_key_padding_mask", F._none_or_dtype(src_mask), "src_mask", src.dtype
        )
        mask = F._canonical_mask(src_mask, "src_mask", None, "", src.dtype, check_other=False)
        if self.norm_first:
            x = src + self._sa_block(self.norm1(src), mask, padding, is_causal=is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(src + self._sa_block(src, mask, padding, is_causal=is_causal))
        result: Tensor = self.norm2(x + self._ff_block(x))
        return result


class UnfusedEncoder(nn.TransformerEncoder):
    """A `torch.nn.TransformerEncoder` that passes its layers padded sequences; zeros are where torch's fused path has them."""

    plain = nn.TransformerEncoder

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As torch's."""
        if src.is_nested or torch.compiler.is_compiling() or not self._drops_padding(src, mask, src_key_padding_mask):
            return _called_with(self, src, mask, src_key_padding_mask, is_causal)
        assert src_key_padding_mask is not None
        padding = F._canonical_mask(src_key_padding_mask, "src_key_padding_mask", None, "mask", src.dtype)
        x = src
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        gone = src_key_padding_mask if src_key_padding_mask.dtype is torch.bool else src_key_padding_mask != 0
        x = x.masked_fill(gone[..., None], 0.0)
        return x if self.norm is None else self.norm(x)

    def _drops_padding(self, src: Tensor, mask: Tensor | None, padding: Tensor | None) -> bool:
        """Whether torch's fused path would leave the padded positions out."""
        if padding is None or mask is not None or src.dim() != 3 or not self.__dict__.get("use_nested_tensor", False):
            return False
        if self.layers[0].training or torch.is_autocast_enabled() or not torch.backends.mha.get_fastpath_enabled():
            return False
        if torch.is_grad_enabled() and any(t.requires_grad for t in (src, *self.layers[0].parameters())):
            return False
        aligned = ~(padding if padding.dtype is torch.bool else padding != 0)
        return not self.mask_check or bool(torch._nested_tensor_from_mask_left_aligned(src, aligned))


def _called_with(encoder: Any, src: Tensor, mask: Any, padding: Any, is_causal: bool | None) -> Tensor:
    """torch's own loop over the layers, without nested tensors."""
    padding = F._canonical_mask(padding, "src_key_padding_mask", F._none_or_dtype(mask), "mask", src.dtype)
    mask = F._canonical_mask(mask, "mask", None, "", src.dtype, check_other=False)
    causal = nn.modules.transformer._detect_is_causal_mask(
        mask, is_causal, nn.modules.transformer._get_seq_len(src, encoder.layers[0].self_attn.batch_first)
    )
    x = src
    for layer in encoder.layers:
        x = layer(x, src_mask=mask, is_causal=causal, src_key_padding_mask=padding)
    return x if encoder.norm is None else encoder.norm(x)


UNFUSED: dict[type[nn.Module], Any] = {
    nn.TransformerEncoderLayer: UnfusedEncoderLayer,
    nn.TransformerEncoder: UnfusedEncoder,
}


def decline_fused_paths(model: nn.Module) -> None:
    """Have torch's encoders in `model` call the pruned layers they hold; those that hold none any more are torch's again."""
    module: Any
    for module in model.modules():
        if type(module) in UNFUSED or type(module) in UNFUSED.values():
            holds = any(isinstance(part, Pruned) for part in module.modules())
            if holds and type(module) in UNFUSED:
                become(module, UNFUSED[type(module)])
            elif not holds and type(module) not in UNFUSED:
                module.__dict__.pop("__module__", None)
                module.__class__ = module.plain
