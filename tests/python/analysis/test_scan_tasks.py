import copy
import json
import pickle
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from scanned import evaluate, network  # noqa: E402
from sparse_engine.analysis.scan_tasks import Score, Scoring, Task, noted, run_tasks  # noqa: E402
from sparse_engine.analysis.sensitivity_result import Sensitivity  # noqa: E402

TASKS = [Task(name, share) for name in ("0", "2") for share in (0.5, 0.9)]


def zero(model, task):
    """Makes a share of a layer's rows zero."""
    weight = model.get_submodule(task.layer).weight
    before = weight.detach().clone()
    weight[: round(task.sparsity * len(weight))] = 0

    def undo():
        weight.copy_(before)

    return undo


def empty():
    return Sensitivity(0.0, {"0": {}, "2": {}}, {"0": 2400, "2": 3000})


def run(map, result=None, tasks=TASKS, note=lambda label: None, evaluate=evaluate):
    result = empty() if result is None else result
    model = network()
    before = copy.deepcopy(model.state_dict())
    try:
        run_tasks(result, tasks, model, evaluate, zero, map, note)
    finally:
        assert model.training
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    return result


def test_a_task_is_the_same_after_pickling_on_a_copy_and_in_place():
    model = network()
    for task in TASKS:
        expected = Scoring(model, evaluate, zero, in_place=True)(task)
        assert expected[:2] == task[:2]
        assert expected.value < 0
        assert Scoring(model, evaluate, zero, in_place=False)(task) == expected
        assert pickle.loads(pickle.dumps(Scoring(model, evaluate, zero, in_place=False)))(task) == expected


def test_a_task_needs_no_surroundings():
    def look(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        return 1.0

    assert torch.is_grad_enabled()
    assert Scoring(network(), look, zero, in_place=False)(TASKS[0]) == Score("0", 0.5, 1.0)


def test_only_the_built_in_map_changes_the_model_itself():
    seen = []

    def look(model):
        seen.append(model)
        return 1.0

    run(map, evaluate=look)
    assert len(set(map(id, seen))) == 1
    seen.clear()
    run(lambda function, tasks: [function(task) for task in tasks], evaluate=look)
    assert len(set(map(id, seen))) == len(TASKS)


def test_results_may_come_in_any_order():
    expected = run(map)
    found = run(lambda function, tasks: reversed([function(task) for task in tasks]))
    assert found == expected
    assert [list(row) for row in found.scores.values()] == [[0.5, 0.9]] * 2


def test_a_map_that_leaves_tasks_out_is_refused():
    with pytest.raises(ValueError, match="map gave 3 results for 4 tasks"):
        run(lambda function, tasks: map(function, tasks[1:]))


def test_without_tasks_the_map_is_not_called():
    assert run(None, tasks=[]) == empty()


def test_what_came_before_a_failure_is_there_and_in_the_file(tmp_path):
    def failing(function, tasks):
        yield function(tasks[0])
        raise ConnectionError("a machine is gone")

    result, file = empty(), tmp_path / "scan.json"
    with pytest.raises(ConnectionError), noted(result, len(TASKS), file, progress=False) as note:
        run(failing, result, note=note)
    assert list(result.scores["0"]) == [0.5]
    assert result.scores["2"] == {}
    assert Sensitivity.from_dict(json.loads(file.read_text())) == result


def test_the_bar_shows_each_step(capsys):
    result = empty()
    with noted(result, len(TASKS), None, progress=True) as note:
        run(partial(map), result, note=note)
    error = capsys.readouterr().err
    assert "2 at 90%" in error
    assert "100%" in error
