"""What a model has beside plain tensors of its own survives a file: names, ties, versions, extra state, and no memory yet."""

import json
import math
import os
import struct

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from torch import nn  # noqa: E402


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.layers = nn.ModuleList([self.first, nn.Linear(8, 8)])

    def forward(self, x):
        return self.layers[1](self.layers[0](x))


class Versioned(nn.Module):
    """Reads differently what an earlier version wrote, and refuses what tells none."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        self.read = local_metadata.get("version")
        if self.read not in (1, 2):
            raise ValueError(f"version {self.read} of Versioned is unknown")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class Extra(nn.Module):
    def __init__(self, value=None):
        super().__init__()
        self.layer, self.value = nn.Linear(8, 8), value

    def forward(self, x):
        return self.layer(x)

    def get_extra_state(self):
        return self.value

    def set_extra_state(self, value):
        self.value = value


class Tied(nn.Module):
    """An embedding, a head of the same weight, and a second name for it, registered in any order."""

    def __init__(self, order, tie=True):
        super().__init__()
        head = nn.Linear(64, 300, bias=False)
        for name in order:
            if name == "name":
                self.name = head.weight
            else:
                setattr(self, name, nn.Embedding(300, 64) if name == "embedding" else head)
        if tie and "embedding" in order:
            self.embedding.weight = head.weight


def metadata(path, change=None):
    """What the file says of itself, rewritten if told so."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["sparse_engine"])
    if change is not None:
        change(about)
        header["__metadata__"]["sparse_engine"] = json.dumps(about)
        fresh = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(fresh)) + fresh + content[8 + size :])
    return about


def as_first_release_wrote(about):
    about["version"] = 1
    del about["extra"], about["modules"]


def assert_same(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    assert engine.masks(a).keys() == engine.masks(b).keys()
    for name, mask in engine.masks(a).items():
        assert torch.equal(mask, engine.masks(b)[name]), name


@pytest.mark.parametrize("release", [1, 2])
def test_a_module_under_two_names_is_read_back(tmp_path, release):
    model = engine.prune(Twice(), engine.Spec(sparsity=0.5))
    engine.save(model, tmp_path / "m")
    if release == 1:
        metadata(tmp_path / "m", as_first_release_wrote)
    assert_same(model, engine.load(tmp_path / "m", Twice()))
    assert_same(model, engine.load(tmp_path / "m", engine.prune(Twice(), engine.Spec(sparsity=0.9))))


def test_a_layer_may_be_masked_under_its_second_name(tmp_path):
    model = engine.prune(Twice(), engine.Spec(sparsity=0.5))
    engine.save(model, tmp_path / "m")
    metadata(tmp_path / "m", lambda about: about.update(masked=["layers.0.weight", "layers.1.weight"]))
    assert_same(model, engine.load(tmp_path / "m", Twice()))


def test_versions_of_modules_come_back(tmp_path, monkeypatch):
    model = engine.prune(Versioned(), engine.Spec(sparsity=0.5))
    engine.save(model, tmp_path / "m")
    assert_same(model, engine.load(tmp_path / "m", Versioned()))
    monkeypatch.setattr(Versioned, "_version", 1)
    engine.save(model, tmp_path / "m")
    monkeypatch.undo()
    assert engine.load(tmp_path / "m", Versioned()).read == 1
    other = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.MultiheadAttention(4, 2))
    engine.save(other, tmp_path / "o")
    assert {n: entry["version"] for n, entry in metadata(tmp_path / "o")["modules"].items()} == {
        name: entry["version"] for name, entry in other.state_dict()._metadata.items()
    }


def test_torchs_word_on_assigning_is_never_taken_from_a_file(tmp_path):
    model = nn.Linear(4, 4)
    engine.save(model, tmp_path / "m")
    metadata(tmp_path / "m", lambda about: about["modules"][""].update(assign_to_params_buffers=True))
    other = nn.Linear(4, 4)
    weight = other.weight
    assert engine.load(tmp_path / "m", other).weight is weight


