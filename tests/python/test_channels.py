"""Channels removed for good: the smaller model computes what zeros in these channels give."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from topologies import NETWORKS, network

SPEC = engine.Spec(sparsity=0.3, granularity="channel")


@pytest.fixture(autouse=True)
def one_thread():
    """Layers this small take longer on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def size(model):
    return sum(p.numel() for p in model.parameters())


def with_zeros(model, smaller):
    """The original with zeros at all indices that are not left in the smaller one, in float64; by its record alone."""
    zeroed = copy.deepcopy(model).double()
    tensors = dict(zeroed.named_parameters())
    for name, dims in engine.removed_channels(smaller).items():
        for dim, entry in dims.items():
            if name in tensors:
                gone = [i for i in range(entry["size"]) if i not in set(entry["left"])]
                tensors[name].data.index_fill_(int(dim), torch.tensor(gone), 0)
    return zeroed


@torch.no_grad()
def assert_same(model, smaller, *inputs):
    expected, found = with_zeros(model, smaller)(*inputs), copy.deepcopy(smaller).double()(*inputs)
    expected, found = (y[0] if isinstance(y, tuple) else y for y in (expected, found))
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_computes_what_zeros_in_its_channels_give(name, scope):
    model, x = network(name)
    spec = engine.Spec(sparsity=0.3, granularity="channel", scope=scope)
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    assert size(smaller) <= size(model) - round(0.3 * size(model))
    removed = engine.removed_channels(smaller)
    assert removed
    assert all(0 < len(e["left"]) < e["size"] for dims in removed.values() for e in dims.values())
    shapes = {n: t.shape for n, t in [*model.named_parameters(), *model.named_buffers()]}
    for n, tensor in [*smaller.named_parameters(), *smaller.named_buffers()]:
        left = {int(dim): len(entry["left"]) for dim, entry in removed.get(n, {}).items()}
        assert list(tensor.shape) == [left.get(dim, side) for dim, side in enumerate(shapes[n])]


@pytest.mark.parametrize("name", ["vgg", "resnet20", "mobilenet", "transformer"])
def test_a_smaller_network_is_rebuilt_from_its_original_code(name, tmp_path):
    model, x = network(name)
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x[:1])
    engine.prune(smaller, engine.Spec(sparsity=0.5))
    engine.save(smaller, tmp_path / "model.safetensors")
    again = engine.load(tmp_path / "model.safetensors", network(name)[0])
    assert engine.removed_channels(again) == engine.removed_channels(smaller)
    for (n, a), (m, b) in zip(smaller.state_dict().items(), again.state_dict().items(), strict=True):
        assert n == m
        assert torch.equal(a, b)
    with torch.no_grad(), engine.dense_only():
        assert torch.equal(smaller(x), again(x))
    assert size(engine.load(tmp_path / "model.safetensors", again)) == size(smaller)  # into one of these sizes too
    rebuilt = engine.remove_channels(network(name)[0], json.loads(json.dumps(engine.removed_channels(smaller))))
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in smaller.parameters()]


@pytest.mark.parametrize("amount", ["macs", "nonzeros", "bytes", "sparsity"])
def test_amounts_are_of_the_whole_model_and_missed_by_less_than_a_channel(amount):
    model, x = network("resnet50")
    parameters, macs = size(model), engine.count_macs(model, [x[:1]]).total("macs")
    bound = {"macs": int(0.6 * macs), "nonzeros": parameters // 2, "bytes": 2 * parameters, "sparsity": 0.5}[amount]
    spec = engine.Spec(**{amount: bound}, granularity="channel", scope="global")
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    if amount == "macs":
        left = engine.count_macs(smaller, [x[:1]]).total("macs")
        assert bound - 38_912 < left <= bound  # of a channel of the first layer, the largest
    else:
        assert parameters / 2 - 169 < size(smaller) <= parameters / 2


def test_a_mapping_gives_the_share_of_channels_layer_by_layer():
    model, x = network("vgg")
    engine.prune(
        model, engine.Spec(sparsity={"features.2": 0.5, "classifier.*": 0.25}, granularity="channel"), example_inputs=x
    )
    assert model.features[2].out_channels == 4
    assert model.features[5].in_channels == 4
    assert model.classifier[0].out_features == 36
    assert model.features[0].out_channels == 8


def test_smallest_filters_go_first_and_ties_keep_the_lowest_index():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 1.0, 2.0, 1.0]).view(4, 1, 1, 1))
    engine.prune(model, engine.Spec(sparsity={"0": 0.5}, granularity="channel"), example_inputs=torch.zeros(1, 1, 4, 4))
    assert engine.removed_channels(model)["0.weight"]["0"]["left"] == [0, 2]
    tied = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    nn.init.ones_(tied[0].weight)
    engine.prune(tied, engine.Spec(sparsity={"0": 0.5}, granularity="channel"), example_inputs=torch.zeros(1, 1, 4, 4))
    assert len(engine.removed_channels(tied)["0.weight"]["0"]["left"]) == 2


