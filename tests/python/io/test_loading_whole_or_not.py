"""A load that fails, however late, leaves the model exactly as it was."""

import copy
import json
import struct
import warnings

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from torch import nn  # noqa: E402

SEEN = (2, 3, 8, 8)


class Late(nn.Module):
    """The last module to be loaded; fails where told, after it has changed everything it can reach."""

    fails = None

    def __init__(self, neighbour):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.settings, self.history, self.note = {"scale": {"inner": 1.0}}, [1, [2]], "before"
        self.cache = torch.zeros(3)
        self.__dict__["neighbour"] = neighbour

    def forward(self, x):
        return self.layer(x)

    def get_extra_state(self):
        return {"scale": 2.0}

    def set_extra_state(self, value):
        self.settings["scale"]["inner"] = value["scale"]
        self.history[1].append(3)
        self.note = "after"
        self.cache += 1
        self.train()
        if self.fails == "extra":
            raise KeyError("set_extra_state")

    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        if self.fails == "loading":
            self.neighbour.weight = nn.Parameter(torch.ones(2, 2))
            self.layer.register_buffer("new", torch.ones(1))
            self.layer.bias.data = torch.zeros(3)
            raise ArithmeticError("_load_from_state_dict")
        if self.fails == "message":
            args[-1].append("a message to torch")
        if self.fails == "interrupt":
            raise KeyboardInterrupt


def network():
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 3)
    layers = [first, nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 33), nn.Unflatten(1, (33, 1)), nn.LSTM(1, 6)]
    return nn.Sequential(*layers, Last(), Late(first))


class Last(nn.Module):
    def forward(self, x):
        return x[0][-1]


def pruned(sparsity=0.8):
    model = engine.prune(network(), engine.Spec(sparsity=sparsity)).eval()
    engine.autotune(model, torch.ones(SEEN))
    return model


def half_pruned():
    """Some layers under masks, with decisions, gradients and training flags of their own."""
    model = engine.prune(network(), engine.Spec(sparsity=0.4, include=("3", "5"))).eval()
    engine.autotune(model, torch.ones(SEEN))
    model[1].train()
    model[3].weight.grad = torch.ones(33, 288)
    return model


def picture(model):
    """Everything that may be compared before and after."""
    return {
        "classes": [(name, type(module), module.training) for name, module in model.named_modules()],
        "objects": {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "memory": {name: tensor.data_ptr() for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "values": copy.deepcopy({n: v for n, v in model.state_dict().items() if isinstance(v, torch.Tensor)}),
        "masks": engine.masks(model),
        "decisions": engine.nn.decisions(model),
        "channels": engine.channels.removed_channels(model),
        "sizes": repr(model),
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "plain": copy.deepcopy([model[-1].settings, model[-1].history, model[-1].note, model[-1].cache.tolist()]),
    }


def assert_unchanged(model, before):
    after = picture(model)
    for what in ("values", "masks"):
        assert before[what].keys() == after[what].keys()
        for name, value in before.pop(what).items():
            assert torch.equal(value, after[what][name]), (what, name)
    for one, other in zip(before.pop("gradients"), after["gradients"], strict=True):
        assert one is other or torch.equal(one, other)
    for what, value in before.items():
        assert value == after[what], what
    # Masks still hold, in values and gradients; what was under none is under none.
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    model.zero_grad()
    model(torch.randn(SEEN)).square().sum().backward()
    optimizer.step()
    weights = dict(model.named_parameters())
    for name, mask in after["masks"].items():
        assert not weights[name][~mask].any()
        assert not weights[name].grad[~mask].any()
    for name in ("0.weight", "7.layer.weight"):
        if name not in after["masks"]:
            assert (weights[name] != 0).all()


def edit(path, change):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["sparse_engine"])
    change(about)
    header["__metadata__"]["sparse_engine"] = json.dumps(about)
    fresh = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(fresh)) + fresh + content[8 + size :])


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def of_another_architecture(path):
    engine.save(engine.prune(nn.Linear(4, 4), engine.Spec(sparsity=0.5)), path)


