"""Deciding takes little, is shared between sizes, and is mended when the moment it was taken in was a bad one."""

import threading

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn import dispatch as choice  # noqa: E402


class Clock:
    """Calls that take as long as they are told, on a clock of their own."""

    def __init__(self, monkeypatch, seconds, first=None):
        self.now, self.calls, self.seconds, self.first = 0.0, [], seconds, first or {}
        monkeypatch.setattr(choice.time, "perf_counter", lambda: self.now)

    def way(self, name):
        def call():
            extra = self.first.get(name, 0.0) if name not in self.calls else 0.0
            self.calls.append(name)
            self.now += self.seconds[name] + extra
            return name

        return call

    def ways(self):
        return {name: self.way(name) for name in self.seconds}

    def decide(self, choices, shape=(8,), size=(100,), modelled="csr"):
        begin = self.now
        ways = self.ways()
        kernel, result = choices.decide(shape, size, ways, modelled)
        if result is None:
            result = ways[kernel]()
        assert result == kernel
        return kernel, self.now - begin


def test_no_call_takes_three_times_a_dense_one_and_soon_the_fastest_is_known(monkeypatch):
    for dense, csr, packing, expected in [
        (10e-3, 2e-3, 5e-3, "csr"),
        (10e-3, 2e-3, 12e-3, "csr"),
        (10e-3, 14e-3, 2e-3, "dense"),
        (10e-3, 9e-3, 0.0, "csr"),
        (10e-3, 9.8e-3, 0.0, "dense"),
        (1e-3, 0.2e-3, 0.4e-3, "csr"),
    ]:
        clock, choices = Clock(monkeypatch, {"dense": dense, "csr": csr}, {"csr": packing}), choice.Choices()
        kernels, longest = [], 0.0
        for _ in range(40):
            kernel, taken = clock.decide(choices)
            kernels.append(kernel)
            longest = max(longest, taken)
        assert longest <= 3.01 * dense, (dense, csr, packing)
        assert kernels[-1] == expected
        assert clock.now <= 1.3 * 40 * max(dense, csr) + packing


def test_small_calls_are_decided_at_once(monkeypatch):
    clock, choices = Clock(monkeypatch, {"dense": 9e-6, "csr": 5e-6}), choice.Choices()
    clock.decide(choices)
    assert [decided.kernel for decided in choices.buckets.values()] == ["csr"]
    assert clock.now < 2e-3


def test_sixty_sizes_need_a_few_decisions(monkeypatch):
    clock, choices = Clock(monkeypatch, {"dense": 10e-3, "csr": 2e-3}), choice.Choices()
    for size in range(10, 70):
        kernel, _ = clock.decide(choices, (size,), (1, size))
    assert kernel == "csr"
    assert len(choices.buckets) <= 5
    assert clock.now < 60 * 10e-3


def test_few_and_many_columns_never_share_a_decision(monkeypatch):
    clock, choices = Clock(monkeypatch, {"dense": 10e-3, "csr": 2e-3}), choice.Choices()
    clock.decide(choices, (8,), (8,))
    clock.decide(choices, (9,), (9,))
    assert {bucket[0] for bucket in choices.buckets} == {(8,), (9,)}


def test_a_decision_of_a_disturbed_moment_is_taken_anew(monkeypatch):
    clock, choices = Clock(monkeypatch, {"dense": 10e-3, "csr": 40e-3}), choice.Choices()
    while not choices.exact:
        clock.decide(choices)
    (decided,) = choices.buckets.values()
    assert decided.kernel == "dense"
    clock.seconds["csr"] = 2e-3  # the neighbour is gone
    result = choices.look_again(decided, clock.ways())
    assert result == "dense", "the result is that of the way that was chosen"
    for _ in range(20):
        kernel, _ = clock.decide(choices)
    assert kernel == "csr"


def test_looking_again_grows_rare_and_a_right_decision_stays(monkeypatch):
    clock, choices = Clock(monkeypatch, {"dense": 10e-3, "csr": 2e-3}), choice.Choices()
    while not choices.exact:
        clock.decide(choices)
    (decided,) = choices.buckets.values()
    intervals = []
    for _ in range(3):
        choices.look_again(decided, clock.ways())
        intervals.append(decided.left)
    assert list(choices.buckets.values()) == [decided]
    assert intervals == [2 * choice.FIRST_LOOK_BACK, 4 * choice.FIRST_LOOK_BACK, 8 * choice.FIRST_LOOK_BACK]


