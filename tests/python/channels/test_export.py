"""The graph that channels are followed on, and the copies of a model that it is taken of and tried on."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import SPEC
from sparse_engine.channels.export import Arguments, exported, plain_copy, tensors_of

pytestmark = pytest.mark.usefixtures("one_thread")


def operations(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def test_a_graph_shares_the_models_tensors_and_leaves_the_model_as_it_is():
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2)), torch.randn(1, 4)
    program = exported(model, Arguments((x,), {}), training=False)
    held = {tensor.data_ptr() for tensor in program.state_dict.values()}
    assert held == {parameter.data_ptr() for parameter in model.parameters()}
    assert model.training
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_graph_of_training_shows_what_evaluation_does_not_run():
    class Auxiliary(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return (y, torch.sin(y)) if self.training else y

    model, inputs = Auxiliary(4, 4).eval(), Arguments((torch.randn(1, 4),), {})
    assert "aten.sin.default" not in operations(exported(model, inputs, training=False))
    assert "aten.sin.default" in operations(exported(model, inputs, training=True))
    assert not model.training


def test_torchs_fused_encoder_is_taken_apart_whatever_was_switched_on():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    for enabled in (False, True):
        torch.backends.mha.set_fastpath_enabled(enabled)
        found = operations(exported(model, Arguments((torch.randn(1, 3, 8),), {}), training=False))
        assert torch.backends.mha.get_fastpath_enabled() is enabled
        assert "aten.linear.default" in found
        assert not any("transformer_encoder" in name for name in found)


def test_arguments_call_a_model_by_place_and_by_name():
    assert Arguments((1, 2), {"c": 3}).to(lambda a, b, c: (a, b, c)) == (1, 2, 3)


def test_tensors_are_found_in_order_inside_mappings_tuples_and_lists():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    found = tensors_of({"first": a, "others": [b, (c, "text", None)], "number": 3})
    assert [tensor is expected for tensor, expected in zip(found, (a, b, c), strict=True)] == [True] * 3
    assert tensors_of(None) == tensors_of("text") == []


def test_a_plain_copy_has_neither_masks_nor_hooks_of_the_user_and_keeps_those_of_torch():
    model = nn.Sequential(nn.Linear(4, 4), nn.utils.spectral_norm(nn.Linear(4, 4))).train()
    engine.prune(model, engine.Spec(sparsity=0.5, include=["0"]))
    model[0].register_forward_hook(print)
    model[1].register_forward_pre_hook(print)
    plain = plain_copy(model)
    assert type(plain[0]) is nn.Linear
    assert not plain[0]._forward_hooks
    assert len(plain[1]._forward_pre_hooks) == 1, "the one that computes the weight"
    assert not any(module.training for module in plain.modules())
    assert engine.masks(model).keys() == {"0.weight"}
    assert model.training
    assert len(model[0]._forward_hooks) == 1
    assert len(model[1]._forward_pre_hooks) == 2
    assert plain[0].weight.data_ptr() != model[0].weight.data_ptr()


def test_hooks_of_the_user_see_no_run_but_the_users():
    model, x, seen = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1)), torch.randn(1, 3, 4, 4), []

    class Logger:
        def __deepcopy__(self, memo):
            raise TypeError("an open file is not copied")

        def __call__(self, *arguments):
            seen.append(arguments)

    model[0].register_forward_hook(Logger())
    model[0].register_forward_pre_hook(Logger())
    engine.channels.channel_groups(model, x)
    engine.prune(model, SPEC, example_inputs=x)
    assert not seen
    model(x)
    assert len(seen) == 2


class Anchors(nn.Module):
    """Keeps what it works out for a size, as detection heads do."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.places = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 2, 1), None

    def forward(self, x):
        if self.places is None:
            self.places = torch.arange(x.shape[-1], dtype=x.dtype)
        return self.b(self.a(x)) + self.places


def test_a_module_that_caches_tensors_is_followed_and_keeps_none_that_are_not_real():
    model, x = Anchors(), torch.randn(1, 3, 4, 4)
    engine.prune(model, SPEC, example_inputs=x)
    assert model.places is None
    assert model.a.out_channels < 12
    assert type(model(x)) is torch.Tensor


def test_what_is_returned_beside_tensors_is_no_output():
    class Cache:
        def __init__(self, keys):
            self.keys = keys

    class Returns(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 12), nn.Linear(12, 3)

        def forward(self, x, use_cache=True):
            y = F.relu(self.a(x))
            return {"logits": self.b(y), "cache": Cache(y) if use_cache else None}

    model, x = Returns().eval(), torch.randn(2, 4)
    engine.prune(model, SPEC, example_inputs=x)
    assert model.a.out_features < 12
    assert model(x)["cache"].keys.shape == (2, model.a.out_features)
    engine.prune(model, SPEC, example_inputs={"x": x, "use_cache": False})
