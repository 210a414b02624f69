"""`Pruner`: pruning along a schedule while a model trains, resumable at any step."""

import glob
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from ..masking.hooks import Watched, held_by
from ..masking.mask import Mask, keep_largest
from ..nn.base import masks_on
from .attachment import can_be_masked, pruned_weights, put_masks, put_under
from .averages import watch_averages
from .calibration import Loss
from .criteria import criterion_of
from .granularity import Channels, Element
from .identity import identity_of
from .mask_strategy import choose_masks
from .module_weights import Weight
from .origin import remember
from .schedules import OneShot, Regrowth, Schedule
from .selection import chosen_by, prunable, selected_layers
from .spec import Spec, of_layer
from .targets import held_count, held_mask, parameters_of, view_of, weight_of


class Pruner:
    """Prunes `model` step by step towards `spec`.

        pruner = engine.Pruner(model, spec, schedule=engine.schedules.Cubic(begin=0, end=1000, every=100))
        for x, y in batches:
            loss(model(x), y).backward()
            optimizer.step()
            pruner.step()

    Weights that are under masks already stay removed: a gradual schedule goes from what is there to the final budget, layer by
    layer with `scope="layer"`, and RigL and SET exchange at what is there where it is more than the spec asks for. Only
    `OneShot` does what `prune` does. Averages (`torch.optim.swa_utils.AveragedModel`) follow the masks at each
    `update_parameters`.

    Args:
        model: any module; one inside `DistributedDataParallel` is found in it, and all ranks get the masks of rank 0.
        spec: the final budget, as `sparsity` or `nonzeros`; with `OneShot` any.
        schedule: when to prune and how far; `OneShot` at once by default.
        data, loss, example_inputs: as for `prune`, for criteria and budgets that need them; `data` is read every time.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: Spec,
        schedule: Schedule | None = None,
        *,
        data: Iterable[Any] | None = None,
        loss: Loss | None = None,
        example_inputs: Any = None,
    ) -> None:
        schedule = OneShot() if schedule is None else schedule
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule must be one of engine.schedules, such as engine.schedules.Cubic(0, 1000, 100), not {schedule!r}"
            )
        if criterion_of(spec.criterion).moves_weights:
            raise ValueError('criterion = "obs" is one-shot and moves weights: call engine.prune once instead of a Pruner')
        if isinstance(spec.granularity, Channels):
            raise ValueError(
                'granularity = "channel" changes shapes, which an optimizer does not follow: call engine.prune, make the '
                "optimizer again, train, and repeat"
            )
        gradual = not isinstance(schedule, (OneShot, Regrowth))
        if gradual and (spec.sparsity is None and spec.nonzeros is None):
            raise ValueError(
                f"{schedule} goes through many budgets: give the last as sparsity= or nonzeros=, or use OneShot for this spec"
            )
        if gradual and spec.granularity.fixes is not None:
            raise ValueError(f"granularity = {spec.granularity!r} has one budget only; use OneShot")
        if isinstance(schedule, Regrowth) and not isinstance(spec.granularity, Element):
            raise ValueError(f"{type(schedule).__name__} exchanges single weights; it needs granularity='element'")
        self.model: nn.Module = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        self.spec, self.schedule = spec, schedule
        self._options: dict[str, Any] = {"data": data, "loss": loss, "example_inputs": example_inputs}
        self._steps = 0
        self._held: dict[str, int] | None = None  # of each layer, weights that were left when the schedule began
        remember(self.model)
        watch_averages()
        self._watch()

    @property
    def steps(self) -> int:
        """Calls of `step` so far."""
        return self._steps

    @property
    def done(self) -> bool:
        """Whether the schedule has ended."""
        return self._steps > self.schedule.end

    def step(self) -> bool:
        """Prune if the schedule says so; call it after every `optimizer.step()`. Returns whether masks changed."""
        step = self._steps
        self._steps += 1
        if not self.schedule.due(step):
            return False
        if isinstance(self.schedule, Regrowth) and step > self.schedule.begin:
            layers, found = self._exchanged(step)
        else:
            held = not isinstance(self.schedule, OneShot)
            layers, found = choose_masks(self.model, self._spec_at(step), **self._options, only_held=held)
        put_under(self.model, layers, _agreed(layers, found))
        self._watch()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Steps and masks, plain tensors and numbers: what it takes to go on exactly where this one is."""
        masks = {name: torch.from_numpy(mask.bits.copy()) for name, mask in pruned_weights(self.model).items()}
        known = {"schedule": repr(self.schedule), "spec": identity_of(self.spec)}
        return {"steps": self._steps, "masks": masks, "held": None if self._held is None else dict(self._held), **known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`: its steps, and the model under its masks. Load the model's own state as well: after this one, or
        before it where the model is not pruned yet (masks of other weights would write zeros).

        Raises:
            ValueError: the state of another spec, schedule or model. The model is unchanged then. A criterion that is a
                function is known by its module and qualified name.
        """
        for name, own in (("schedule", repr(self.schedule)), ("spec", identity_of(self.spec))):
            if state.get(name) != own:
                raise ValueError(f"the state was saved with {name} = {state.get(name)}; this pruner has {own}")
        masks, steps = self._read(state["masks"]), int(state["steps"])
        held = state.get("held", {})  # earlier releases began with everything
        held = None if held is None else {str(name): int(count) for name, count in held.items()}
        put_masks(self.model, masks)
        self._steps, self._held = steps, held
        self._watch()

    def _read(self, saved: Mapping[str, Any]) -> dict[str, Mask]:
        """Masks of a state, each looked at before any is used."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        found = {}
        for name, bits in saved.items():
            if not can_be_masked(self.model, name):
                raise ValueError(f"the state has a mask for {name!r}; the model has no such weight")
            weight = parameters[name]
            if bits.dtype is not torch.uint8 or bits.shape != ((weight.numel() + 7) // 8,):
                raise ValueError(
                    f"the state's mask of {name!r} is {bits.dtype} of shape {tuple(bits.shape)}; a weight of shape "
                    f"{tuple(weight.shape)} has {(weight.numel() + 7) // 8} bytes of mask"
                )
            found[name] = Mask(bits.cpu().numpy().copy(), tuple(weight.shape))
        return found

    def _spec_at(self, step: int) -> Spec:
        """The spec of one step: from what was removed when the schedule began to the final budget."""
        spec, schedule = self.spec, self.schedule
        if isinstance(schedule, (OneShot, Regrowth)):
            return spec
        names, layers = selected_layers(self.model, spec, quiet=True)  # choosing the masks says what is left alone
        if self._held is None:
            self._held = {name: held_count(layer) for name, layer in zip(names, layers, strict=True)}
        sizes = {name: weight_of(layer).numel() for name, layer in zip(names, layers, strict=True)}
        held = {name: self._held.get(name, size) for name, size in sizes.items()}
        given = getattr(schedule, "initial", 0.0)

        def removed(names: Iterable[str]) -> float:
            size = sum(sizes[name] for name in names)
            return max(given, 1 - sum(held[name] for name in names) / size if size else 0.0)

        if spec.nonzeros is not None:
            total = sum(sizes.values())
            final = 1 - spec.nonzeros / total if total else 0.0
            now = round(total * (1 - schedule.sparsity(step, final, removed(names))))
            return replace(spec, nonzeros=spec.nonzeros if step >= schedule.end else max(now, spec.nonzeros))
        if spec.scope == "layer":  # each from where it is
            shares = {n: schedule.sparsity(step, of_layer(spec.sparsity, n, None), removed([n])) for n in names}
            return replace(spec, sparsity={glob.escape(name): share for name, share in shares.items()}) if names else spec
        return replace(spec, sparsity=schedule.sparsity(step, spec.sparsity, removed(names)))  # type: ignore[arg-type]

    def _watch(self) -> None:
        if getattr(self.schedule, "grows_by", "") == "gradient":
            for weight in self._exchanging():
                for parameter in parameters_of(weight.layer):
                    held = held_by(parameter)
                    if held is not None and held.watched is None:
                        held.watched = Watched()

    def _exchanging(self) -> list[Weight]:
        """What is under masks and selected, each weight once; gates, experts and the like one by one."""
        found: dict[Any, Weight] = {}
        for name, module in self.model.named_modules():
            masked = masks_on(module)
            for weight in prunable(name, module) if masked else ():
                tensor = weight.tensor
                if weight.parameter in masked and tensor is not None and chosen_by(self.spec, weight):
                    part = "" if weight.layer is module else weight.name.rpartition(weight.parameter)[2]
                    found.setdefault((id(tensor), part), weight)  # shared: once
        return list(found.values())

    def _exchanged(self, step: int) -> tuple[list[Any], list[Mask]]:
        assert isinstance(self.schedule, Regrowth)
        share = self.schedule.exchanged(step)
        layers = [weight.layer for weight in self._exchanging()]
        return layers, [self._exchanged_in(layer, share, step, index) for index, layer in enumerate(layers)]

    def _exchanged_in(self, layer: Any, share: float, step: int, index: int) -> Mask:
        """The new mask of a layer or part, as it is ranked."""
        assert isinstance(self.schedule, Regrowth)
        mask = held_mask(layer)
        assert mask is not None
        kept = mask.reshape(-1).numpy().copy()
        held, free = np.flatnonzero(kept), np.flatnonzero(~kept)
        count = min(round(share * len(held)), len(free))
        sizes = np.abs(weight_of(layer).detach().cpu().float().reshape(-1).numpy())
        # Equal ones go and come spread over the weight, not from one end of it; NaN, as after an overflow, stays or comes last.
        gone = held[~keep_largest(np.nan_to_num(sizes[held], nan=np.inf), len(held) - count)]
        if self.schedule.grows_by == "gradient":
            gradients = [_watched_gradient(parameter) for parameter in parameters_of(layer)]
            worth = np.abs(view_of(layer, gradients).cpu().float().reshape(-1).numpy())[free]
        else:
            worth = np.random.default_rng((self.spec.seed, step, index)).random(len(free))
        come = free[keep_largest(np.nan_to_num(worth, nan=0.0, posinf=np.inf), count)]
        kept[gone], kept[come] = False, True
        return Mask.from_numpy(kept.reshape(tuple(mask.shape)))


def _watched_gradient(parameter: torch.Tensor) -> torch.Tensor:
    held = held_by(parameter)
    if held is None or held.watched is None or held.watched.gradient is None:
        raise RuntimeError("RigL grows where the gradient is large: run a backward pass before pruner.step()")
    return held.watched.gradient


def _agreed(layers: list[Any], masks: list[Mask]) -> list[Mask]:
    """The masks of the first rank on all: what they saw of the data differs."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return masks
    agreed = []
    for layer, mask in zip(layers, masks, strict=True):
        bits = torch.from_numpy(mask.bits.copy()).to(layer.weight.device)
        distributed.broadcast(bits, src=0)
        agreed.append(Mask(bits.cpu().numpy(), mask.shape))
    return agreed