def test_a_layer_looks_at_its_decision_again_after_some_calls(monkeypatch):
    monkeypatch.setattr(choice, "FIRST_LOOK_BACK", 5)
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.9)).eval()
    looked = []
    look = choice.Choices.look_again
    monkeypatch.setattr(choice.Choices, "look_again", lambda self, *args: looked.append(1) or look(self, *args))
    x = torch.randn(20, 64)
    with torch.inference_mode():
        expected = nn.functional.linear(x, layer.weight, layer.bias)
        for _ in range(choice.FIRST_LOOK_BACK * 120):
            torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert looked


def test_autotune_decides_at_once_and_for_good():
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.5)).eval()
    engine.autotune(layer, torch.randn(100, 64))
    (decided,) = layer._sparse.choices.buckets.values()
    assert decided.left == float("inf")
    assert set(decided.seconds) >= {"dense", "csr"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_lengths_of_a_recurrent_layer_share_decisions(kind):
    layer = engine.prune(kind(16, 16, batch_first=True), engine.Spec(sparsity=0.9)).eval()
    with torch.inference_mode():
        for length in range(10, 70):
            for _ in range(2):
                layer(torch.randn(1, length, 16))
    assert len(layer._sparse.choices.buckets) <= 5


def test_one_decision_a_bucket_costs_a_few_calls(monkeypatch):
    layer = engine.prune(nn.Linear(32, 32), engine.Spec(sparsity=0.5)).eval()
    trials = set()
    measure = choice._measure
    monkeypatch.setattr(choice, "_measure", lambda trial, *given: trials.add(trial) or measure(trial, *given))
    with torch.inference_mode():
        for n in [100, 100, 101, 110, 111, 100] * 5:
            layer(torch.randn(n, 32))
        assert len(trials) == 1
        layer(torch.randn(180, 32))
        assert len(trials) == 1, "a size near one that was measured takes over its decision"
        layer(torch.randn(300, 32))
        assert len(trials) == 2


def test_buckets_are_exact_when_small_and_within_a_quarter_when_large():
    assert [choice.bucket_of(n) for n in range(17)] == list(range(17))
    for n in range(17, 5000, 7):
        assert n / 1.25 <= choice.bucket_of(n) <= n


def test_dense_is_kept_where_it_is_faster_and_said_so():
    model = engine.prune(nn.Linear(16, 16), engine.Spec(sparsity=0.1)).eval()
    engine.autotune(model, torch.randn(2, 16))
    (decided,) = model._sparse.choices.buckets.values()
    dense = decided.seconds["dense"]
    fastest = min((k for k in decided.seconds if k != "dense"), key=decided.seconds.get, default="dense")
    if decided.seconds[fastest] >= choice.MARGIN * dense:
        assert decided.kernel == "dense"
    elif decided.seconds[fastest] < choice.MARGIN_AGAINST_MODEL * dense:
        assert decided.kernel == fastest


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_trial_that_fails_or_is_interrupted_decides_nothing(monkeypatch, error, call):
    clock, choices = Clock(monkeypatch, {"dense": 10e-6, "csr": 2e-6}), choice.Choices()
    ways = clock.ways()
    calls = []

    def csr():
        calls.append(1)
        if len(calls) == call:
            raise error
        return clock.way("csr")()

    with pytest.raises(error):
        choices.decide((8,), (100,), ways | {"csr": csr}, "csr")
    assert not choices.exact
    assert not choices.buckets
    kernel, _ = clock.decide(choices)
    assert kernel == "csr"
    assert [decided.kernel for decided in choices.buckets.values()] == ["csr"]


def test_a_thread_that_calls_during_a_trial_neither_waits_nor_sees_a_decision():
    choices = choice.Choices()
    inside, go_on = threading.Event(), threading.Event()

    def csr():
        inside.set()
        assert go_on.wait(10)
        return "csr"

    thread = threading.Thread(target=choices.decide, args=((8,), (100,), {"dense": lambda: "dense", "csr": csr}, "csr"))
    thread.start()
    assert inside.wait(10)
    tried = []
    ways = {"dense": lambda: tried.append("dense"), "csr": lambda: tried.append("csr")}
    meanwhile = choices.decide((8,), (100,), ways, "csr")
    seen = dict(choices.exact), dict(choices.buckets)
    go_on.set()
    thread.join()
    assert meanwhile == ("dense", None), "the best so far, for the caller to run"
    assert seen == ({}, {})
    assert not tried, "another thread's calls are not timed beside it"


def test_an_interrupted_autotune_puts_earlier_decisions_back(monkeypatch):
    model = engine.prune(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), engine.Spec(sparsity=0.9)).eval()
    before = engine.autotune(model, torch.randn(100, 64))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(model[1], "_native", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.autotune(model, torch.randn(10, 64))
    assert engine.nn.decisions(model) == before
