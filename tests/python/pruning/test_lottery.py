import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


class Network(nn.Module):
    """A layer of every kind that holds masks, with buffers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.up = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 8, 2)
        self.attention, self.rnn = nn.MultiheadAttention(8, 2, batch_first=True), nn.GRU(8, 12, batch_first=True)
        self.out = nn.Linear(12, 4)

    def forward(self, x):
        tokens = self.up(self.norm(self.conv(x)).relu()).flatten(2).transpose(1, 2)
        return self.out(self.rnn(self.attention(tokens, tokens, tokens)[0])[0][:, -1])


def train(model, steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(steps):
        x, y = torch.randn(8, 1, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def assert_rewound(model, early):
    masks = engine.masks(model)
    assert masks
    for name, value in model.state_dict().items():
        if name in masks:
            assert torch.equal(value[masks[name]], early[name][masks[name]]), name
            assert (value[~masks[name]] == 0).all(), name
        else:
            assert torch.equal(value, early[name]), name


@pytest.mark.parametrize("spec", [{"sparsity": 0.7, "scope": "global"}, {"sparsity": 0.5, "granularity": "head"}])
def test_what_stays_gets_its_early_value_bit_for_bit_and_what_went_is_zero(spec):
    model = train(Network(), 3)
    early = copy.deepcopy(model.state_dict())
    train(model, 5)
    engine.prune(model, engine.Spec(**spec))
    masks = engine.masks(model)
    train(model, 2)
    assert engine.pruning.rewind(model, early) is model
    assert_rewound(model, early)
    assert all(torch.equal(mask, masks[name]) for name, mask in engine.masks(model).items())
    train(model, 3)
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def test_states_of_other_models_or_of_the_same_memory_are_refused_and_change_nothing():
    model = engine.prune(nn.Linear(4, 3), engine.Spec(sparsity=0.5))
    before = copy.deepcopy(model.state_dict())
    for state, match in (
        (nn.Linear(4, 3, bias=False).state_dict(), r"lacks \['bias'\]"),
        (nn.Linear(3, 3).state_dict(), r"'weight' has shape \(3, 3\) in the state"),
        (model.state_dict(), "is the model's own tensor"),
    ):
        with pytest.raises(ValueError, match=match):
            engine.pruning.rewind(model, state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_round_takes_the_same_share_of_what_is_left_from_the_smallest_trained_weights():
    model = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 4))
    ticket = engine.pruning.LotteryTicket(model, engine.Spec(sparsity=0.875, scope="global"), rounds=3)
    early = copy.deepcopy(model.state_dict())
    left, total = [], 20 * 50 + 50 * 4
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    trained = {name: p.detach().abs().clone() for name, p in model.named_parameters() if "weight" in name}
    while ticket.next_round():
        assert_rewound(model, early)
        left.append(sum(int(m.sum()) for m in engine.masks(model).values()))
        if len(left) == 1:
            masks = engine.masks(model)
            smallest = min(trained[name][mask].min() for name, mask in masks.items())
            assert smallest >= max(trained[name][~mask].max() for name, mask in masks.items())
    assert left == [total // 2, total // 4, total // 8]
    assert ticket.round == 3
    assert not ticket.next_round()


def test_a_ticket_resumes_exactly_where_it_was():
    def ticket_of(model):
        return engine.pruning.LotteryTicket(model, engine.Spec(sparsity=0.8), rounds=3)

    whole = ticket_of(train(Network(), 2))
    states = []
    train(whole.model, 3)
    while whole.next_round():
        train(whole.model, 3, seed=whole.round)
        states.append(copy.deepcopy((whole.state_dict(), whole.model.state_dict())))
    resumed = ticket_of(train(Network(), 7, seed=9))
    resumed.load_state_dict(states[0][0])
    resumed.model.load_state_dict(states[0][1])
    assert resumed.round == 1
    while resumed.next_round():
        train(resumed.model, 3, seed=resumed.round)
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.state_dict().values(), states[-1][1].values(), strict=True))
    with pytest.raises(ValueError, match="another model's"):
        engine.pruning.LotteryTicket(nn.Linear(4, 4), engine.Spec(sparsity=0.8), rounds=3).load_state_dict(states[0][0])
    with pytest.raises(ValueError, match="was saved with schedule"):
        engine.pruning.LotteryTicket(Network(), engine.Spec(sparsity=0.8), rounds=4).load_state_dict(states[0][0])


@pytest.mark.parametrize("rounds", [0, -1, 1.5, True, None])
def test_rounds_that_make_no_sense_are_refused(rounds):
    with pytest.raises(ValueError, match="rounds = "):
        engine.pruning.LotteryTicket(nn.Linear(4, 4), engine.Spec(sparsity=0.5), rounds=rounds)


def test_what_has_one_amount_only_takes_one_round():
    model = nn.Linear(8, 4)
    ticket = engine.pruning.LotteryTicket(model, engine.Spec(granularity="2:4"), rounds=1)
    assert ticket.next_round()
    assert not ticket.next_round()
    assert engine.masks(model)["weight"].sum() == 16
    with pytest.raises(ValueError, match="goes through many budgets"):
        engine.pruning.LotteryTicket(model, engine.Spec(granularity="2:4"), rounds=2)


def test_a_ticket_found_on_digits_learns_what_the_whole_network_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = (torch.from_numpy(a) for a in datasets.load_digits(return_X_y=True))
    images = images.float() / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    learn, test = order[:1400], order[1400:]

    def fit(model):
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        generator = torch.Generator().manual_seed(2)
        for _ in range(12):
            for part in learn[torch.randperm(1400, generator=generator)].split(50):
                optimizer.zero_grad()
                F.cross_entropy(model(images[part]), labels[part]).backward()
                optimizer.step()

    def accuracy(model):
        with torch.inference_mode():
            return float((model.eval()(images[test]).argmax(1) == labels[test]).float().mean())

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    ticket = engine.pruning.LotteryTicket(model, engine.Spec(sparsity=0.9, scope="global"), rounds=4)
    fit(model)
    whole = accuracy(model)
    engine_only_pruned = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.9, scope="global"))
    while ticket.next_round():
        fit(model.train())
    kept = sum(int(mask.sum()) for mask in engine.masks(model).values())
    assert kept == 7400 - round(0.9 * 7400)
    assert whole > 0.93
    assert accuracy(model) > whole - 0.03
    assert accuracy(model) > accuracy(engine_only_pruned)


class Remembering(nn.Module):
    """Reads its version, and has something beside its tensors."""

    _version = 3

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(6, 6), 1.0

    def forward(self, x):
        return self.layer(x) * self.scale

    def get_extra_state(self):
        return {"scale": [self.scale]}

    def set_extra_state(self, value):
        if value["scale"][0] < 0:
            raise ArithmeticError("a negative scale")
        self.scale = value["scale"][0]

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        assert local_metadata.get("version") == 3
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def test_rewinding_knows_versions_and_extra_state():
    model = Remembering()
    ticket = engine.pruning.LotteryTicket(model, engine.Spec(sparsity=0.5), rounds=2)
    early = model.layer.bias.detach().clone()
    model.scale = 5.0
    with torch.no_grad():
        model.layer.bias.add_(1)
    state = ticket.state_dict()
    assert ticket.next_round()
    assert model.scale == 1.0
    assert torch.equal(model.layer.bias, early)
    again = engine.pruning.LotteryTicket(Remembering(), engine.Spec(sparsity=0.5), rounds=2)
    again.load_state_dict(state)
    again.next_round()
    assert torch.equal(again.model.layer.bias, early)


def test_a_rewind_that_fails_changes_nothing():
    model = engine.prune(Remembering(), engine.Spec(sparsity=0.5))
    state = copy.deepcopy(Remembering().state_dict())
    state["_extra_state"]["scale"][0] = -1.0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArithmeticError):
        engine.pruning.rewind(model, state)
    assert torch.equal(model.layer.weight, before["layer.weight"])
    assert torch.equal(model.layer.bias, before["layer.bias"])
    assert model.scale == 1.0
