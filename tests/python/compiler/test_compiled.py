import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine


class TwoInTwoOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 8)

    def forward(self, left, right):
        x = self.a(left)
        return {"sum": self.b(x) + right, "first": torch.relu(x)}


@pytest.fixture(scope="module")
def two():
    torch.manual_seed(0)
    model = TwoInTwoOut().eval()
    return model, engine.compile(model, (torch.randn(3, 6), torch.randn(3, 8)))


def test_inputs_go_by_place_or_by_name_as_numpy_or_torch(two):
    model, compiled = two
    left, right = torch.randn(4, 6), torch.randn(4, 8)
    with torch.no_grad():
        expected = model(left, right)
    for found in (compiled(left, right), compiled(left, right=right), compiled(right=right, left=left)):
        for a, b in zip(found, expected.values(), strict=True):
            torch.testing.assert_close(a, b)
    assert isinstance(compiled(left.numpy(), right.numpy())[0], np.ndarray)
    assert [(t.name, t.shape, t.dtype) for t in compiled.inputs] == [
        ("left", ("N", 6), "float32"),
        ("right", ("N", 8), "float32"),
    ]
    assert [(t.shape, t.dtype) for t in compiled.outputs] == [(("N", 8), "float32")] * 2


def test_what_does_not_fit_is_refused_by_name(two):
    _, compiled = two
    left, right = np.zeros((4, 6), np.float32), np.zeros((4, 8), np.float32)
    with pytest.raises(TypeError, match="input right is missing"):
        compiled(left)
    with pytest.raises(TypeError, match="other is none of the model's inputs; they are left, right"):
        compiled(left, other=right)
    with pytest.raises(TypeError, match="left is given twice"):
        compiled(left, left=left)
    with pytest.raises(ValueError, match=r"left has shape \(4, 7\); the model was compiled for \(N, 6\)"):
        compiled(np.zeros((4, 7), np.float32), right)
    with pytest.raises(ValueError, match="batches"):
        compiled(left[:2], right)
    with pytest.raises(ValueError, match="left is float64"):
        compiled(left.astype(np.float64), right)
    with pytest.raises(TypeError, match="left is a list"):
        compiled([1.0], right)


def test_an_empty_batch_gives_empty_outputs_and_strided_inputs_are_read(two):
    model, compiled = two
    assert compiled(np.zeros((0, 6), np.float32), np.zeros((0, 8), np.float32))[0].shape == (0, 8)
    left, right = torch.randn(6, 4).t(), torch.randn(4, 16)[:, ::2]
    with torch.no_grad():
        torch.testing.assert_close(compiled(left, right)[0], model(left, right)["sum"])


def test_a_file_holds_all_and_loads_without_torch(two, tmp_path):
    _, compiled = two
    path = tmp_path / "model.sparse"
    compiled.save(path)
    left, right = np.ones((2, 6), np.float32), np.ones((2, 8), np.float32)
    loaded = engine.load_compiled(path, threads=1)
    assert loaded.about == compiled.about
    for a, b in zip(loaded(left, right), compiled(left, right), strict=True):
        np.testing.assert_array_equal(a, b)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, sparse_engine as engine\n"
        f"y = engine.load_compiled({str(path)!r})(np.ones((2, 6), np.float32), np.ones((2, 8), np.float32))\n"
        "print(repr(float(y[0].sum())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert float(done.stdout) == float(compiled(left, right)[0].sum())


def test_the_content_of_a_file_is_loaded_like_the_file(two, tmp_path):
    _, compiled = two
    compiled.save(tmp_path / "model.sparse")
    content = (tmp_path / "model.sparse").read_bytes()
    left, right = np.ones((2, 6), np.float32), np.ones((2, 8), np.float32)
    loaded = engine.load_compiled(content, threads=1)
    for a, b in zip(loaded(left, right), compiled(left, right), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="9 bytes, is no compiled model"):
        engine.load_compiled(content[:9])


