import copy

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.pruning.heads import Heads  # noqa: E402


def attention(**options):
    torch.manual_seed(0)
    return nn.MultiheadAttention(12, 4, batch_first=True, **options)


class Separate(nn.Module):
    """Attention as language models write it: a linear layer each."""

    def __init__(self, width=12, heads=4, keys=12):
        super().__init__()
        torch.manual_seed(0)
        self.num_heads = heads
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, keys), nn.Linear(width, keys)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (p(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def parts(layer):
    """Projection weights of queries, keys and values, and that of the output."""
    if isinstance(layer, Separate):
        return [layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight, layer.o_proj.weight]
    if layer.in_proj_weight is not None:
        return [*layer.in_proj_weight.chunk(3), layer.out_proj.weight]
    return [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight, layer.out_proj.weight]


def of_head(layer, head):
    *inner, outer = parts(layer)
    rows = slice(3 * head, 3 * head + 3)
    return torch.cat([*(w[rows].flatten() for w in inner), outer[:, rows].flatten()]).detach()


def heads_left(layer):
    return [head for head in range(4) if of_head(layer, head).any()]


def without(layer, gone, x, keys, values):
    """What attention gives when only the other heads are added up."""
    total = torch.zeros(x.shape[0], x.shape[1], 12) + layer.out_proj.bias
    biases = layer.in_proj_bias.chunk(3)
    *inner, outer = parts(layer)
    for head in range(4):
        if head in gone:
            continue
        rows = slice(3 * head, 3 * head + 3)
        q, k, v = (F.linear(given, w[rows], b[rows]) for given, w, b in zip((x, keys, values), inner, biases, strict=True))
        total = total + F.scaled_dot_product_attention(q, k, v) @ outer[:, rows].T
    return total


@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 7}], ids=["packed", "apart"])
@pytest.mark.parametrize("training", [False, True])
def test_the_masked_layer_is_the_one_without_these_heads(options, training):
    layer = attention(**options)
    with torch.no_grad():
        layer.in_proj_bias.normal_()
        layer.out_proj.bias.normal_()
    dense = copy.deepcopy(layer)
    engine.prune(layer, engine.Spec(sparsity=0.5, granularity="head")).train(training)
    left = heads_left(layer)
    assert len(left) == 2
    for head in left:
        assert torch.equal(of_head(layer, head), of_head(dense, head))
    x, keys, values = (
        torch.randn(2, 6, 12),
        torch.randn(2, 9, options.get("kdim", 12)),
        torch.randn(2, 9, options.get("vdim", 12)),
    )
    if not options:
        keys = values = x
    expected = without(dense, set(range(4)) - set(left), x, keys, values)
    with torch.set_grad_enabled(training):
        for weights in (False, True):
            torch.testing.assert_close(layer(x, keys, values, need_weights=weights)[0], expected)
    assert list(layer.state_dict()) == list(dense.state_dict())


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor"])
@pytest.mark.parametrize("make", [attention, Separate])
def test_the_best_heads_by_the_criterion_over_all_their_weights_stay(criterion, make):
    layer = make()
    model = nn.ModuleDict({"attention": layer})
    if criterion == "taylor":
        x, target = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
        call = (lambda m: m["attention"](x)) if make is Separate else (lambda m: m["attention"](x, x, x)[0])
        F.mse_loss(call(model), target).backward()
        slopes = copy.deepcopy(layer)
        for p in slopes.parameters():
            p.data = p.data * 0
        for own, other in zip(slopes.parameters(), layer.parameters(), strict=True):
            own.data = other.grad
        worth = [(of_head(layer, h) * of_head(slopes, h)).abs().mean() for h in range(4)]
        model.forward = lambda given: call(model)
        options = {"data": [(x, target)], "loss": F.mse_loss}
    else:
        norm = torch.abs if criterion == "l1" else torch.square
        worth, options = [norm(of_head(layer, h)).mean() for h in range(4)], {}
    engine.prune(model, engine.Spec(nonzeros=2 * 4 * 36, granularity="head", criterion=criterion), **options)
    assert heads_left(layer) == sorted(torch.tensor(worth).argsort(descending=True)[:2].tolist())
    assert sum(int(m.sum()) for m in engine.masks(model).values()) == 2 * 4 * 36


def test_one_head_of_every_layer_stays_and_ranks_are_global_when_asked():
    model = nn.ModuleDict({"a": attention(), "b": attention(), "c": Separate()})
    with torch.no_grad():
        for p in model["b"].parameters():
            p.mul_(10)
    engine.prune(model, engine.Spec(sparsity=0.5, granularity="head", scope="global"))
    assert [len(heads_left(layer)) for layer in model.values()] == [1, 4, 1]
    engine.prune(model, engine.Spec(sparsity=0.99, granularity="head", scope="global"))
    assert [len(heads_left(layer)) for layer in model.values()] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"nonzeros = 100: granularity 'head' needs 432, one a layer"):
        engine.prune(model, engine.Spec(nonzeros=100, granularity="head"))