def wrong_version(about):
    about["modules"]["1"]["version"] = "2"


FAILURES = {
    "damaged": (cut, ValueError),
    "another architecture": (of_another_architecture, ValueError),
    "mask of a bias": (lambda path: edit(path, lambda about: about["masked"].append("3.bias")), ValueError),
    "a version that is none": (lambda path: edit(path, wrong_version), ValueError),
    "extra state": (lambda path: edit(path, lambda about: about["extra"].update({"7._extra_state": 5})), TypeError),
    "channels": (lambda path: edit(path, lambda about: about.update(removed={"0.weight": {"0": 3}})), ValueError),
    "loading": ("loading", ArithmeticError),
    "extra": ("extra", KeyError),
    "message": ("message", ValueError),
    "interrupt": ("interrupt", KeyboardInterrupt),
}


@pytest.mark.parametrize("make", [network, half_pruned, pruned], ids=["plain", "half pruned", "pruned"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_load_that_fails_changes_nothing(tmp_path, monkeypatch, failure, make):
    how, error = FAILURES[failure]
    path = tmp_path / "m"
    engine.save(pruned(), path)
    if isinstance(how, str):
        monkeypatch.setattr(Late, "fails", how)
    else:
        how(path)
    model = make()
    before = picture(model)
    with pytest.raises(error):
        engine.load(path, model)
    assert_unchanged(model, before)


@pytest.mark.parametrize("failure", ["loading", "extra"])
def test_channels_that_a_failed_load_removed_are_back(tmp_path, monkeypatch, failure):
    def network():
        torch.manual_seed(0)
        first = nn.Conv2d(3, 8, 3)
        layers = [first, nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(6, 6), Late(first))

    small = engine.prune(network(), engine.Spec(sparsity=0.5, granularity="channel"), example_inputs=torch.ones(SEEN))
    engine.save(small, tmp_path / "m")
    monkeypatch.setattr(Late, "fails", failure)
    model = engine.prune(network(), engine.Spec(sparsity=0.5, include="0"))
    before = picture(model)
    with pytest.raises((ArithmeticError, KeyError)):
        engine.load(tmp_path / "m", model)
    assert_unchanged(model, before)


def test_a_model_still_loads_after_a_load_that_failed(tmp_path, monkeypatch):
    saved = pruned()
    engine.save(saved, tmp_path / "m")
    model = half_pruned()
    monkeypatch.setattr(Late, "fails", "extra")
    with pytest.raises(KeyError):
        engine.load(tmp_path / "m", model)
    monkeypatch.undo()
    engine.load(tmp_path / "m", model)
    for name, value in saved.state_dict().items():
        assert name.endswith("_extra_state") or torch.equal(value, model.state_dict()[name])
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(torch.ones(SEEN)), saved(torch.ones(SEEN)))


def test_tensors_nobody_can_write_to_and_inference_tensors_are_put_back_too(tmp_path, monkeypatch):
    def network():
        model = nn.Sequential(nn.Linear(6, 6), Late(nn.Linear(2, 2)))
        model.register_buffer("ones", torch.ones(1).expand(5), persistent=False)
        return model

    engine.save(engine.prune(network(), engine.Spec(sparsity=0.5)), tmp_path / "m")
    monkeypatch.setattr(Late, "fails", "extra")
    with torch.inference_mode():
        model = network()
        before = model[0].weight.clone()
        with pytest.raises(KeyError):
            engine.load(tmp_path / "m", model)
    assert torch.equal(model[0].weight, before)
    assert not engine.masks(model)


def test_hostile_decisions_only_cost_their_measurement(tmp_path):
    engine.save(pruned(), tmp_path / "m")

    def endless(about):
        about["decisions"]["3"][0]["size"] = [float("inf")]

    edit(tmp_path / "m", endless)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = engine.load(tmp_path / "m", network())
    assert "chosen anew" in str(caught[0].message)
    assert len(engine.masks(model)) > 3
