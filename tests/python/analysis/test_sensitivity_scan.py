import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from scanned import X, evaluate, network  # noqa: E402


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


def test_layers_that_share_the_scanned_weight_stay_as_they_were():
    model = network()
    model.add_module("5", nn.ReLU())
    model.add_module("6", nn.Linear(3, 50))
    model.add_module("7", nn.Linear(50, 3))
    model[7].weight = model[4].weight
    spec = engine.Spec(sparsity=0.5, include=("4",))
    engine.sensitivity(model, lambda m: float(m(X).sum()), sparsities=(0.5,), spec=spec, progress=False)
    assert type(model[7]) is type(model[4]) is nn.Linear
    assert engine.masks(model) == {}


def test_no_kernel_is_chosen_for_a_score(monkeypatch):
    from sparse_engine.nn import dispatch

    def measure(*_):
        raise AssertionError("timed")

    monkeypatch.setattr(dispatch, "_measure", measure)
    with pytest.raises(AssertionError, match="timed"), torch.no_grad():
        evaluate(engine.prune(network(), engine.Spec(sparsity=0.9)).eval())
    scan()


def test_a_scan_on_threads_or_processes_finds_what_one_in_turn_finds(one_thread):
    spec = engine.Spec(sparsity=0.5, criterion="wanda")
    model, options = engine.prune(network(), engine.Spec(sparsity=0.3, include=("2",))), {"spec": spec, "data": [X]}
    expected = scan(model, **options)
    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(2, spawn, torch.set_num_threads, (1,)) as processes:
        for pool in (threads, processes):
            found = scan(model, map=pool.map, **options)
            assert found == expected
            assert list(found.scores) == list(expected.scores)


def test_layers_are_timed_in_turn_whatever_runs_the_scores():
    with ThreadPoolExecutor(4) as threads:
        found = scan(example_inputs=X, map=threads.map)
    assert all(set(row) == {0.0, 0.5, 0.9} and min(row.values()) > 0 for row in found.seconds.values())


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
    assert found.scores == scan().scores
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
