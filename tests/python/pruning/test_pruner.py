import copy
import functools
import itertools
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import sparse_engine as engine
from every_schedule import SCHEDULES

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 20, generator=generator), torch.randint(10, (16,), generator=generator)


def train(model, optimizer, pruner, first, last):
    for step in range(first, last):
        x, y = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        pruner.step()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(
    ("amount", "kept"), [({"sparsity": 0.8}, 180), ({"nonzeros": 250}, 250), ({"sparsity": {"0": 0.9}}, 60)]
)
def test_training_resumed_midway_gives_the_same_masks_and_weights(schedule, amount, kept):
    spec = engine.Spec(**amount)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pruner = engine.Pruner(model, spec, schedule)
    train(model, optimizer, pruner, 0, 8)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), pruner.state_dict()))
    train(model, optimizer, pruner, 8, 25)
    assert pruner.done

    again = network()
    other = torch.optim.Adam(again.parameters(), 1e-2)
    resumed = engine.Pruner(again, spec, schedule)
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    assert resumed.steps == 8
    train(again, other, resumed, 8, 25)
    for name, mask in engine.masks(model).items():
        assert torch.equal(mask, engine.masks(again)[name])
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert sum(int(mask.sum()) for mask in engine.masks(model).values()) == kept


def test_state_survives_torch_save_without_pickle(tmp_path):
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5))
    pruner.step()
    torch.save(pruner.state_dict(), tmp_path / "pruner.pt")
    state = torch.load(tmp_path / "pruner.pt", weights_only=True)
    other = engine.Pruner(network(), engine.Spec(sparsity=0.5))
    other.load_state_dict(state)
    assert torch.equal(engine.masks(other.model)["0.weight"], engine.masks(model)["0.weight"])
    with pytest.raises(ValueError, match="this pruner has"):
        engine.Pruner(network(), engine.Spec(sparsity=0.6)).load_state_dict(state)


@pytest.mark.parametrize("schedule", [engine.schedules.RigL(0, 30, 2), engine.schedules.SET(0, 30, 2)], ids=repr)
def test_regrowth_exchanges_weights_and_keeps_their_number(schedule):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.8), schedule)
    train(model, optimizer, pruner, 0, 1)
    first = engine.masks(model)
    train(model, optimizer, pruner, 1, 3)
    second = engine.masks(model)
    for name in first:
        assert first[name].sum() == second[name].sum()
        assert 0 < (first[name] & ~second[name]).sum() <= round(0.3 * int(first[name].sum()))


def test_rigl_grows_where_the_gradient_is_largest():
    model = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]))
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5), engine.schedules.RigL(0, 100, 1, fraction=0.34))
    pruner.step()
    x = torch.tensor([[0.1, 0.1, 0.1, 1.0, 9.0, 2.0]])
    model(x).sum().backward()
    pruner.step()
    assert model.mask.to_numpy().tolist() == [[True, True, False, False, True, False]]


GRADUAL = [
    engine.schedules.Cubic(0, 20, 5),
    engine.schedules.Linear(0, 20, 5),
    engine.schedules.Exponential(0, 20, 5),
    engine.schedules.Cosine(0, 20, 5),
]


@pytest.mark.parametrize("schedule", GRADUAL, ids=repr)
@pytest.mark.parametrize("initial", [0.0, 0.3, 0.85, 0.95])
def test_levels_lie_between_what_is_there_and_the_final_amount(schedule, initial):
    levels = [schedule.sparsity(step, 0.9, initial) for step in range(25)]
    assert all(initial <= a <= b for a, b in itertools.pairwise(levels))
    assert levels[-1] == max(initial, 0.9)
    if 0 < initial < 0.9:
        assert initial < levels[0] < levels[5] < levels[10] < 0.9


def test_an_initial_amount_gives_the_formulas():
    assert engine.schedules.Cubic(0, 3, initial=0.5).sparsity(0, 0.8, 0.5) == pytest.approx(0.8 - 0.3 * 0.75**3)
    assert engine.schedules.Exponential(0, 3).sparsity(1, 0.75, 0.5) == pytest.approx(1 - 0.5 * 0.5**0.5)
    assert repr(engine.schedules.Cubic(0, 3, 2)) == "Cubic(begin=0, end=3, every=2)"
    assert repr(engine.schedules.Cosine(0, 3, initial=0.5)) == "Cosine(begin=0, end=3, every=1, initial=0.5)"
    with pytest.raises(ValueError, match="initial = 1"):
        engine.schedules.Linear(0, 3, initial=1)