VALUES = {
    "number": 2.5,
    "nothing": None,
    "not finite": [math.inf, -math.inf],
    "large": 1 << 80,
    "text": "ä\u2028\0",
    "mapping": {"scale": 2.0, "flags": [True, False, None], "inner": {"": ()}, "tensor": {"tensor": "x"}},
    "tuple in list": [(1, 2.0), [], {}],
    "tensor": torch.arange(5),
    "tensors inside": {"a": torch.ones(2, 3, dtype=torch.bfloat16), "b": [torch.zeros(()), (torch.arange(3),)]},
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(v, b[k]) for k, v in a.items())
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("name", VALUES)
def test_extra_state_comes_back_as_it_was(tmp_path, name):
    model = engine.prune(nn.Sequential(Extra(VALUES[name]), Extra(1)), engine.Spec(sparsity=0.5))
    engine.save(model, tmp_path / "m")
    read = engine.load(tmp_path / "m", nn.Sequential(Extra(torch.zeros(7)), Extra()))
    assert same(VALUES[name], read[0].value)
    assert read[1].value == 1
    assert torch.equal(model[0].layer.weight, read[0].layer.weight)


ENDLESS = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2}, {3}, b"bytes", [{"deep": 1j}], os.stat_result(range(10)), ENDLESS],
    ids=lambda v: type(v).__name__,
)
def test_other_extra_state_is_refused_by_name_and_nothing_is_written(tmp_path, value):
    with pytest.raises(TypeError, match=r"extra state '0\._extra_state' (holds|is nested).*") as refusal:
        engine.save(nn.Sequential(Extra(value)), tmp_path / "m")
    assert "files hold" in str(refusal.value) or "deeper" in str(refusal.value)
    assert not os.listdir(tmp_path)


HOSTILE = {
    "unknown kind": {"pickle": "x"},
    "two kinds": {"list": [], "dict": {}},
    "no kind": {},
    "bare list": [1],
    "list of text": {"list": "abc"},
    "tensor of elsewhere": {"tensor": "nowhere"},
    "tensor of another": {"tensor": "0.layer.bias"},
    "tensor without name": {"tensor": 3},
    "deep": {"list": [{"list": [{"list": []}]}]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_extra_state_is_refused(tmp_path, name):
    engine.save(nn.Sequential(Extra(3)), tmp_path / "m")
    told = HOSTILE[name]
    if name == "deep":
        for _ in range(100):
            told = {"list": [told]}
    metadata(tmp_path / "m", lambda about: about["extra"].update({"0._extra_state": told}))
    model = nn.Sequential(Extra(5))
    with pytest.raises(ValueError, match=r"metadata: extra state|lacks"):
        engine.load(tmp_path / "m", model)
    assert model[0].value == 5


@pytest.mark.parametrize(
    "modules", [None, [], {"": 1}, {"": {"version": "two"}}, {"": {"version": {"list": []}}}, {"": {"version": {"x": 1}}}]
)
def test_hostile_versions_are_refused(tmp_path, modules):
    engine.save(nn.BatchNorm1d(4), tmp_path / "m")
    metadata(tmp_path / "m", lambda about: about.update(modules=modules))
    with pytest.raises(ValueError, match="metadata"):
        engine.load(tmp_path / "m", nn.BatchNorm1d(4))


ORDERS = [("embedding", "head"), ("head", "embedding"), ("head", "name"), ("name", "head"), ("head", "name", "embedding")]


@pytest.mark.parametrize("order", ORDERS, ids=" then ".join)
def test_tied_weights_are_written_once_and_sparse(tmp_path, order):
    model = Tied(order)
    engine.prune(model, engine.Spec(sparsity=0.9, include="head"))
    engine.save(model, tmp_path / "m")
    dense = 300 * 64 * 4
    assert os.path.getsize(tmp_path / "m") - 3000 < 0.132 * dense
    for target in (Tied(order), Tied(order, tie=False)):
        assert_same(model, engine.load(tmp_path / "m", target))


def test_weights_tied_after_a_load_are_written_once_and_sparse(tmp_path):
    order = ("embedding", "head")
    model = engine.prune(Tied(order, tie=False), engine.Spec(sparsity=0.9, include="head"))
    engine.save(model, tmp_path / "untied")
    assert os.path.getsize(tmp_path / "untied") > 300 * 64 * 4
    model = engine.load(tmp_path / "untied", Tied(order, tie=False))
    model.head.weight = model.embedding.weight
    engine.save(model, tmp_path / "tied")
    assert os.path.getsize(tmp_path / "tied") - 3000 < 0.132 * 300 * 64 * 4
    read = engine.load(tmp_path / "tied", Tied(order))
    mask = engine.masks(model)["head.weight"]
    assert torch.equal(engine.masks(read)["head.weight"], mask)
    assert torch.equal(read.embedding.weight, torch.where(mask, model.embedding.weight, 0.0))


def test_layers_tied_after_pruning_keep_what_both_masks_keep(tmp_path):
    model = engine.prune(nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20)), engine.Spec(sparsity=0.5))
    both = engine.masks(model)["0.weight"] & engine.masks(model)["1.weight"]
    model[1].weight = model[0].weight
    engine.save(model, tmp_path / "m")
    other = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    other[1].weight = other[0].weight
    engine.load(tmp_path / "m", other)
    assert all(torch.equal(mask, both) for mask in engine.masks(other).values())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.norm, self.head = nn.LSTM(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.again = nn.Linear(8, 4)
        self.again.weight = self.head.weight

    def forward(self, x):
        return self.again(self.norm(self.rnn(x)[0][-1])) + self.head(x[0])


@pytest.mark.parametrize("assigned", [False, True])
def test_a_model_on_the_meta_device_gets_real_weights(tmp_path, assigned):
    model = engine.prune(Recurrent(), engine.Spec(sparsity=0.5)).eval()
    engine.save(model, tmp_path / "m")
    with torch.device("meta"):
        blank = Recurrent().eval()
    if assigned:  # on the meta device in part only
        blank.head = nn.Linear(8, 4)
        blank.again.weight = blank.head.weight
    blank.norm.bias.requires_grad_(False)
    read = engine.load(tmp_path / "m", blank)
    assert not any(t.is_meta for t in read.state_dict().values())
    assert_same(model, read)
    assert read.again.weight is read.head.weight
    assert not read.norm.bias.requires_grad
    with torch.inference_mode():
        x = torch.randn(3, 2, 8)
        torch.testing.assert_close(read(x), model(x))


def test_channels_are_removed_from_a_model_on_the_meta_device(tmp_path):
    def network():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))

    x = torch.randn(1, 3, 8, 8)
    model = engine.prune(network(), engine.Spec(sparsity=0.5, granularity="channel"), example_inputs=x)
    engine.save(model, tmp_path / "m")
    with torch.device("meta"):
        blank = network()
    assert_same(model, engine.load(tmp_path / "m", blank))
    assert engine.channels.removed_channels(blank) == engine.channels.removed_channels(model)


