"""Pruned LSTM and GRU layers: dense torch while gradients are needed, native recurrence on sparse weights otherwise.

Every gate of every weight is pruned like a layer of its own, so that with scope="layer" all gates keep the same share. Masks
hold through optimizer steps, loading and moving, as those of other layers do, and gradients of pruned weights are zero.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _core
from ..masking.hooks import hold
from ..masking.mask import Mask
from .base import UNHELD, Pruned, on_stand_ins
from .convert import KINDS
from .fallback import DISABLED, NOT_OWN, PARAMETRIZED, TRAINING, native_enabled, transformed
from .formats import DENSE, modelled
from .scripted import gru, lstm, script_as

GATES = {"LSTM": "ifgo", "GRU": "rzn"}  # in torch's order


class PrunedRecurrent(Pruned, nn.RNNBase):
    """Mixin of a pruned recurrent layer."""

    plain: ClassVar[type[nn.RNNBase]]
    __jit_unused_properties__ = ["masks", "all_weights", "qconfig"]  # noqa: RUF012 - a list, as torch has it

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's layer: (output, h_n) or (output, (h_n, c_n))."""
        if torch.compiler.is_compiling():
            return super().forward(input, hx)
        state = self._sparse
        stand_ins = self._stand_ins()
        if stand_ins:
            state.fall_back(NOT_OWN)
            return on_stand_ins(stand_ins, lambda: super(PrunedRecurrent, self).forward(input, hx))
        reason = self._unfit(input, hx)
        if reason is not None:
            state.fall_back(reason)
            return super().forward(input, hx)
        ways = {DENSE: lambda: super(PrunedRecurrent, self).forward(input, hx), "csr": lambda: self._native(input, hx)}
        choice = state.choices.exact.get((input.shape, torch.get_num_threads()))
        if choice is None:
            batch_axis, time_axis = (0, 1) if self.batch_first else (1, 0)
            batch, steps = (1, input.shape[0]) if input.dim() == 2 else (input.shape[batch_axis], input.shape[time_axis])
            kernel, result = state.choices.decide(input.shape, (batch, steps), ways, modelled(["csr"], state.density, batch))
            return ways[kernel]() if result is None else result
        choice.left -= 1
        return state.choices.look_again(choice, ways) if choice.left < 0 else ways[choice.kernel]()

    def _unfit(self, x: Any, hx: Any) -> str | None:
        """Why native code does not take this call, or None."""
        if not native_enabled():
            return DISABLED
        if any(name not in self._parameters for name in self.masks):
            return PARAMETRIZED
        states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        if isinstance(x, PackedSequence):
            return "a packed sequence: pad it (torch.nn.utils.rnn.pad_packed_sequence)"
        tensors = (x, *states, *self._flat_weights)
        if self.training or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return TRAINING
        if any(t.dtype is not torch.float32 or not t.is_cpu for t in tensors):
            return "native kernels take torch.float32 on the CPU"
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
        return self._sparse.pack(name).matrix("csr")

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
        of_input, of_state = (self._parameters[f"bias_{kind}{suffix}"].detach().numpy() for kind in ("ih", "hh"))  # type: ignore[union-attr]
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

KINDS.update({nn.LSTM: SparseLSTM, nn.GRU: SparseGRU})
