import copy
import pickle

import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.pruning.granularity_value import WORDS

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def layers():
    torch.manual_seed(0)
    return {
        "linear": nn.Linear(24, 16),
        "conv2d": nn.Conv2d(8, 12, 3),
        "grouped": nn.Conv2d(8, 12, (3, 2), groups=2),
        "conv1d": nn.Conv1d(8, 6, 4),
        "conv3d": nn.Conv3d(4, 6, 2),
    }


# granularity -> height and width of a block of the weight as a matrix
BLOCK_OF = {
    "4x1": lambda shape: (4, 1),
    "8x1": lambda shape: (8, 1),
    "1x4": lambda shape: (1, 4),
    "4x4": lambda shape: (4, 4),
    "5x7": lambda shape: (5, 7),
    "vector": lambda shape: (1, shape[-1]),
    "kernel": lambda shape: (1, int(np.prod(shape[2:]))),
    "filter": lambda shape: (1, int(np.prod(shape[1:]))),
    "row": lambda shape: (1, shape[1]),
}


def fits(granularity, kind):
    return {"row": kind == "linear", "vector": kind != "linear", "kernel": kind != "linear", "filter": kind != "linear"}.get(
        granularity, True
    )


def groups_of(matrix, block):
    """Every block of a matrix as (rows, columns) slices."""
    height, width = block
    return [
        (slice(r, r + height), slice(c, c + width))
        for r in range(0, matrix.shape[0], height)
        for c in range(0, matrix.shape[1], width)
    ]


@pytest.mark.parametrize("granularity", BLOCK_OF)
@pytest.mark.parametrize("kind", list(layers()))
@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_groups_go_as_one_and_the_best_stay(granularity, kind, criterion):
    layer = layers()[kind]
    spec = engine.Spec(sparsity=0.6, granularity=granularity, criterion=criterion)
    if not fits(granularity, kind):
        with pytest.raises(ValueError, match="fits no selected layer"):
            engine.prune(layer, spec)
        return
    before = layer.weight.detach().double().reshape(layer.weight.shape[0], -1).numpy().copy()
    engine.prune(layer, spec)
    kept = layer.mask.to_numpy().reshape(before.shape)
    worth, sizes, stays = [], [], []
    for group in groups_of(before, BLOCK_OF[granularity](tuple(layer.weight.shape))):
        values = np.abs(before[group])
        worth.append(values.mean() if criterion == "l1" else np.sqrt(np.square(values).mean()))
        sizes.append(values.size)
        stays.append(bool(kept[group].all()))
        assert kept[group].any() == kept[group].all()
    allowed = before.size - round(0.6 * before.size)
    left = [size for size, stay in zip(sizes, stays, strict=True) if not stay]
    assert allowed - min(left) < kept.sum() <= allowed
    if len(set(sizes)) == 1:
        assert min(w for w, s in zip(worth, stays, strict=True) if s) >= max(
            w for w, s in zip(worth, stays, strict=True) if not s
        )


@pytest.mark.parametrize("granularity", ["2:4", "1:4", "4:8", "1:2", "3:8"])
def test_n_of_m_keeps_the_largest_of_every_m_neighbours(granularity):
    n, m = map(int, granularity.split(":"))
    for layer in (nn.Linear(24, 16), nn.Conv2d(8, 12, 3), nn.Conv1d(8, 6, 4)):
        before = layer.weight.detach().abs().reshape(-1, m)
        engine.prune(layer, engine.Spec(granularity=granularity))
        kept = torch.from_numpy(layer.mask.to_numpy()).reshape(-1, m)
        assert (kept.sum(1) == n).all()
        assert (torch.where(kept, before, np.inf).amin(1) >= torch.where(kept, -1.0, before).amax(1)).all()


