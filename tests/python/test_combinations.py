import math

import pytest

torch = pytest.importorskip("torch")

import sparse_engine as engine  # noqa: E402
from combinations import AMOUNTS, CRITERIA, GRANULARITIES, INPUTS, attempt, cells, network  # noqa: E402
from sparse_engine.masking.encoding import stored_bytes  # noqa: E402
from sparse_engine.pruning.attachment import pruned_weights  # noqa: E402

GROUP = {"element": 1, "2:4": 2, "4x1": 4, "1x4": 4, "4x4": 16, "vector": 3, "kernel": 9, "filter": 72, "row": 32} | {
    "pattern": 9,
    "head": 48,
}


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_combination_meets_its_amount_or_is_refused_with_a_reason(granularity, criterion):
    worked = 0
    for _, _, scope, amount in (cell for cell in cells() if cell[:2] == (granularity, criterion)):
        model, reason = attempt(granularity, criterion, scope, amount)
        if model is None:
            assert len(reason) > 30, reason
            assert any(word in reason for word in ("needs", "leave", "removes", "fits no", "use", "exceeds")), reason
            continue
        worked += 1
        if granularity == "channel":
            check_channels(model, amount)
            continue
        masks = pruned_weights(model)
        assert masks
        for name, mask in masks.items():
            assert (model.get_parameter(name)[~torch.from_numpy(mask.to_numpy())] == 0).all()
        kept, size, most = (sum(m.kept for m in masks.values()), sum(m.size for m in masks.values()), GROUP[granularity] - 1)
        alone = {"layer": len(masks), "row": sum(m.shape[0] for m in masks.values()), "patterns": 2, "global": 1}
        slack = most * alone[scope]
        if granularity == "2:4":
            assert kept * 2 == size
        elif granularity == "pattern":
            assert kept * 9 == size * 4
        elif amount in ("sparsity", "per layer"):
            allowed = sum(m.size - round(0.6 * m.size) for m in masks.values())
            assert allowed - slack - len(masks) <= kept <= allowed + len(masks)
        elif amount == "nonzeros":
            assert 200 - slack <= kept <= 200
        elif amount == "macs":
            assert engine.report(model, INPUTS[:1]).nonzero_macs - unpruned(model, masks) <= 20_000
        elif amount == "bytes":
            assert sum(map(stored_bytes, masks.values())) <= 2_500
    if criterion in ("l1", "l2", "random", "taylor", "wanda", "function") and (granularity, criterion) != ("head", "wanda"):
        assert worked > 0


def check_channels(model, amount):
    left, before = (sum(p.numel() for p in m.parameters()) for m in (model, network("channel")))
    if amount in ("sparsity", "nonzeros", "bytes"):
        most = {"sparsity": before - round(0.6 * before), "nonzeros": 200, "bytes": 625}[amount]
        assert most - 150 < left <= most  # a channel takes less than 150 weights with it
    elif amount == "per layer":
        assert [m.out_channels for m in model if isinstance(m, torch.nn.Conv2d)] == [3, 3, 3]
    elif amount == "macs":
        assert engine.analysis.count_macs(model, [INPUTS[:1]]).total("macs") <= 20_000
    else:
        assert (amount, left) == ("latency_ms", before)  # fast enough as it is


def unpruned(model, masks):
    rows = engine.report(model, INPUTS[:1]).layers
    return sum(row.nonzero_macs for row in rows if f"{row.name}.weight" not in masks)


def test_there_are_cells_for_every_word():
    assert len(cells()) == math.prod(map(len, (GRANULARITIES, CRITERIA, ("layer", "row", "global", "patterns"), AMOUNTS)))
