"""What a weight is worth. To add a criterion: one decorated function; nothing else changes.

What it is shown of data it names as `needs=`, one of the statistics in calibration.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _core
from .calibration import BatchNormScales, CalibrationStatistics, Gradients, Hessians, InputNorms, Statistic

if TYPE_CHECKING:
    import torch

# From a prune target and calibration statistics to scores of its weight's shape, outputs first (targets.py). The magnitude of a
# score counts, not its sign.
Score = Callable[["torch.nn.Module", CalibrationStatistics], "torch.Tensor"]


@dataclass(frozen=True)
class Criterion:
    """How weights are scored, and how the scores of a group become its own."""

    score: Score
    norm: _core.Norm = _core.Norm.l1
    needs: Statistic | None = None  # what is gathered on data first
    moves_weights: bool = False  # layers are solved one after another, and the weights that stay move: see sparsegpt.py
    estimates_loss: bool = False  # scores estimate what the loss gains, so that those of several layers compare
    groups_only: bool = False  # scores are those of output channels
    within_layer: bool = False  # and say nothing about those of other layers
    by_row: bool = False  # single weights of a linear layer are ranked within each output, unless the Spec has a scope


CRITERIA: dict[str, Criterion] = {}


def criterion(name: str, **options: Any) -> Callable[[Score], Score]:
    """Register a function under `name`; `options` are the other fields of `Criterion`."""

    def register(function: Score) -> Score:
        CRITERIA[name] = Criterion(function, **options)
        return function

    return register


def criterion_of(value: object) -> Criterion:
    """The criterion that `value` names, or one made of a function from weight to scores.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and value in CRITERIA:
        return CRITERIA[value]
    if callable(value):
        function: Any = value

        def score(target: Any, statistics: CalibrationStatistics) -> "torch.Tensor":
            weight = _weight(target)
            return _checked(function(weight.detach()), weight)

        return Criterion(score)
    raise ValueError(f"criterion = {value!r} is not one of: {', '.join(sorted(CRITERIA))}, or a function weight -> scores")


def _checked(scores: Any, weight: "torch.Tensor") -> "torch.Tensor":
    if getattr(scores, "shape", None) != weight.shape:
        raise ValueError(
            f"criterion returned {tuple(getattr(scores, 'shape', ())) or type(scores).__name__} for a weight of shape "
            f"{tuple(weight.shape)}; it must return a tensor of that shape"
        )
    result: torch.Tensor = scores
    return result


def _weight(target: "torch.nn.Module") -> "torch.Tensor":
    from .targets import weight_of

    return weight_of(target)


@criterion("l1")
def l1(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """The magnitude of the weight itself, |w|; of a group the mean of them.

    Source: Han et al., NeurIPS 2015; Li et al., ICLR 2017.
    """
    return _weight(target)


@criterion("l2", norm=_core.Norm.l2)
def l2(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """The magnitude; of a group the root of the mean square.

    Source: He et al., "Soft Filter Pruning", IJCAI 2018.
    """
    return l1(target, statistics)


@criterion("random")
def random(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """Nothing but chance, the same in every run: drawn from `Spec.seed` and the target's index among the selected."""
    import torch

    generator = torch.Generator().manual_seed(statistics.seed + statistics.index[target])
    weight = _weight(target)
    return torch.rand(weight.shape, generator=generator)


@criterion("taylor", needs=Gradients(), estimates_loss=True)
def taylor(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """First-order change of the loss when the weight goes: |w · ∂loss/∂w|, the gradient a mean over the data.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
    """
    weight = _weight(target)
    return weight.detach() * statistics[target]


@criterion("wanda", needs=InputNorms(), by_row=True)
def wanda(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """|w| · ‖x‖₂, x what the weight is multiplied with over all the data; ranked within each output of a linear layer.

    Source: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024.
    """
    weight = _weight(target)
    return weight.detach().abs() * statistics[target]


@criterion("obs", needs=Hessians(), moves_weights=True)
def obs(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """w² / [H⁻¹]ᵢᵢ, what the output changes when the weight goes and the others make up for it; they are moved so.

    Source: Frantar and Alistarh, "SparseGPT", ICML 2023. What is asked for here are the weights alone, to be looked at.
    """
    return l1(target, statistics)


@criterion("bn_scale", needs=BatchNormScales(), groups_only=True)
def bn_scale(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """|γ| of the batch normalisation that follows, the same for all weights of an output channel.

    Source: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.
    """
    return statistics[target].expand(_weight(target).shape)


@criterion("fpgm", groups_only=True, within_layer=True)
def fpgm(target: "torch.nn.Module", statistics: CalibrationStatistics) -> "torch.Tensor":
    """How far an output channel lies from all others, the sum of distances: those near the geometric median go first.

    Source: He et al., "Filter Pruning via Geometric Median", CVPR 2019.
    """
    import torch

    weight = _weight(target)
    rows = weight.detach().reshape(weight.shape[0], -1).double()
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1).float()
    return distances.reshape(-1, *[1] * (weight.dim() - 1)).expand(weight.shape)