def patterns_of(weight, n, size):
    """The dictionary by definition: the `size` sets of positions that are the best n of most kernels."""
    best = weight.abs().argsort(dim=1, descending=True, stable=True)[:, :n]
    sets = [sum(1 << int(i) for i in row) for row, kernel in zip(best, weight, strict=True) if kernel.any()]
    return sorted(set(sets), key=lambda p: (-sets.count(p), p))[:size]


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize(("granularity", "n", "size"), [("pattern", 4, 8), ("pattern:3", 3, 8), ("pattern:2:3", 2, 3)])
@pytest.mark.parametrize("kind", ["conv2d", "grouped", "conv1d", "conv3d"])
def test_every_kernel_keeps_the_pattern_of_a_small_dictionary_that_is_worth_most(criterion, granularity, n, size, kind):
    layer = layers()[kind]
    positions = int(np.prod(layer.kernel_size))
    before = layer.weight.detach().reshape(-1, positions)
    dictionary = patterns_of(before, n, size)
    if n >= positions:
        with pytest.raises(ValueError, match=f"its kernels have {positions} positions; patterns of {n} need {n + 1} to 64"):
            engine.prune(layer, engine.Spec(granularity=granularity, criterion=criterion))
        return
    engine.prune(layer, engine.Spec(granularity=granularity, criterion=criterion))
    kept = torch.from_numpy(layer.mask.to_numpy()).reshape(-1, positions)
    used = {sum(1 << i for i in range(positions) if row[i]) for row in kept}
    assert used <= set(dictionary)
    assert (kept.sum(1) == n).all()
    worth = before.double().abs() if criterion == "l1" else before.double().square()
    best = [
        max(sum(float(kernel[i]) for i in range(positions) if pattern >> i & 1) for pattern in dictionary) for kernel in worth
    ]
    torch.testing.assert_close((worth * kept).sum(1), torch.tensor(best, dtype=torch.float64))


def test_pattern_is_refused_where_a_layer_has_no_kernel_to_give_one_to():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(32, 5))
    with pytest.warns(UserWarning, match=r'1: its kernels have 1 positions; .*3: a linear layer has no "pattern"'):
        engine.prune(model, engine.Spec(granularity="pattern"))
    assert set(engine.masks(model)) == {"0.weight"}
    assert model[0].mask.kept == 8 * 3 * 4
    with pytest.raises(ValueError, match="keeps 4 weights of every kernel; leave sparsity out"):
        engine.Spec(granularity="pattern", sparsity=0.5)
    with pytest.raises(ValueError, match="the same in every layer"):
        engine.Spec(granularity="pattern", scope="global")


def test_layers_that_do_not_fit_are_left_alone_and_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 5))
    with pytest.warns(UserWarning, match=r"0: its rows of 27 weights do not fall into groups of 4"):
        engine.prune(model, engine.Spec(granularity="2:4"))
    assert set(engine.masks(model)) == {"1.weight", "3.weight"}
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5))
    with pytest.warns(UserWarning, match='2: a linear layer has no "filter"'):
        engine.prune(model, engine.Spec(sparsity=0.5, granularity="filter"))
    assert set(engine.masks(model)) == {"0.weight"}


def test_groups_of_different_sizes_are_ranked_together_over_layers():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 5))
    with torch.no_grad():
        for layer, large in zip(model, (1, 8, 3), strict=True):  # so many filters stand out of a layer's mean
            layer.weight.copy_(torch.rand_like(layer.weight) / 10)
            layer.weight[:large] += 10
    total = sum(layer.weight.numel() for layer in model)
    engine.prune(model, engine.Spec(nonzeros=36 + 64 + 3 * 200, granularity="filter", scope="global"))
    assert [layer.mask.kept for layer in model] == [36, 64, 600]
    assert total > 700


@pytest.mark.parametrize(
    "text",
    [
        "",
        "elements",
        "2:",
        "4:4",
        "0:4",
        "8:32",
        "0x1",
        "1x",
        "4x4x4",
        "-1x2",
        "pattern:0",
        "pattern:64",
        "pattern:4:0",
        "pattern:",
        None,
        3,
    ],
)
def test_what_is_no_granularity_is_refused_with_those_there_are(text):
    with pytest.raises(ValueError, match="granularity = "):
        engine.Spec(sparsity=0.5, granularity=text)