def test_the_separate_layers_run_natively_and_give_what_dense_ones_give(native_always):
    layer = engine.prune(Separate(), engine.Spec(sparsity=0.75, granularity="head")).eval()
    assert {type(child) for child in layer.children()} == {engine.nn.SparseLinear}
    x = torch.randn(3, 5, 12)
    with torch.inference_mode():
        ours = layer(x)
        with engine.nn.dense_only():
            torch.testing.assert_close(ours, layer(x))
    assert all(row.kernel != "dense" for row in engine.report(layer, x).layers)


def test_what_has_no_heads_of_its_own_is_refused_with_the_reason():
    shared = Separate(keys=6)
    with pytest.raises(ValueError, match="heads share keys or values: its projections give 12, 6, 6 rows"):
        engine.prune(shared, engine.Spec(sparsity=0.5, granularity="head"))
    with pytest.raises(ValueError, match="12 rows of its projections do not fall into 5 heads"):
        engine.prune(Separate(heads=5), engine.Spec(sparsity=0.5, granularity="head"))
    unfinished = Separate()
    del unfinished.o_proj
    with pytest.raises(ValueError, match="its output projection is not one of its own"):
        engine.prune(unfinished, engine.Spec(sparsity=0.5, granularity="head"))
    with pytest.raises(ValueError, match="attention layers of this model: none"):
        engine.prune(nn.Linear(4, 4), engine.Spec(sparsity=0.5, granularity="head"))
    model = nn.ModuleDict({"a": attention(), "b": shared})
    with pytest.warns(UserWarning, match="b: heads share keys"):
        engine.prune(model, engine.Spec(sparsity=0.5, granularity="head"))
    for wrong in ({"criterion": "wanda", "sparsity": 0.5}, {"macs": 100}):
        with pytest.raises(ValueError, match="a head has several"):
            engine.Spec(granularity="head", **wrong)


@pytest.mark.parametrize("fused", [False, True])
def test_a_transformer_layer_keeps_its_heads_off_on_every_path(fused):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 4, 24, batch_first=True)
    engine.prune(layer, engine.Spec(sparsity=0.5, granularity="head"))
    zeroed = nn.TransformerEncoderLayer(12, 4, 24, batch_first=True)
    zeroed.load_state_dict(layer.state_dict())
    before, x = torch.backends.mha.get_fastpath_enabled(), torch.randn(2, 5, 12)
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        with torch.inference_mode():
            torch.testing.assert_close(layer.eval()(x), zeroed.eval()(x))
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_gradients_of_heads_that_are_gone_are_zero_and_the_rest_learns():
    layer = engine.prune(attention(), engine.Spec(sparsity=0.5, granularity="head"))
    gone = {name: ~mask for name, mask in engine.masks(layer).items()}
    x = torch.randn(2, 5, 12)
    layer(x, x, x)[0].square().sum().backward()
    for name, flags in gone.items():
        gradient = layer.get_parameter(name).grad
        assert (gradient[flags] == 0).all(), name
        assert (gradient[~flags] != 0).any(), name


def test_heads_stay_off_through_copies_checkpoints_files_and_moves(tmp_path):
    layer = engine.prune(attention(), engine.Spec(sparsity=0.5, granularity="head")).eval()
    masks, x = engine.masks(layer), torch.randn(2, 5, 12)
    assert set(masks) == {"in_proj_weight", "out_proj.weight"}
    twin = copy.deepcopy(layer).double().float()
    twin.load_state_dict(attention().state_dict())
    for name, mask in masks.items():
        assert torch.equal(engine.masks(twin)[name], mask)
        assert (twin.get_parameter(name)[~mask] == 0).all()
    pytest.importorskip("safetensors")
    engine.save(layer, tmp_path / "attention")
    read = engine.load(tmp_path / "attention", attention()).eval()
    with torch.inference_mode(), engine.nn.dense_only():  # each would find out by itself which kernel is faster
        assert torch.equal(read(x, x, x)[0], layer(x, x, x)[0])
    assert all(torch.equal(a, b) for a, b in zip(engine.masks(read).values(), masks.values(), strict=True))
    assert type(engine.remove_masks(layer)) is nn.MultiheadAttention
    assert not engine.masks(layer)


def test_the_report_counts_torchs_attention_and_says_what_it_runs_on():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention()

        def forward(self, x):
            return self.attention(query=x, key=x, value=x)[0]

    model = engine.prune(Model(), engine.Spec(sparsity=0.5, granularity="head"))
    row, *_ = engine.report(model, torch.randn(2, 5, 12)).layers
    assert (row.name, row.shape, row.density) == ("attention", (36, 12), 0.5)
    assert (row.kernel, row.reason) in [("csr", ""), ("dense", "dense measured faster")]
    assert (row.macs, row.nonzero_macs) == (10 * 432, 10 * 216)
    assert row.seconds is not None


