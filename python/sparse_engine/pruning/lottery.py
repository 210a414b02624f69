"""Lottery tickets: prune what a training found small, put what stays back to where it was early on, and train again.

Source: Frankle and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019; rewinding to early training instead of initialisation:
Frankle, Dziugaite, Roy, Carbin, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.module import _EXTRA_STATE_KEY_SUFFIX

from .calibration import Loss
from .pruner import Pruner
from .schedules import Exponential, OneShot
from .snapshot import Snapshot
from .spec import Spec

Model = TypeVar("Model", bound=nn.Module)


def rewind(model: Model, state: Mapping[str, Tensor]) -> Model:
    """Give every parameter and buffer of `model` the value it had in `state`; masks stay, and what is under them stays 0.

    Args:
        model: pruned or not; changed in place and returned. Make the optimizer again: its momentum is of other weights.
        state: an earlier `model.state_dict()`, copied: its tensors are the model's own and change while it trains.
    Raises:
        ValueError: the state of another model, or one that shares the model's memory. Besides, whatever a module raises in
            loading of its own. The model is unchanged after each of them.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(f"the state is another model's: it lacks {missing[:3] or 'nothing'} and has {extra[:3] or 'nothing'}")
    for name, value in own.items():
        if name.endswith(_EXTRA_STATE_KEY_SUFFIX):
            continue  # of whatever type and size
        if _shape(value) != _shape(state[name]):
            raise ValueError(f"{name!r} has shape {_shape(state[name])} in the state and {_shape(value)} in the model")
        if isinstance(value, Tensor) and value.numel() and value.data_ptr() == state[name].data_ptr():
            raise ValueError(f"{name!r} of the state is the model's own tensor; keep a copy.deepcopy(model.state_dict())")
    before = Snapshot(model)
    try:
        model.load_state_dict(state)
    except BaseException:
        before.restore()
        raise
    return model


class LotteryTicket:
    """Iterative pruning with rewinding: each round takes the same share of what is left, and rewinds the rest.

        ticket = engine.pruning.LotteryTicket(model, engine.Spec(sparsity=0.9), rounds=5)  # remembers the weights
        train(model)
        while ticket.next_round():
            train(model)  # with a new optimizer

    Made before any training it rewinds to initialisation (2019), made after some steps to early training (2020), which is what
    larger networks need.

    Args:
        model: any module; one inside `DistributedDataParallel` is found in it.
        spec: the final budget, as `sparsity` or `nonzeros`; with one round any.
        rounds: how often to prune and rewind, at least 1.
        data, loss, example_inputs: as for `prune`.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: Spec,
        rounds: int,
        *,
        data: Iterable[Any] | None = None,
        loss: Loss | None = None,
        example_inputs: Any = None,
    ) -> None:
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise ValueError(f"rounds = {rounds!r} must be a whole number of at least 1, how often to prune and rewind")
        schedule = OneShot() if rounds == 1 else Exponential(0, rounds - 1)
        self._pruner = Pruner(model, spec, schedule, data=data, loss=loss, example_inputs=example_inputs)
        self.rounds = rounds
        self._early = _copied(self.model.state_dict())

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self._pruner.model

    @property
    def round(self) -> int:
        """Rounds done so far."""
        return min(self._pruner.steps, self.rounds)

    def next_round(self) -> bool:
        """Prune the model as it is trained now, and rewind it. False, and nothing done, when all rounds are over."""
        if self.round == self.rounds:
            return False
        self._pruner.step()
        rewind(self.model, self._early)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Rounds, masks and the early weights, plain tensors and numbers: with the model's own state, all it takes to go on."""
        return {"pruner": self._pruner.state_dict(), "early": _copied(self._early)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; load the model's own state as well, before or after.

        Raises:
            ValueError: the state of another spec, number of rounds or model.
        """
        early, own = state["early"], self.model.state_dict()
        if early.keys() != own.keys() or any(_shape(early[name]) != _shape(value) for name, value in own.items()):
            raise ValueError("the state is another model's: its early weights have other names or shapes")
        self._pruner.load_state_dict(state["pruner"])
        self._early = _copied(early)


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict of its own memory, with what torch keeps of modules beside the tensors."""
    copied: Any = OrderedDict(
        (name, value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)) for name, value in state.items()
    )
    if hasattr(state, "_metadata"):
        copied._metadata = copy.deepcopy(state._metadata)
    return copied  # type: ignore[no-any-return]


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else None