class Positions(nn.Module):
    def __init__(self, attribute):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        if attribute:
            self.steps = torch.arange(4)
        else:
            self.register_buffer("steps", torch.arange(4), persistent=False)


@pytest.mark.parametrize("attribute", [False, True])
def test_a_meta_tensor_that_no_file_holds_is_named_and_the_model_stays_on_the_meta_device(tmp_path, attribute):
    engine.save(Positions(attribute), tmp_path / "m")
    with torch.device("meta"):
        blank = nn.Module.__new__(Positions)
        blank.__init__(attribute)
    weight = blank.layer.weight
    with pytest.raises(ValueError, match=r"meta device.*'steps'"):
        engine.load(tmp_path / "m", blank)
    assert blank.layer.weight is weight
    assert weight.is_meta


def test_a_tensor_of_another_layout_is_refused_by_name(tmp_path):
    model = nn.Linear(4, 4)
    model.register_buffer("graph", torch.eye(4).to_sparse())
    with pytest.raises(ValueError, match=r"'graph' is stored as torch\.sparse_coo"):
        engine.save(model, tmp_path / "m")


def test_tensors_without_values_are_not_saved(tmp_path):
    with torch.device("meta"):
        blank = nn.Linear(4, 4)
    for model in (blank, nn.LazyLinear(4)):
        with pytest.raises(ValueError, match="'weight' has no values to save"):
            engine.save(model, tmp_path / "m")
    assert not os.listdir(tmp_path)
    engine.save(nn.Linear(4, 4), tmp_path / "m")
    with pytest.raises(ValueError, match="run the model once"):
        engine.load(tmp_path / "m", nn.LazyLinear(4))