def removed(model):
    return {name: round(1 - float(mask.float().mean()), 4) for name, mask in engine.masks(model).items()}


@pytest.mark.parametrize("scope", ["layer", "global", ("0", "2")], ids=str)
@pytest.mark.parametrize("schedule", GRADUAL, ids=repr)
@pytest.mark.parametrize("amount", [{"sparsity": 0.9}, {"nonzeros": 90}])
def test_no_weight_of_a_sparse_model_comes_back(schedule, scope, amount):
    model = engine.prune(network(), engine.Spec(sparsity={"0": 0.6, "2": 0.95}))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pruner = engine.Pruner(model, engine.Spec(**amount, scope=scope), schedule)
    left = []
    for step in range(21):
        before = engine.masks(model)
        train(model, optimizer, pruner, step, step + 1)
        assert all((mask <= before[name]).all() for name, mask in engine.masks(model).items())
        left.append(sum(int(mask.sum()) for mask in engine.masks(model).values()))
    assert all(b <= a for a, b in itertools.pairwise(left))
    if scope == "layer" and "sparsity" in amount:
        assert removed(model) == {"0.weight": 0.9, "2.weight": 0.95}
        assert 60 + 15 < left[0] < 240 + 15  # begins above what was there, not from nothing
    else:
        assert left[-1] == (90 if scope != ("0", "2") or "nonzeros" in amount else 60 + 15)
        assert left[-1] < left[0] <= 240 + 15


def test_groups_that_stay_bring_no_weight_back_either():
    model = engine.prune(network(), engine.Spec(sparsity=0.6))
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.8, granularity="row"), engine.schedules.Linear(0, 3))
    for _ in range(4):
        before = engine.masks(model)
        pruner.step()
        assert all((mask <= before[name]).all() for name, mask in engine.masks(model).items())
    assert [int(mask.any(dim=1).sum()) for mask in engine.masks(model).values()] == [6, 2]


def test_a_layer_beyond_the_final_amount_stays_where_it_is():
    model = engine.prune(network(), engine.Spec(sparsity=0.6))
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5), engine.schedules.Cubic(0, 4))
    for _ in range(6):
        pruner.step()
        assert set(removed(model).values()) == {0.6}
    engine.Pruner(model, engine.Spec(sparsity=0.5)).step()  # one shot is prune's: exactly the amount
    assert set(removed(model).values()) == {0.5}


def test_an_initial_amount_is_where_a_dense_model_begins():
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), engine.schedules.Linear(0, 3, initial=0.5))
    seen = []
    for _ in range(4):
        pruner.step()
        seen.append(removed(model)["0.weight"])
    assert seen == [0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize("schedule", [engine.schedules.Cubic(0, 20, 3), engine.schedules.RigL(0, 20, 3)], ids=repr)
def test_training_from_a_sparse_model_resumes_exactly(schedule):
    def start():
        model = engine.prune(network(), engine.Spec(sparsity={"0": 0.6, "2": 0.3}))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        return model, optimizer, engine.Pruner(model, engine.Spec(sparsity=0.9), schedule)

    whole = start()
    train(*whole, 0, 8)
    saved = copy.deepcopy([part.state_dict() for part in whole])
    train(*whole, 8, 25)
    again = network()
    resumed = (again, torch.optim.Adam(again.parameters(), 1e-2), engine.Pruner(again, engine.Spec(sparsity=0.9), schedule))
    for part, state in zip(resumed, saved, strict=True):
        part.load_state_dict(state)
    train(*resumed, 8, 25)
    for a, b in zip(whole[0].parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("schedule", [engine.schedules.RigL(0, 30, 2), engine.schedules.SET(0, 30, 2)], ids=repr)
def test_regrowth_goes_on_from_the_zeros_of_a_checkpoint(schedule):
    sparse = engine.prune(network(), engine.Spec(sparsity={"0": 0.8, "2": 0.9}))
    model = network()
    model.load_state_dict({name: value.clone() for name, value in sparse.state_dict().items()})
    engine.set_masks(model, engine.pruning.masks_from_zeros(model))
    first = engine.masks(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, optimizer, engine.Pruner(model, engine.Spec(sparsity=0.0), schedule), 0, 9)
    for name, mask in engine.masks(model).items():
        assert mask.sum() == first[name].sum()
        assert not torch.equal(mask, first[name])


def test_regrowth_of_a_shared_weight_exchanges_once():
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20))
    model[2].weight = model[0].weight
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.8), engine.schedules.SET(0, 30, 1))
    for _ in range(5):
        pruner.step()
        assert torch.equal(engine.masks(model)["0.weight"], engine.masks(model)["2.weight"])
        assert engine.masks(model)["0.weight"].sum() == 80


