import csv
import json

import pytest

from sparse_engine.channels.groups import ChannelCost

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.analysis.sensitivity_result import Sensitivity, begin, keep  # noqa: E402

FOUND = Sensitivity(
    0.9,
    {"a": {0.5: 0.8, 0.25: 0.95}, "b": {0.5: 0.1}},
    {"a": 1000, "b": 20},
    {"a": 4.0, "b": 1.0},
    {"a": {0.0: 0.25, 0.5: 0.125}, "b": {}},
)


def test_a_better_score_is_a_loss_of_nothing():
    assert FOUND.drop("a", 0.25) == 0
    assert FOUND.drop("b", 0.5) == pytest.approx(0.8)


def test_a_scan_of_channels_is_the_same_after_json():
    costs = ChannelCost({"a": 10}, [(True, 3, [(10, {"a": 1.0}), (5, {})])])
    found = Sensitivity(1.0, {"a": {0.5: 0.7}}, {"a": 50}, channels=costs, seconds={"a": {}})
    again = Sensitivity.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.scores == found.scores
    assert [again.channels.left({"a": gone}) for gone in (0, 4)] == [(50, 150), (30, 90)]


def test_the_table_has_a_column_for_each_sparsity_and_leaves_out_what_was_not_scanned():
    lines = str(FOUND).splitlines()
    assert lines[0].split() == ["layer", "weights", "25%", "50%"]
    (a,) = [line.split() for line in lines if line.startswith("a")]
    (b,) = [line.split() for line in lines if line.startswith("b")]
    assert a == ["a", "1,000", "0.95", "0.8"]
    assert b == ["b", "20", "0.1"]


def test_csv_has_a_line_for_each_layer_and_sparsity(tmp_path):
    FOUND.to_csv(tmp_path / "scan.csv")
    with open(tmp_path / "scan.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], row["sparsity"], row["seconds"]) for row in rows] == [
        ("a", "0.5", "0.125"), ("a", "0.25", ""), ("b", "0.5", "")
    ]  # fmt: skip


def test_an_interrupted_scan_is_resumed_and_that_of_another_model_is_refused(tmp_path):
    path = tmp_path / "scan.json"
    keep(path, FOUND)
    assert begin(path, nn.Identity(), lambda model: pytest.fail("scored again"), FOUND.weights) == FOUND
    with pytest.raises(ValueError, match=r"scan.json' holds the scan of another model; delete it or name another file"):
        begin(path, nn.Identity(), lambda model: 0.0, {"a": 999})


def test_a_new_scan_begins_with_the_score_of_the_model_as_it_is(tmp_path):
    found = begin(tmp_path / "none.json", nn.Identity(), lambda model: 7, {"a": 1})
    assert (found.baseline, found.scores, found.seconds) == (7.0, {"a": {}}, {"a": {}})