def test_a_schedule_takes_heads_one_after_the_other_and_resumes():
    def pruner(model):
        return engine.Pruner(model, engine.Spec(sparsity=0.75, granularity="head"), engine.schedules.Linear(0, 3))

    first, second = pruner(attention()), pruner(attention())
    left = []
    for _ in range(4):
        first.step()
        left.append(len(heads_left(first.model)))
    assert left == [3, 2, 1, 1]  # what fits into 81, 63, 44 and 25%
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(engine.masks(p.model).values() for p in (first, second)), strict=True))


class Config:
    """As models of language keep their sizes."""

    num_attention_heads, num_key_value_heads = 6, 2


class Grouped(nn.Module):
    """As Llama: three heads of queries to one of keys and values, the counts in a config."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.config = Config()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(12, 24, bias=False), nn.Linear(12, 8, bias=False), nn.Linear(12, 8), nn.Linear(24, 12, bias=False)
        )  # fmt: skip

    def forward(self, x):
        q, k, v = (p(x).unflatten(-1, (-1, 4)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        k, v = (each.repeat_interleave(3, dim=1) for each in (k, v))
        return self.o_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Projecting(nn.Module):
    """As BERT: queries, keys and values in one module, what takes the heads' output in another."""

    def __init__(self):
        super().__init__()
        self.num_attention_heads = 4
        self.query, self.key, self.value = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x):
        q, k, v = (p(x).unflatten(-1, (4, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.self = Projecting()
        self.output = nn.ModuleDict({"dense": nn.Linear(12, 12), "norm": nn.LayerNorm(12)})

    def forward(self, x):
        return self.output["norm"](self.output["dense"](self.self(x)) + x)


class Packed(nn.Module):
    """As vision transformers: one linear layer for queries, keys and values."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.num_heads, self.qkv, self.proj = 4, nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 3)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    ("make", "weights", "groups", "rows"),
    [
        (Grouped, ("q_proj", "k_proj", "v_proj", "o_proj"), 2, (12, 4, 4)),
        (Apart, ("self.query", "self.key", "self.value", "output.dense"), 4, (3, 3, 3)),
        (Packed, ("qkv", "proj"), 4, (3,)),
    ],
)
def test_heads_are_found_wherever_models_keep_their_projections(make, weights, groups, rows):
    model = nn.ModuleDict({"attention": make()})
    gone = round(0.5 * groups)
    engine.prune(model, engine.Spec(sparsity=0.5, granularity="head"))
    masks = engine.masks(model)
    assert set(masks) == {f"attention.{name}.weight" for name in weights}
    assert all(mask.float().mean() == 0.5 for mask in masks.values())
    *inner, outer = (masks[f"attention.{name}.weight"] for name in weights)
    stays = None
    for mask, size in zip(inner, rows, strict=True):
        for part in mask.unflatten(0, (-1, groups, size)):  # whole heads, the same of each projection
            flags = part.flatten(1)
            assert (flags.all(1) | ~flags.any(1)).all()
            assert stays is None or torch.equal(flags.all(1), stays)
            stays = flags.all(1)
    columns = outer.unflatten(1, (groups, -1))
    assert torch.equal(columns.all(2).all(0), stays)
    assert not columns[:, ~stays].any()
    assert int(stays.sum()) == groups - gone
    x = torch.randn(2, 5, 12)
    model["attention"](x).square().mean().backward()


def test_a_group_that_goes_takes_its_queries_and_nothing_else_changes():
    layer = Grouped()
    x = torch.randn(2, 5, 12)
    with torch.no_grad():
        layer.o_proj.weight[:, :12] *= 0.1  # the first group counts less
        dense = copy.deepcopy(layer)
        dense.o_proj.weight[:, :12] = 0
        engine.prune(layer, engine.Spec(sparsity=0.5, granularity="head"))
        torch.testing.assert_close(layer(x), dense(x))


def test_groups_that_do_not_fit_are_refused_with_the_numbers():
    layer = Grouped()
    layer.config = Config()
    layer.config.num_key_value_heads = 3
    with pytest.raises(ValueError, match="heads share keys or values: its projections give 24, 8, 8 rows"):
        engine.prune(layer, engine.Spec(sparsity=0.5, granularity="head"))


def test_weights_stored_the_other_way_round_have_the_same_heads():
    packed = Packed()
    turned = nn.ParameterDict({"qkv": packed.qkv.weight.t().contiguous(), "proj": packed.proj.weight.t().contiguous()})
    plain = Heads(4, [(packed.qkv, "weight")], (packed.proj, "weight"))
    other = Heads(4, [(turned, "qkv")], (turned, "proj"), turned=True)
    assert torch.equal(plain.weight, other.weight)
    kept = np.repeat(np.array([[True], [False], [False], [True]]), plain.weight.shape[1], axis=1)
    for (*_, flags), (*_, own) in zip(plain.mask_updates(kept), other.mask_updates(kept), strict=True):
        assert np.array_equal(flags.T, own)