def test_no_damaged_file_is_loaded(two, tmp_path):
    _, compiled = two
    path = tmp_path / "model.sparse"
    compiled.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match="no compiled model"):
            engine.load_compiled(path)
    for length in [*range(64), *range(64, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="no compiled model"):
            engine.load_compiled(path)


def test_callers_at_once_get_the_same_bits(two):
    _, compiled = two
    left, right = np.random.default_rng(0).normal(size=(2, 64, 8)).astype(np.float32)
    left = np.ascontiguousarray(left[:, :6])
    expected = compiled(left, right)[0]
    wrong = []

    def call():
        for _ in range(200):
            if not np.array_equal(compiled(left, right)[0], expected):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_model_says_so():
    with engine.compile(nn.Linear(4, 4).eval(), torch.randn(1, 4)) as compiled:
        other = compiled.with_threads(1)
    with pytest.raises(ValueError, match="this compiled model is closed"):
        compiled(np.zeros((1, 4), np.float32))
    assert other.threads == 1
    assert other(np.zeros((1, 4), np.float32)).shape == (1, 4)


def test_printing_and_profiling_name_every_layer(two):
    _, compiled = two
    text = str(compiled)
    assert "2 of them products" in text
    assert "linear 8×8, 100.0% kept, + residual" in text
    profile = compiled.profile(np.zeros((3, 6), np.float32), np.zeros((3, 8), np.float32), rounds=3)
    assert [node.name for node in profile.nodes if node.operation == "linear"] == ["a", "b"]
    assert profile.milliseconds > 0
    assert all(node.limit_share > 0 for node in profile.nodes)
    assert profile.model == "TwoInTwoOut"
    with pytest.raises(ValueError, match="rounds is 0; it must be at least 1"):
        compiled.profile(np.zeros((3, 6), np.float32), np.zeros((3, 8), np.float32), rounds=0)


def test_printing_says_what_was_folded_how_each_node_runs_and_what_it_takes(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 5)).eval()
    compiled = engine.compile(engine.prune(model, engine.Spec(sparsity=0.5)), torch.randn(1, 3, 8, 8))
    lines = str(compiled).splitlines()
    assert "5 operations were captured; gone by pass: fold batch norm 1, fuse epilogue 1" in lines
    assert any(line.startswith("largest error on the example") for line in lines)
    ours, theirs = compiled.measured["milliseconds"], compiled.measured["torch_milliseconds"]
    assert any(f"{ours:.2f} ms on the example, dense in torch {theirs:.2f} ms" in line for line in lines)
    (conv,) = [line for line in lines if "conv2d 16×27, 50.2% kept, relu" in line or "conv2d 16×27, 50.0% kept, relu" in line]
    kernel = next(node.kernel for node in compiled.profile(np.zeros((1, 3, 8, 8), np.float32)).nodes if node.name == "0")
    assert kernel in conv
    assert conv.endswith("(N, 16, 6, 6)")
    compiled.save(tmp_path / "m.sparse")
    assert "ms on the example" not in str(engine.load_compiled(tmp_path / "m.sparse"))
    compiled.close()
    assert "conv2d 16×27" in str(compiled)


def test_other_threads_share_the_weights_and_give_the_same_bits(two):
    _, compiled = two
    left, right = np.ones((5, 6), np.float32), np.ones((5, 8), np.float32)
    expected = compiled(left, right)[0]
    for threads in (1, 2, 3):
        other = compiled.with_threads(threads)
        assert other.threads == threads
        np.testing.assert_array_equal(other(left, right)[0], expected)
    assert compiled.with_threads(0).threads == engine.runtime.num_threads()
    with pytest.raises(ValueError, match="threads is -1; it must not be negative"):
        compiled.with_threads(-1)


def test_closing_while_calls_run_ends_them_whole(two):
    _, compiled = two
    left, right = np.ones((64, 6), np.float32), np.ones((64, 8), np.float32)
    expected = compiled(left, right)[0]
    other, results, said = compiled.with_threads(1), [], []

    def call():
        try:
            while True:
                results.append(other(left, right)[0])
        except ValueError as error:
            said.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    while len(results) < 20:
        pass
    other.close()
    thread.join(60)
    assert said == ["this compiled model is closed: load or compile it again"]
    assert all(np.array_equal(result, expected) for result in results)


def test_memory_does_not_grow_over_runs_of_changing_batches():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)).eval()
    compiled = engine.compile(model, torch.randn(1, 3, 16, 16))

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    inputs = [np.zeros((n, 3, 16, 16), np.float32) for n in range(1, 10)]
    for i in range(200):
        compiled(inputs[i % 9])
    before = resident()
    for i in range(1000):
        compiled(inputs[i % 9])
    assert resident() - before < 4 << 20
