"""What is added to a loss so that weights go to zero while a network trains, before they are pruned."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import BlockGranularity
from .granularity import granularity_of
from .granularity_value import Granularity, matrix_of
from .selection import chosen_by, prunable
from .spec import Spec, matches
from .targets import owners_of, view_of

KINDS = ("l1", "l2", "group", "bn_l1")


def penalty(
    model: nn.Module,
    kind: str,
    *,
    granularity: str | Granularity = "filter",
    include: str | Sequence[str] = ("*",),
    exclude: str | Sequence[str] = (),
) -> Tensor:
    """A differentiable sum over the selected layers; multiply it by a strength and add it to the loss.

    What `prune` prunes by default is added up, attention's in-projections, gates, experts and own layers included, and what is
    under a mask; other weights, such as embeddings, are where `include` names them.

    Args:
        model: any module.
        kind: "l1", Σ|w|; "l2", Σw²; "group", the group lasso Σ √size · ‖w of a group‖₂ over the groups of `granularity`
            (Yuan and Lin, 2006; Wen et al., NeurIPS 2016); "bn_l1", Σ|γ| of batch normalisation (Liu et al., "Network
            Slimming", ICCV 2017).
        granularity: of "group": one of blocks, such as "filter", "kernel" or "4x1", or its value; layers it does not fit are
            passed over.
        include, exclude: glob patterns on module names, as in `Spec`.
    Returns:
        A scalar tensor.
    Raises:
        ValueError: an unknown kind, a granularity without groups, or no layer to add up.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r} is not one of: {', '.join(KINDS)}")
    chosen = Spec(sparsity=0.0, include=include, exclude=exclude)
    blocks = granularity_of(granularity)
    if kind == "group" and not isinstance(blocks, BlockGranularity):
        raise ValueError(
            f"granularity = {granularity!r} has no groups of weights that go together; use 'filter' or blocks such as '4x1'"
        )
    terms: list[Tensor] = []
    for name, module in model.named_modules():
        if kind == "bn_l1":
            gamma = module._parameters.get("weight")
            selected = matches(name, chosen.include) and not matches(name, chosen.exclude)
            if selected and gamma is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
                terms.append(gamma.abs().sum())
            continue
        for own in prunable(name, module):
            if not chosen_by(chosen, own):
                continue
            weight = view_of(own.layer, [getattr(part, parameter) for part, parameter in owners_of(own.layer)])
            if kind == "l1":
                terms.append(weight.abs().sum())
            elif kind == "l2":
                terms.append(weight.square().sum())
            elif isinstance(blocks, BlockGranularity) and blocks.refusal(tuple(weight.shape)) is None:
                terms.append(_group_lasso(weight, blocks))
    if not terms:
        raise ValueError(f"kind = {kind!r} finds nothing to add up in the selected layers")
    return torch.stack(terms).sum()


def _group_lasso(weight: Tensor, blocks: BlockGranularity) -> Tensor:
    rows, cols = matrix_of(tuple(weight.shape))
    height, width = blocks.block(tuple(weight.shape))
    matrix = weight.reshape(rows, cols)
    down, across = math.ceil(rows / height), math.ceil(cols / width)
    padded = nn.functional.pad(matrix, (0, across * width - cols, 0, down * height - rows))
    groups = padded.reshape(down, height, across, width).transpose(1, 2).reshape(down * across, height * width)
    ones = nn.functional.pad(torch.ones_like(matrix), (0, across * width - cols, 0, down * height - rows))
    sizes = ones.reshape(down, height, across, width).sum((1, 3)).reshape(-1)
    # The norm of a group of zeros has no gradient of its own; 0 is what pulls nothing.
    norms = torch.linalg.vector_norm(groups, dim=1)
    total: Tensor = (sizes.sqrt() * norms).sum()
    return total
