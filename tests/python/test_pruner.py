import copy
import itertools
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

SCHEDULES = [
    engine.Cubic(2, 20, 3),
    engine.Linear(0, 10),
    engine.Exponential(1, 16, 5),
    engine.Cosine(0, 12, 4),
    engine.OneShot(3),
    engine.RigL(0, 20, 3),
    engine.SET(2, 20, 3, fraction=0.5),
]


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
def test_sparsity_rises_to_exactly_the_final_amount(schedule):
    levels = [schedule.sparsity(step, 0.9) for step in range(30)]
    assert all(0 <= a <= b <= 0.9 for a, b in itertools.pairwise(levels))
    assert levels[schedule.end] == levels[-1] == 0.9
    assert all(level == 0 for level in levels[: schedule.begin])
    due = [step for step in range(30) if schedule.due(step)]
    assert due[0] == schedule.begin
    assert due[-1] == schedule.end


def test_levels_follow_their_formulas():
    assert engine.Cubic(0, 3).sparsity(0, 0.8) == pytest.approx(0.8 * (1 - 0.75**3))
    assert engine.Linear(0, 3).sparsity(1, 0.8) == pytest.approx(0.4)
    assert engine.Exponential(0, 3).sparsity(1, 0.75) == pytest.approx(0.5)
    assert engine.Cosine(0, 3).sparsity(1, 0.8) == pytest.approx(0.4)


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


@pytest.mark.parametrize("schedule", [engine.RigL(0, 30, 2), engine.SET(0, 30, 2)], ids=repr)
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
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5), engine.RigL(0, 100, 1, fraction=0.34))
    pruner.step()
    x = torch.tensor([[0.1, 0.1, 0.1, 1.0, 9.0, 2.0]])
    model(x).sum().backward()
    pruner.step()
    assert model.mask.to_numpy().tolist() == [[True, True, False, False, True, False]]


def test_combinations_without_meaning_are_refused():
    model = network()
    for spec, schedule, words in [
        (engine.Spec(threshold=1.0), engine.Cubic(0, 10), "goes through many amounts"),
        (engine.Spec(granularity="2:4"), engine.Linear(0, 10), "many amounts|one amount only"),
        (engine.Spec(sparsity=0.5, granularity="4x1"), engine.RigL(0, 10), "exchanges single weights"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.Pruner(model, spec, schedule)
    with pytest.raises(TypeError, match="schedule must be"):
        engine.Pruner(model, engine.Spec(sparsity=0.5), "cubic")
    for wrong in [(-1, 3), (5, 3), (0, 3, 0)]:
        with pytest.raises(ValueError, match="begin"):
            engine.Cubic(*wrong)
    with pytest.raises(ValueError, match="fraction"):
        engine.RigL(0, 3, 1, fraction=0.0)
    with pytest.raises(TypeError, match="whole number of steps"):
        engine.Cubic(0.5, 3)


def test_all_ranks_of_a_distributed_model_have_the_same_masks(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).with_name("ranks.py")
    ranks = [subprocess.Popen([sys.executable, str(script), str(rank), port, str(tmp_path)]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for kind in ("masks", "state"):
        for name in first[kind]:
            assert torch.equal(first[kind][name], second[kind][name])
    assert int(first["masks"]["0.weight"].sum()) == 180