@pytest.mark.parametrize("criterion", ["l2", "random", "taylor", "wanda", "bn_scale", "fpgm", lambda w: w.abs()])
def test_every_criterion_scores_channels(criterion):
    model, x = network("resnet20")
    spec = engine.Spec(sparsity=0.3, granularity="channel", criterion=criterion)
    batches = [(x, torch.tensor([0, 1]))]
    smaller = engine.prune(copy.deepcopy(model), spec, data=batches, loss=F.cross_entropy, example_inputs=x[:1])
    assert_same(model, smaller, x.double())


def test_bn_scale_removes_the_channels_of_the_smallest_scales():
    model, x = network("resnet20")
    with torch.no_grad():
        model.layer1[0].bn1.weight.copy_(torch.tensor([1.0, 0.1, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0]))
    spec = engine.Spec(sparsity={"layer1.0.conv1": 0.25}, granularity="channel", criterion="bn_scale")
    engine.prune(model, spec, example_inputs=x)
    assert engine.removed_channels(model)["layer1.0.bn1.weight"]["0"]["left"] == [0, 2, 4, 5, 6, 7]


def test_bounds_hold_and_excluded_layers_keep_their_channels():
    model, x = network("vgg")
    spec = engine.Spec(
        sparsity=0.6,
        granularity="channel",
        scope="global",
        exclude=["features.0"],
        min_density={"features.12": 0.9, "*": 0.2},
        max_density={"features.7": 0.5},
    )
    engine.prune(model, spec, example_inputs=x)
    assert model.features[0].out_channels == 8
    assert model.features[12].out_channels >= 29
    assert 4 <= model.features[7].out_channels <= 8
    assert all(m.weight.shape[0] >= 1 for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def test_scope_patterns_rank_their_layers_together():
    model, x = network("vgg")
    with torch.no_grad():
        model.features[5].weight.mul_(100)  # beside it all of features.7 goes first
    spec = engine.Spec(sparsity=0.2, granularity="channel", scope=["features.[57]"])
    engine.prune(model, spec, example_inputs=x)
    assert model.features[5].out_channels == 16
    assert model.features[7].out_channels < 16


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.rnn = kind(12, 16, **options)
        self.out = nn.Linear(16 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x):
        return self.out(self.rnn(self.embedding(x))[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_hidden_units_of_recurrent_layers_go_in_all_gates_layers_and_directions(kind, options):
    model, x = Recurrent(kind, **options).eval(), torch.randint(20, (3, 4))
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"rnn": 0.5}, granularity="channel"), example_inputs=x)
    assert smaller.rnn.hidden_size == 8
    assert smaller.rnn.weight_hh_l0.shape == ((4 if kind is nn.LSTM else 3) * 8, 8)
    assert_same(model, smaller, x)
    engine.prune(smaller, engine.Spec(sparsity=0.5))
    with torch.inference_mode():
        sparse = smaller(x)
        with engine.dense_only():
            torch.testing.assert_close(sparse, smaller(x), rtol=1e-4, atol=1e-5)


class AutoEncoder(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 12, 3, 2, 1, 1, groups=groups)
        self.out = nn.Conv2d(12, 1, 3, 1, 1)

    def forward(self, x):
        return self.out(F.relu(self.up(F.relu(self.down(x)))))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolutions_read_and_make_channels(groups):
    model, x = AutoEncoder(groups).eval(), torch.randn(2, 1, 8, 8)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.4, granularity="channel"), example_inputs=x[:1])
    assert smaller.up.in_channels < 8
    assert smaller.up.out_channels < 12
    assert_same(model, smaller, x.double())