def doubled(weight):
    return 2 * weight.abs()


class Scorer:
    def __call__(self, weight):
        return weight.abs()

    def method(self, weight):
        return weight.abs()


CRITERIA = {
    "function": lambda: doubled,
    "lambda": lambda: lambda w: w.abs(),
    "partial": lambda: functools.partial(torch.mul, other=functools.partial(doubled)),
    "object": Scorer,
    "method": lambda: Scorer().method,
}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_that_is_a_function_is_known_by_its_name_when_training_resumes(name):
    make = CRITERIA[name]

    def pruner(**options):
        return engine.Pruner(network(), engine.Spec(sparsity=0.5, criterion=make(), **options), engine.schedules.Linear(0, 4))

    state = pruner().state_dict()
    assert " at 0x" not in state["spec"]
    resumed = pruner()
    resumed.load_state_dict(state)
    for other in (pruner(seed=1), engine.Pruner(network(), engine.Spec(sparsity=0.5), engine.schedules.Linear(0, 4))):
        with pytest.raises(ValueError, match="saved with spec"):
            other.load_state_dict(state)


def test_a_state_of_the_first_release_is_taken_up():
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), engine.schedules.Cubic(0, 9))
    pruner.step()
    state = pruner.state_dict()
    del state["held"]
    assert state["spec"] == repr(pruner.spec)
    again = engine.Pruner(network(), engine.Spec(sparsity=0.9), engine.schedules.Cubic(0, 9))
    again.load_state_dict(state)
    for one in (pruner, again):
        one.step()
    assert removed(model) == removed(again.model)


@pytest.mark.parametrize("bits", [torch.zeros(3, dtype=torch.uint8), torch.zeros(38), torch.zeros(2, 19, dtype=torch.uint8)])
def test_a_damaged_state_is_refused_and_changes_nothing(bits):
    pruner = engine.Pruner(network(), engine.Spec(sparsity=0.5))
    pruner.step()
    state = pruner.state_dict()
    state["masks"]["2.weight"] = bits
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    other = engine.Pruner(model, engine.Spec(sparsity=0.5))
    with pytest.raises(ValueError, match=r"mask of '2\.weight'"):
        other.load_state_dict(state)
    assert set(removed(model).values()) == {0.9}
    assert other.steps == 0


def test_a_state_on_a_model_pruned_otherwise_gives_its_masks_and_then_its_weights():
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5, include="0"))
    pruner.step()
    other = engine.prune(network(), engine.Spec(sparsity=0.9, criterion="random"))
    resumed = engine.Pruner(other, engine.Spec(sparsity=0.5, include="0"))
    resumed.load_state_dict(pruner.state_dict())
    other.load_state_dict(model.state_dict())
    assert list(engine.masks(other)) == ["0.weight"]
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_combinations_without_meaning_are_refused():
    model = network()
    for spec, schedule, words in [
        (engine.Spec(threshold=1.0), engine.schedules.Cubic(0, 10), "goes through many budgets"),
        (engine.Spec(granularity="2:4"), engine.schedules.Linear(0, 10), "many budgets|one budget only"),
        (engine.Spec(sparsity=0.5, granularity="4x1"), engine.schedules.RigL(0, 10), "exchanges single weights"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.Pruner(model, spec, schedule)
    with pytest.raises(TypeError, match="schedule must be"):
        engine.Pruner(model, engine.Spec(sparsity=0.5), "cubic")
    for wrong in [(-1, 3), (5, 3), (0, 3, 0)]:
        with pytest.raises(ValueError, match="begin"):
            engine.schedules.Cubic(*wrong)
    with pytest.raises(ValueError, match="fraction"):
        engine.schedules.RigL(0, 3, 1, fraction=0.0)
    with pytest.raises(TypeError, match="whole number of steps"):
        engine.schedules.Cubic(0.5, 3)


def test_all_ranks_of_a_distributed_model_have_the_same_masks(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).parents[1] / "ranks.py"
    ranks = [subprocess.Popen([sys.executable, str(script), str(rank), port, str(tmp_path)]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for kind in ("masks", "state"):
        for name in first[kind]:
            assert torch.equal(first[kind][name], second[kind][name])
    assert int(first["masks"]["0.weight"].sum()) == 180
