"""Pruned LSTM and GRU layers: dense torch while gradients are needed, native recurrence on sparse weights otherwise.

Every gate of every weight is pruned like a layer of its own, so that with scope="layer" all gates keep the same share. Masks
hold through optimizer steps, loading and moving, as those of other layers do, and gradients of pruned weights are zero.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _core
from ..masking.hooks import hold
from ..masking.mask import Mask
from . import operators
from .base import UNHELD, Pruned, on_stand_ins
from .convert import KINDS, stand_in
from .fallback import DISABLED, NOT_OWN, PARAMETRIZED, TRAINING, native_enabled, transformed
from .formats import DENSE, modelled
from .scripted import gru, lstm, script_as
from .tracing import not_traced, takes_operators
from .value_types import NATIVE_TYPES, as_float32, unfit_types

GATES = {"LSTM": "ifgo", "GRU": "rzn"}  # in torch's order


class PrunedRecurrent(Pruned, nn.RNNBase):
    """Mixin of a pruned recurrent layer."""

    plain: ClassVar[type[nn.RNNBase]]
    __jit_unused_properties__ = ["masks", "all_weights", "qconfig"]  # noqa: RUF012 - a list, as torch has it

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's layer: (output, h_n) or (output, (h_n, c_n))."""
        if torch.compiler.is_compiling():
            return self._traced(input, hx)
        return self._computed(input, hx)

    @not_traced
    def _computed(self, input: Any, hx: Any) -> Any:
        state = self._sparse
        stand_ins = self._stand_ins()
        if stand_ins:
            state.fall_back(NOT_OWN)
            return on_stand_ins(stand_ins, lambda: super(PrunedRecurrent, self).forward(input, hx))
        reason = self._unfit(input, hx)
        if reason is not None:
            state.fall_back(reason)
            return super().forward(input, hx)
        return self._infer(input, hx)

    def _infer(self, input: Tensor, hx: Any) -> Any:
        """The result with the kernel that measured faster, of inputs that native code takes."""
        state, dtype = self._sparse, input.dtype
        ways = {DENSE: lambda: super(PrunedRecurrent, self).forward(input, hx), "csr": lambda: self._rounded(input, hx)}
        choice = state.choices.exact.get((input.shape, torch.get_num_threads(), dtype))
        if choice is None:
            batch_axis, time_axis = (0, 1) if self.batch_first else (1, 0)
            batch, steps = (1, input.shape[0]) if input.dim() == 2 else (input.shape[batch_axis], input.shape[time_axis])
            expected = modelled(["csr"], state.density, batch, dtype)
            kernel, result = state.choices.decide(input.shape, (batch, steps), ways, expected, dtype)
            return ways[kernel]() if result is None else result
        choice.left -= 1
        return state.choices.look_again(choice, ways) if choice.left < 0 else ways[choice.kernel]()

    def _traced(self, x: Any, hx: Any) -> Any:
        """The result in a graph that torch is tracing: an operator that takes a batch and its states."""
        states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        if isinstance(x, PackedSequence) or x.dim() not in (2, 3) or any(s.dim() != x.dim() for s in states):
            return super().forward(x, hx)
        weights: list[Any] = [self._parameters.get(name) for name in self._flat_weights_names]
        dtype = next((weight.dtype for weight in weights if weight is not None), None)
        if any(weight is None for weight in weights) or dtype not in NATIVE_TYPES:
            return super().forward(x, hx)
        if not takes_operators(self, [x, *states], weights, dtype):
            return super().forward(x, hx)
        batched, axis = x.dim() == 3, 0 if self.batch_first else 1
        x = x if batched else x.unsqueeze(axis)
        states = tuple(state if batched else state.unsqueeze(1) for state in states)
        if hx is None:
            layers = self.num_layers * (2 if self.bidirectional else 1)
            states = tuple(x.new_zeros(layers, x.shape[axis], self.hidden_size) for _ in self._state_names)
        operator = operators.lstm if self.mode == "LSTM" else operators.gru
        y, *after = operator(x, *states, weights, self.bias, self.num_layers, self.bidirectional, self.batch_first)
        if not batched:
            y, after = y.squeeze(axis), [state.squeeze(1) for state in after]
        return y, (tuple(after) if self.mode == "LSTM" else after[0])

    def _serves(self, kind: str, arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> bool:
        if kind != self.mode.lower() or len(weights) != len(self._flat_weights_names):
            return False
        own = (self.bias, self.num_layers, self.bidirectional, self.batch_first)
        names = zip(self._flat_weights_names, weights, strict=True)
        return arguments == own and all(self._parameters.get(name) is weight for name, weight in names)

    def _unfit(self, x: Any, hx: Any) -> str | None:
        """Why native code does not take this call, or None."""
        if not native_enabled():
            return DISABLED
        if any(name not in self._parameters for name in self._flat_weights_names):
            return PARAMETRIZED
        states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        if isinstance(x, PackedSequence):
            return "a packed sequence: pad it (torch.nn.utils.rnn.pad_packed_sequence)"
        tensors = (x, *states, *self._flat_weights)
        if self.training or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return TRAINING
        if not all(t.is_cpu for t in tensors):
            return "native kernels run on the CPU"
        types = unfit_types(*tensors[1 + len(states) :], x, *states)
        if types is not None:
            return types
        if type(x) is not Tensor or x.layout is not torch.strided or x.numel() == 0 or x.dim() not in (2, 3):
            return "input of another kind"
        if x.shape[-1] != self.input_size or torch.is_autocast_enabled("cpu"):
            return "autocast, or a size that torch refuses"
        batch = () if x.dim() == 2 else (x.shape[0 if self.batch_first else 1],)
        shape = (self.num_layers * (2 if self.bidirectional else 1), *batch, self.hidden_size)
        if any(tuple(s.shape) != shape for s in states) or len(states) not in (0, 2 if self.mode == "LSTM" else 1):
            return "a state of a size that torch refuses"
        if transformed(x):
            return "a torch transform or trace is active"
        return None

    def _matrix(self, name: str) -> _core.Matrix:
        under = self._sparse.under
        if name not in self.masks:
            # A weight that no mask is on is watched in the same way: it is packed, too.
            parameter: Any = self._parameters[name]
            own, held = under.get(name, UNHELD)
            if own is not parameter:
                under[name] = (parameter, hold(parameter, Mask.from_numpy(np.ones(tuple(parameter.shape), np.bool_))))
            elif held.version != parameter._version:
                held.settle(parameter)
        return self._sparse.pack(name, dtype=under[name][0].dtype).matrix("csr")

    def _rounded(self, x: Tensor, hx: Any) -> Any:
        """The native result as the type of `x`: states stay float32 from step to step, and are rounded at the end."""
        dtype = x.dtype
        if dtype is torch.float32:
            return self._native(x, hx)
        wide = tuple(as_float32(s, dtype) for s in hx) if isinstance(hx, tuple) else None if hx is None else hx.float()
        y, after = self._native(as_float32(x, dtype), wide)
        return y.to(dtype), tuple(s.to(dtype) for s in after) if isinstance(after, tuple) else after.to(dtype)

    def _native(self, x: Tensor, hx: Any) -> Any:
        # numpy throughout: its calls on arrays this small cost a fraction of torch's.
        batched, hidden = x.dim() == 3, self.hidden_size
        given = _numpy(x)
        outputs = (given.swapaxes(0, 1) if self.batch_first else given) if batched else given[:, None]
        length, batch = outputs.shape[:2]
        directions = 2 if self.bidirectional else 1
        states = [np.zeros((self.num_layers * directions, batch, hidden), np.float32) for _ in self._state_names]
        if hx is not None:
            for own, before in zip(states, hx if isinstance(hx, tuple) else (hx,), strict=True):
                own[...] = _numpy(before) if batched else _numpy(before)[:, None]
        for layer in range(self.num_layers):
            y = np.empty((length, batch, directions * hidden), np.float32)
            for direction in range(directions):
                own_states = [state[layer * directions + direction] for state in states]
                half = y[..., direction * hidden : (direction + 1) * hidden]
                self._direction(outputs, f"_l{layer}{'_reverse' * direction}", own_states, half, bool(direction))
            outputs = y
        if batched and self.batch_first:
            outputs = outputs.swapaxes(0, 1)
        elif not batched:
            outputs, states = outputs[:, 0], [state[:, 0] for state in states]
        after = tuple(torch.from_numpy(state) for state in states)
        return torch.from_numpy(outputs), (after if self.mode == "LSTM" else after[0])

    @property
    def _state_names(self) -> str:
        return "hc" if self.mode == "LSTM" else "h"

    def _direction(self, x: Any, suffix: str, states: list[Any], y: Any, backwards: bool) -> None:
        gates = np.empty((x.shape[0], x.shape[1], len(GATES[self.mode]) * self.hidden_size), np.float32)
        of_input, of_state = self._biases(suffix)
        # Not by way of `native_linear`: its questions would cost a fifth of a small layer, and all are answered here.
        flat, into = x.reshape(-1, x.shape[-1]), gates.reshape(-1, gates.shape[2])
        _core.linear(flat, self._matrix(f"weight_ih{suffix}"), of_input, _core.Activation.none, into)
        recurrent = self._matrix(f"weight_hh{suffix}")
        if self.mode == "LSTM":
            _core.lstm(recurrent, gates, states[0], states[1], y, backwards)
        else:
            _core.gru(recurrent, of_state, gates, states[0], y, backwards)

    def _biases(self, suffix: str) -> tuple[Any, Any]:
        """What is added to the input's product, and to the recurrent one."""
        if not self.bias:
            return None, None
        of_input, of_state = (_numpy(self._parameters[f"bias_{kind}{suffix}"].float()) for kind in ("ih", "hh"))  # type: ignore[union-attr]
        return (of_input + of_state, None) if self.mode == "LSTM" else (of_input, of_state)


def _numpy(x: Tensor) -> Any:
    return x.detach().resolve_neg().numpy()


class SparseLSTM(PrunedRecurrent, nn.LSTM):
    """A pruned `torch.nn.LSTM`: same parameters, same results within rounding, native recurrence in inference."""

    plain = nn.LSTM


class SparseGRU(PrunedRecurrent, nn.GRU):
    """A pruned `torch.nn.GRU`: same parameters, same results within rounding, native recurrence in inference."""

    plain = nn.GRU


script_as(SparseLSTM, lstm)
script_as(SparseGRU, gru)


def _standing_in(
    weights: Sequence[Tensor],
    masks: Sequence[Mask | None],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    *,
    kind: Any,
) -> nn.Module:
    """A layer to stand in for one with somebody else's weights."""
    hidden = weights[1].shape[1]
    layer = kind(
        weights[0].shape[1],
        hidden,
        num_layers,
        bias=has_biases,
        batch_first=batch_first,
        bidirectional=bidirectional,
        device="meta",
    )
    names = layer._flat_weights_names
    kept = {
        name: None if mask is None else torch.from_numpy(mask.to_numpy())
        for name, mask in zip(names, masks, strict=True)
        if name.startswith("weight")
    }
    stand_in(layer, dict(zip(names, weights, strict=True)), kept)
    layer._flat_weights = list(weights)
    return layer  # type: ignore[no-any-return]


operators.STAND_INS["lstm"] = partial(_standing_in, kind=nn.LSTM)
operators.STAND_INS["gru"] = partial(_standing_in, kind=nn.GRU)
KINDS.update({nn.LSTM: SparseLSTM, nn.GRU: SparseGRU})