class Moves(nn.Module):
    """Channels shuffled between groups, split, swapped, gated and pixel-shuffled."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 1, groups=3), nn.Conv2d(12, 32, 1)
        self.d, self.norm = nn.Conv2d(8, 16, 1), nn.PReLU(8)
        self.e = nn.Linear(8, 4)

    def forward(self, x):
        y = self.b(F.relu(self.a(x)))
        n, c, h, w = y.shape
        y = y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = F.pixel_shuffle(self.c(y), 2)
        first, second = y.split(y.shape[1] // 2, 1)
        y = self.d(torch.cat([second, first], 1).flip(1))
        return self.e(self.norm(F.glu(y, 1)).permute(0, 2, 3, 1))


def test_what_moves_data_moves_channels_likewise():
    torch.manual_seed(0)
    model, x = Moves().eval(), torch.randn(2, 3, 4, 4)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.4, granularity="channel"), example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    assert smaller.a.out_channels < 12
    assert smaller.c.out_channels < 32
    assert smaller.norm.num_parameters < 8


class SizesInCode(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 6, 1), nn.Conv2d(1, 6, 1), nn.Linear(6 * 16, 3)
        self.d = nn.Linear(6 * 16, 3)

    def forward(self, x):
        first = self.a(x).view(-1, 6 * 16)  # stands in the code
        y = self.b(x)
        return self.c(first) + self.d(y.view(y.shape[0], y.shape[1] * 16))  # is worked out


def test_sizes_that_stand_in_the_code_are_found_by_trial_and_kept():
    model, x = SizesInCode().eval(), torch.randn(2, 1, 4, 4)
    found = str(engine.channel_groups(model, x))
    assert "view in the model (SizesInCode) needs its sizes" in found
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.2, granularity="channel"), example_inputs=x)
    assert smaller.a.out_channels == 6
    assert smaller.b.out_channels < 6
    assert_same(model, smaller, x.double())


def test_a_module_called_twice_and_a_shared_weight_shrink_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)
            self.same = nn.Linear(8, 8)
            self.same.weight = self.again.weight

        def forward(self, x):
            y = F.relu(self.again(F.relu(self.again(F.relu(self.first(x))))))
            return self.last(F.relu(self.same(y)))

    model, x = Twice().eval(), torch.randn(3, 5)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"first": 0.5}, granularity="channel"), example_inputs=x)
    assert smaller.same.weight is smaller.again.weight
    assert smaller.again.weight.shape == (4, 4)
    assert (smaller.same.in_features, smaller.same.out_features) == (4, 4)
    assert_same(model, smaller, x.double())


def test_masks_shrink_with_their_weights_and_still_hold():
    model, x = network("vgg")
    engine.prune(model, engine.Spec(sparsity=0.6))
    before = engine.masks(model)
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x[:1]).train()
    removed = engine.removed_channels(smaller)
    for name, mask in engine.masks(smaller).items():
        expected = before[name]
        for dim, entry in removed.get(name, {}).items():
            expected = expected.index_select(int(dim), torch.tensor(entry["left"]))
        assert torch.equal(mask, expected)
    optimizer = torch.optim.SGD(smaller.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(smaller(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    for name, mask in engine.masks(smaller).items():
        assert not dict(smaller.named_parameters())[name][~mask].any()


def test_removing_again_counts_from_the_original_indices():
    model, x = network("resnet50")
    smaller = copy.deepcopy(model)
    for _ in range(3):
        engine.prune(smaller, engine.Spec(sparsity=0.2, granularity="channel"), example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    again = engine.remove_channels(copy.deepcopy(model), engine.removed_channels(smaller))
    assert [p.shape for p in again.parameters()] == [p.shape for p in smaller.parameters()]
    assert size(smaller) < 0.6 * size(model)


def test_smaller_models_are_copied_and_pickled_with_their_record():
    import pickle

    model, x = network("squeezenet")
    engine.prune(model, SPEC, example_inputs=x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert engine.removed_channels(other) == engine.removed_channels(model)
        assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("groups", ["include", "exclude"])
def test_a_selection_without_channels_names_what_there_is(groups):
    model, x = network("vgg")
    chosen = {"include": ["nothing"]} if groups == "include" else {"exclude": ["*"]}
    with pytest.raises(
        ValueError, match=r"removable: features\.0; .*kept whole: classifier\.3: it is part of the model's output"
    ):
        engine.prune(model, engine.Spec(sparsity=0.3, granularity="channel", **chosen), example_inputs=x)


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x)) if x.sum() > 0 else self.b(x)


class Sorts(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.c(F.relu(self.b(torch.sort(self.a(x))[0])))


def test_a_graph_that_cannot_be_followed_is_refused_and_the_model_stays():
    model = Decides()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"graph of this model cannot be followed: torch\.export says"):
        engine.prune(model, SPEC, example_inputs=torch.ones(1, 4))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert engine.removed_channels(model) == {}


def test_an_operation_that_is_not_known_keeps_its_channels_and_is_named():
    model, x = Sorts(), torch.randn(1, 4)
    assert "sort in the model (Sorts) is an operation that cannot be followed" in str(engine.channel_groups(model, x))
    with pytest.raises(ValueError, match="a: sort in the model"):
        engine.prune(model, engine.Spec(sparsity=0.1, granularity="channel", include=["a"]), example_inputs=x)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"b": 0.4}, granularity="channel"), example_inputs=x)
    assert (smaller.a.out_features, smaller.b.out_features) == (6, 3)
    assert_same(model, smaller, x.double())


def test_what_cannot_be_met_or_makes_no_sense_is_refused():
    model, x = network("vgg")
    before = size(model)
    with pytest.raises(ValueError, match="parameters cannot come down to"):
        engine.prune(model, engine.Spec(nonzeros=10, granularity="channel"), example_inputs=x)
    with pytest.raises(ValueError, match="pass example_inputs="):
        engine.prune(model, SPEC)
    with pytest.raises(ValueError, match="needs granularity"):
        engine.Spec(threshold=1.0, granularity="channel")
    with pytest.raises(ValueError, match="make the optimizer again"):
        engine.Pruner(model, SPEC)
    spec = engine.Spec(sparsity={"feature.*": 0.1, "*": 0.2}, granularity="channel")
    with pytest.raises(ValueError, match=r"pattern 'feature\.\*' matches no layer"):
        engine.prune(model, spec, example_inputs=x)
    assert size(model) == before


def test_a_time_budget_is_met_by_measurement(monkeypatch):
    model, x = network("vgg")
    from sparse_engine import latency

    monkeypatch.setattr(latency, "alternating", lambda models, inputs: [size(model) / 1000 for model in models])
    engine.prune(model, engine.Spec(latency_ms=30.0, granularity="channel"), example_inputs=x)
    assert 28_900 < size(model) <= 30_000
    with pytest.raises(ValueError, match="cannot be met"):
        engine.prune(model, engine.Spec(latency_ms=0.001, granularity="channel"), example_inputs=x)


HOSTILE = {
    "not a mapping": [],
    "another tensor": {"nothing.weight": {"0": {"size": 8, "left": [0]}}},
    "another size": {"features.0.weight": {"0": {"size": 9, "left": [0]}}},
    "no such dimension": {"features.0.weight": {"4": {"size": 8, "left": [0]}}},
    "a negative dimension": {"features.0.weight": {"-1": {"size": 3, "left": [0]}}},
    "nothing left": {"features.0.weight": {"0": {"size": 8, "left": []}}},
    "out of range": {"features.0.weight": {"0": {"size": 8, "left": [0, 8]}}},
    "twice": {"features.0.weight": {"0": {"size": 8, "left": [1, 1]}}},
    "no number": {"features.0.weight": {"0": {"size": 8, "left": [0, "1"]}}},
    "a bool": {"features.0.weight": {"0": {"size": 8, "left": [False, True]}}},
    "no entry": {"features.0.weight": {"0": 3}},
    "no dimensions": {"features.0.weight": 3},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_record_that_does_not_fit_is_refused_and_changes_nothing(case):
    model, _ = network("vgg")
    before = [p.shape for p in model.parameters()]
    with pytest.raises(ValueError, match=r"removed|size|dimension|indices"):
        engine.remove_channels(model, HOSTILE[case])
    assert [p.shape for p in model.parameters()] == before


def test_a_file_whose_weights_do_not_fit_its_record_leaves_the_model_alone(tmp_path):
    from safetensors.torch import load_file, save_file

    model, x = network("vgg")
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x)
    path = tmp_path / "model.safetensors"
    engine.save(smaller, path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["features.0.weight"] = tensors["features.0.weight"][:-1].clone()
    save_file(tensors, path, metadata)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"features\.0\.weight"):
        engine.load(path, model)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert model.features[0].out_channels == 8
    assert engine.removed_channels(model) == {}


def test_smaller_networks_train():
    model, x = network("densenet")
    engine.prune(model, SPEC, example_inputs=x)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), torch.tensor([3, 4]))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.Linear, nn.Conv2d])
def test_a_record_whose_parts_disagree_ends_in_an_error_or_a_result_but_never_in_a_crash(kind, monkeypatch):
    monkeypatch.setenv("SPARSE_ENGINE_AUTOTUNE", "off")
    random, outcomes = np.random.default_rng(0), []
    for _ in range(25):
        if kind is nn.Linear:
            model, x = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)), torch.randn(2, 8)
        elif kind is nn.Conv2d:
            model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8))
            x = torch.randn(1, 4, 9, 9)
        else:
            model, x = kind(6, 8, num_layers=2, bidirectional=True), torch.randn(3, 2, 6)
        record = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            for dim, side in enumerate(tensor.shape):
                if random.random() < 0.3:
                    left = sorted(random.choice(side, random.integers(1, side + 1), replace=False).tolist())
                    record.setdefault(name, {})[str(dim)] = {"size": side, "left": left}
        try:
            engine.remove_channels(model, record)
            engine.prune(model, engine.Spec(sparsity=0.5)).eval()
            with torch.inference_mode():
                model(x)
            outcomes.append("ran")
        except (ValueError, RuntimeError) as error:
            outcomes.append(type(error).__name__)
    assert len(outcomes) == 25
    assert set(outcomes) - {"ran"}
