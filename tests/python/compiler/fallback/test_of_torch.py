import pytest
import torch
from torch import nn

import sparse_engine as engine
from image_networks import network
from refused_operations import Sorted, at_once, check_torch, runtimes
from sparse_engine.compiler.compiled import CompiledModel
from sparse_engine.compiler.fallback.model import SegmentedModel
from sparse_engine.compiler.rules import RULES


def seeded(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


class Of(nn.Module):
    """A function of x and some layers of 6 units."""

    def __init__(self, function):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.function = function

    def forward(self, x):
        return self.function(x, *self.layers)


def check(function, x=None):
    return check_torch(seeded(Of(function)), torch.randn(3, 6) if x is None else x)


def test_covered_parts_are_few_compiled_segments_at_any_batch():
    compiled = check_torch(seeded(Sorted()), torch.randn(2, 3, 8, 8))
    assert runtimes(compiled) == ["compiled", "torch", "compiled", "torch", "compiled"]
    assert compiled.fallback_segments[0].contents.operations == {"sort": 1}
    assert [tensor.dtype for tensor in compiled.outputs] == ["float32", "int64"]
    assert compiled.about["error"] < 1e-5


def test_threads_may_call_at_once():
    compiled = engine.compile(seeded(Sorted()).eval(), torch.randn(2, 3, 8, 8), fallback="torch")
    assert at_once(compiled, torch.randn(4, 3, 8, 8)) == 0


def test_a_pruned_model_keeps_its_zeros():
    model = engine.prune(seeded(Sorted()).eval(), engine.Spec(sparsity=0.75))
    compiled = check_torch(model, torch.randn(2, 3, 8, 8))
    stored = sum(node["weight"][2] for node in compiled.nodes if node["weight"] is not None)
    whole = sum(node["weight"][0] * node["weight"][1] for node in compiled.nodes if node["weight"] is not None)
    assert stored < 0.5 * whole


def test_later_changes_of_the_model_do_not_reach_it():
    model = seeded(Of(lambda x, a, b, c: torch.sort(a(x))[0] + c.weight[0])).eval()
    x = torch.randn(2, 6)
    compiled = engine.compile(model, x, fallback="torch")
    before = compiled(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(compiled(x), before)


def test_a_model_that_is_covered_is_compiled_whole():
    compiled = engine.compile(nn.Linear(4, 4).eval(), torch.randn(2, 4), fallback="torch")
    assert type(compiled) is CompiledModel


def test_a_model_of_which_nothing_can_be_compiled_is_an_error():
    for function in (lambda x, *_: torch.sort(torch.relu(x))[0], lambda x, *_: torch.fft.rfft(x).abs()):
        with pytest.raises(ValueError, match=r"nothing of Of can be compiled: .*Run all of it in torch"):
            engine.compile(Of(function).eval(), torch.randn(2, 6), fallback="torch")


def test_a_diamond_around_a_refused_operation():
    compiled = check(lambda x, a, b, c: c(b(x) + torch.sort(a(x))[0] + a(x)))
    assert runtimes(compiled) == ["compiled", "torch", "compiled"]


def test_a_value_that_both_read_and_one_that_is_an_output_too():
    def function(x, a, b, c):
        y = torch.relu(a(x))
        z = torch.cumprod(y, 1)
        return b(y) + c(z), y, z, x

    assert runtimes(check(function)) == ["compiled", "torch", "compiled"]


def test_indices_and_truth_values_cross():
    def function(x, a, b, c):
        y = a(x)
        order = torch.argsort(y, -1)
        positive = y > 0
        ranked = torch.gather(y, 1, order)
        found = torch.where(torch.isin(order, torch.tensor([1, 3])), b(ranked), y)
        return c(found).masked_fill(positive, 0.0), order, positive, torch.logical_and(positive, order > 2)

    compiled = check(function)
    assert [tensor.dtype for tensor in compiled.outputs] == ["float32", "int64", "bool", "bool"]


def test_whole_numbers_are_taken_where_torch_alone_reads_them():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(20, 6), nn.Linear(6, 4)

        def forward(self, tokens):
            return self.layer(torch.sort(self.table(tokens), -1)[0])

    compiled = check_torch(seeded(Tokens()), torch.randint(0, 20, (3, 5)))
    assert compiled.inputs[0].dtype == "int64"
    with pytest.raises(ValueError, match="is float32; the model was compiled for int64"):
        compiled(torch.zeros(3, 5))


def test_several_results_of_one_operation_stay_together():
    def function(x, a, b, c):
        values, indices = torch.max(torch.linalg.svd(a(x).view(-1, 2, 3), full_matrices=False)[1], 1)
        first, second = torch.chunk(b(x), 2, 1)
        return c(torch.cat([first * values[:, None], second], 1)), indices

    check(function)


def test_lists_of_results_of_covered_operations_cross():
    def function(x, a, b, c):
        parts = torch.split(a(x), 2, 1)
        return b(torch.cat([torch.sort(parts[0])[0], parts[1], parts[2]], 1))

    assert runtimes(check(function)) == ["compiled", "torch", "compiled"]


def test_sizes_that_depend_on_values_stay_in_torch():
    def function(x, a, b, c):
        y = a(x)
        return y, torch.nonzero(y > 0)

    compiled = engine.compile(seeded(Of(function)).eval(), torch.randn(3, 6), fallback="torch")
    assert compiled.outputs[1].shape == ("?",)
    y, where = compiled(torch.randn(4, 6))
    torch.testing.assert_close(where, torch.nonzero(y > 0))


def test_constants_are_outputs_too_and_no_result_is_shared_memory():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("scale", torch.rand(4))

        def forward(self, x):
            y = torch.sort(self.layer(x))[0]
            return y, y.view(-1), self.scale * 2, x

    x = torch.randn(2, 4)
    compiled = check_torch(Constant(), x)
    before = [t.clone() for t in compiled(x)]
    for result in compiled(x):
        result.fill_(9.0)
    for a, b in zip(compiled(x), before, strict=True):
        torch.testing.assert_close(a, b)


def test_a_mapping_of_inputs_goes_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(3, 4)

        def forward(self, left, right):
            return {"y": torch.sort(self.a(left) + self.b(right))[0]}

    model = Two().eval()
    left, right = torch.randn(2, 4), torch.randn(2, 3)
    compiled = engine.compile(model, {"left": left, "right": right}, fallback="torch")
    with torch.no_grad():
        torch.testing.assert_close(compiled(right=right, left=left), model(left, right)["y"])
    with pytest.raises(ValueError, match="batches"):
        compiled(left, torch.randn(3, 3))


def test_a_compiled_segment_that_is_wrong_is_an_error(monkeypatch):
    from sparse_engine.compiler.fallback import program_segment

    right = program_segment.ProgramSegment.run
    monkeypatch.setattr(program_segment.ProgramSegment, "run", lambda self, n, given: [a + 1 for a in right(self, n, given)])
    with pytest.raises(ValueError, match="output getitem of the compiled model differs"):
        engine.compile(seeded(Of(lambda x, a, b, c: torch.sort(a(x))[0])).eval(), torch.randn(2, 6), fallback="torch")


def test_an_unknown_fallback_and_onnxruntime_for_a_module_are_refused():
    with pytest.raises(ValueError, match="fallback is 'tf'; it must be one of None, 'torch', 'onnxruntime'"):
        engine.compile(nn.Linear(4, 4).eval(), torch.randn(2, 4), fallback="tf")
    with pytest.raises(ValueError, match="is for ONNX"):
        engine.compile(nn.Linear(4, 4).eval(), torch.randn(2, 4), fallback="onnxruntime")


def test_without_a_fallback_nothing_changes():
    with pytest.raises(engine.UnsupportedModel, match='fallback="torch"'):
        engine.compile(Sorted().eval(), torch.randn(2, 3, 8, 8))


def test_an_onnx_file_goes_by_way_of_torch():
    models = pytest.importorskip("onnx_models")
    nodes = [
        models.helper.make_node("Gemm", ["x", "w"], ["a"]),
        models.helper.make_node("Gelu", ["a"], ["b"], approximate="none"),
        models.helper.make_node("Det", ["b"], ["y"]),
    ]
    model = models.model_of(nodes[:1], {"x": ("N", 4)}, ["a"], {"w": models.reals(4, 4)})
    assert type(engine.compile(model, fallback="torch")) is not SegmentedModel


def test_outputs_of_another_dtype_need_no_other_runtime(tmp_path):
    compiled = check(lambda x, a, b, c: torch.relu(a(x)) > 0.5)
    assert runtimes(compiled) == ["compiled"]
    assert "1 segments, 1 of them compiled" in str(compiled)
    with pytest.raises(ValueError, match=r"gt is bool, and a compiled file holds float32 alone"):
        compiled.save(tmp_path / "no.sparse")


@pytest.mark.parametrize(
    ("name", "gone", "segments"),
    [
        ("shufflenet", ["cat", "max_pool2d"], 9),
        ("convnext", ["permute"], 11),
        ("mobilenet_v3", ["hardsigmoid"], 5),
        ("inception_v3", ["cat"], 6),
        ("vgg_bn of small images", ["batch_norm", "relu"], 7),
    ],
)
def test_networks_of_which_any_operation_is_not_covered(name, gone, segments, monkeypatch):
    for operation in gone:
        monkeypatch.delitem(RULES, operation)
    model, x = network(name)
    assert len(check_torch(model, x, batches=(1, 3)).segments) == segments
