import csv

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 3))


X = torch.randn(64, 40, generator=torch.Generator().manual_seed(1))
TRUTH = network().eval()(X).detach()


def evaluate(model):
    return -float((model(X) - TRUTH).square().mean().detach())


def scan(model=None, **options):
    return engine.sensitivity(model or network(), evaluate, **({"sparsities": (0.5, 0.9), "progress": False} | options))


def test_each_cell_is_the_score_with_that_layer_alone_pruned():
    found = scan()
    assert list(found.scores) == ["0", "2", "4"]
    assert found.baseline == pytest.approx(0, abs=1e-12)
    for name, row in found.scores.items():
        for share, score in row.items():
            alone = engine.prune(network(), engine.Spec(sparsity=share, include=(name,))).eval()
            assert score == pytest.approx(evaluate(alone), rel=1e-4)
            assert found.drop(name, share) == pytest.approx(-score)


def test_the_model_stays_as_it_was_pruned_layers_included():
    model = engine.prune(network(), engine.Spec(sparsity=0.3, include=("2",)))
    before, masks = {n: p.clone() for n, p in model.state_dict().items()}, engine.masks(model)
    scan(model, example_inputs=X)
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert list(engine.masks(model)) == ["2.weight"]
    assert torch.equal(masks["2.weight"], engine.masks(model)["2.weight"])
    assert type(model[0]) is nn.Linear
    assert model.training


def test_a_scan_goes_on_from_its_file_and_refuses_that_of_another_model(tmp_path):
    file, calls = tmp_path / "scan.json", []

    def counted(model):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(model)

    with pytest.raises(KeyboardInterrupt):
        engine.sensitivity(network(), counted, sparsities=(0.5, 0.9), resume=file, progress=False)
    done = len(calls)
    found = engine.sensitivity(network(), counted, sparsities=(0.5, 0.9), resume=file, progress=False)
    assert len(calls) == done + 4
    for name, row in scan().scores.items():  # which kernel runs is timed anew, and may round otherwise
        assert found.scores[name] == pytest.approx(row, rel=1e-4)
    with pytest.raises(ValueError, match="another model"):
        engine.sensitivity(nn.Linear(3, 3), lambda m: 0.0, resume=file, progress=False)


def test_table_csv_and_plot_show_every_cell(tmp_path):
    found = scan(example_inputs=X)
    text = str(found)
    assert all(word in text for word in ("50%", "90%", "(none)", "2,400"))
    found.to_csv(tmp_path / "s.csv")
    with open(tmp_path / "s.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert all(float(row["seconds"]) > 0 for row in rows)
    pytest.importorskip("matplotlib")
    found.plot(tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 10_000


def test_speed_is_measured_beside_the_score():
    found = scan(example_inputs=X)
    assert found.uses == {"0": 64, "2": 64, "4": 64}
    assert all(set(row) == {0.0, 0.5, 0.9} and min(row.values()) > 0 for row in found.seconds.values())
    assert engine.analysis.Sensitivity.from_dict(found.to_dict()) == found


def test_other_granularities_and_criteria_are_scanned_alike():
    found = scan(spec=engine.Spec(sparsity=0.1, granularity="row", criterion="wanda", include=("0", "2")), data=[X])
    assert list(found.scores) == ["0", "2"]
    alone = engine.prune(
        network(), engine.Spec(sparsity=0.5, granularity="row", criterion="wanda", include=("2",)), data=[X]
    ).eval()
    assert found.scores["2"][0.5] == pytest.approx(evaluate(alone), rel=1e-4)


def test_sparsities_must_be_shares():
    for wrong in ([], [0.0, 0.5], [50]):
        with pytest.raises(ValueError, match="sparsities"):
            scan(sparsities=wrong)