def test_every_word_is_documented_in_the_spec_and_prints_as_it_is_given():
    for word in WORDS:
        assert f'"{word}"' in engine.Spec.__doc__
        assert str(engine.Spec(sparsity=0.5, granularity=word).granularity) == word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("element", engine.pruning.Element()),
        ("2:4", engine.NofM(2, 4)),
        ("4x1", engine.Blocks(4, 1)),
        ("pattern", engine.pruning.Pattern()),
        ("pattern:3", engine.pruning.Pattern(3)),
        ("pattern:3:16", engine.pruning.Pattern(3, 16)),
        ("filter", engine.pruning.Filter()),
        ("channel", engine.pruning.Channels()),
        ("head", engine.pruning.Head()),
    ],
)
def test_a_word_and_its_value_make_the_same_spec(word, value):
    amount = {} if value.fixes else {"sparsity": 0.5}
    spec = engine.Spec(granularity=value, **amount)
    assert spec == engine.Spec(granularity=word, **amount)
    assert spec.granularity == value
    assert hash(spec.granularity) == hash(value)
    assert engine.Spec(granularity=str(value), **amount) == spec
    assert f"granularity={str(value)!r}" in repr(spec)
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec


def test_values_of_other_kinds_or_numbers_differ():
    values = [engine.NofM(2, 4), engine.NofM(1, 4), engine.Blocks(2, 4), engine.pruning.Pattern(2, 4), engine.pruning.Element()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: engine.NofM(4, 4), ValueError, "granularity = '4:4': n of m neighbours stay, 0 < n < m <= 16, such as '2:4'"),
        (lambda: engine.NofM(2.0, 4), TypeError, "NofM: n = 2.0 is not a whole number"),
        (lambda: engine.NofM(True, 4), TypeError, "n = True"),
        (lambda: engine.Blocks(0, 4), ValueError, "both sides of a block must be at least 1"),
        (lambda: engine.Blocks(4, "1"), TypeError, "Blocks: width = '1'"),
        (lambda: engine.pruning.Pattern(64), ValueError, "0 < N < 64"),
    ],
)
def test_a_value_of_impossible_numbers_is_refused_where_it_is_made(make, error, words):
    with pytest.raises(error, match=words):
        make()


class EveryKind(nn.Module):
    """A convolution, a transposed one, attention and an LSTM, one after the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 12, 3)
        self.attention = nn.MultiheadAttention(12, 4, batch_first=True)
        self.rnn = nn.LSTM(12, 8, batch_first=True)
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        tokens = self.up(self.conv(x).relu()).relu().flatten(2).transpose(1, 2)[:, ::8]
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.out(self.rnn(tokens)[0][:, -1])


@pytest.mark.parametrize("granularity", ["element", "2:4", "4x1", "1x4", "vector", "kernel", "filter", "pattern", "head"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.filterwarnings("ignore:left alone")
def test_zeros_survive_a_hundred_steps_of_every_optimizer(granularity, optimizer):
    torch.manual_seed(1)
    model = EveryKind()
    build = {
        "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
        "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-3),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-2),
    }[optimizer](model.parameters())
    x, y = torch.randn(16, 4, 6, 6), torch.randint(4, (16,))
    for _ in range(3):  # momentum from before
        build.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        build.step()
    amount = {} if granularity in ("2:4", "pattern") else {"sparsity": 0.5}
    chosen = ("attention",) if granularity == "head" else ("conv", "up", "rnn")
    engine.prune(model, engine.Spec(granularity=granularity, include=chosen, **amount))
    zeros = {name: ~mask for name, mask in engine.masks(model).items()}
    assert len(zeros) == (4 if granularity in ("element", "2:4", "4x1", "1x4") else 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(100):
        build.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        for name, gone in zeros.items():
            assert (model.get_parameter(name).grad[gone] == 0).all()
        build.step()
    for name, parameter in model.named_parameters():
        if name in zeros:
            assert (parameter[zeros[name]] == 0).all()
        assert not torch.equal(parameter, before[name])
