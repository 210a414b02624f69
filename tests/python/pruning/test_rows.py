import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.pruning.rows import largest_in_rows, row_counts

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def rows_kept(layer):
    return layer.mask.to_numpy().reshape(layer.weight.shape[0], -1).sum(axis=1)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.55, 0.9, 0.999])
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(37, 11), lambda: nn.Conv2d(6, 10, 3, groups=2), lambda: nn.ConvTranspose1d(4, 6, 3)]
)
def test_every_row_keeps_the_same_number_and_the_layer_the_exact_one(make, sparsity):
    torch.manual_seed(0)
    layer = make()
    dense = layer.weight.detach().clone()
    engine.prune(layer, engine.Spec(sparsity=sparsity, scope="row"))
    assert layer.mask.kept == dense.numel() - round(sparsity * dense.numel())
    if not isinstance(layer, nn.ConvTranspose1d):
        kept = rows_kept(layer)
        assert kept.max() - kept.min() <= 1
        for row, flags in zip(dense.flatten(1).abs(), torch.from_numpy(layer.mask.to_numpy()).flatten(1), strict=True):
            assert not flags.any() or flags.all() or row[flags].min() >= row[~flags].max()


def test_rows_that_are_alike_keep_different_columns():
    layer = nn.Linear(8, 4)
    nn.init.zeros_(layer.weight)
    engine.prune(layer, engine.Spec(sparsity=0.75, scope="row"))
    assert layer.mask.to_numpy().sum(axis=0).tolist() == [1] * 8
    assert rows_kept(layer).tolist() == [2] * 4


def test_ties_are_broken_within_what_is_missing_only():
    scores = np.array([[3, 1, 1, 1, 2], [0, 0, 0, 5, 0], [-7, 7, 7, -7, 7]], np.float32)
    kept = largest_in_rows(scores, np.array([3, 1, 0]))
    assert kept.sum(axis=1).tolist() == [3, 1, 0]
    assert kept[0, 0]
    assert kept[0, 4]
    assert kept[1, 3]
    assert row_counts(7, 4).tolist() == [1, 2, 2, 2]
    with pytest.raises(ValueError, match="NaN"):
        largest_in_rows(np.full((1, 2), np.nan, np.float32), np.array([1]))


@pytest.mark.parametrize("columns", [12, 14])
def test_blocks_of_one_row_are_ranked_within_it(columns):
    torch.manual_seed(0)
    layer = nn.Linear(columns, 9)
    dense = layer.weight.detach().abs().numpy()
    engine.prune(layer, engine.Spec(sparsity=0.5, granularity="1x4", scope="row"))
    kept = layer.mask.to_numpy()
    for row, flags, count in zip(dense, kept, row_counts(9 * columns // 2, 9), strict=True):
        parts = [slice(first, min(columns, first + 4)) for first in range(0, columns, 4)]
        expected = np.zeros(columns, bool)
        for part in sorted(parts, key=lambda p: -row[p].mean()):
            if expected.sum() + len(row[part]) <= count:
                expected[part] = True
        assert flags.tolist() == expected.tolist()


def test_wanda_ranks_outputs_of_linear_layers_unless_told_otherwise():
    torch.manual_seed(0)

    def pruned(**scope):
        model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(16, 8))
        with torch.no_grad():
            model[2].weight[:4] *= 10
            model[0].weight[:2] *= 10
        spec = engine.Spec(sparsity=0.5, criterion="wanda", **scope)
        return engine.prune(model, spec, data=[torch.randn(8, 3, 6)]), spec

    model, spec = pruned()
    assert spec.scope is None
    assert rows_kept(model[2]).tolist() == [8] * 8
    assert rows_kept(model[0]).tolist() != [4, 5, 4, 5]
    assert rows_kept(pruned(scope="layer")[0][2]).tolist()[:4] > [12] * 4
    assert rows_kept(pruned(scope="row")[0][0]).tolist() == [4, 5, 4, 5]
    assert pruned(scope="global")[1].scope == "global"
    assert engine.Spec(sparsity=0.5).scope == "layer"
    assert engine.Spec(granularity="2:4", criterion="wanda").scope == "layer"


def test_a_scan_prunes_as_the_spec_would():
    model = nn.Sequential(nn.Linear(16, 8))
    with torch.no_grad():
        model[0].weight[:4] *= 10
    seen = []

    def evaluate(m):
        seen.append((m[0].weight != 0).sum(1).tolist())
        return 0.0

    engine.sensitivity(model, evaluate, sparsities=[0.5], spec=engine.Spec(sparsity=0.5, scope="row"), progress=False)
    assert seen[-1] == [8] * 8


def test_what_takes_whole_outputs_has_no_rows_to_rank_within():
    for granularity in ("4x1", "4x4", "filter", "row", "channel", "head"):
        with pytest.raises(ValueError, match='scope = "row" ranks what is within one output'):
            engine.Spec(sparsity=0.5, granularity=granularity, scope="row")
    engine.Spec(granularity="2:4", scope="row")
    engine.Spec(sparsity={"*": 0.5}, scope="row")
