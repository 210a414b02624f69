import torch
from torch import fx

from sparse_engine.compiler.rules import RULES
from sparse_engine.compiler.rules.registry import name_of, rule_for


def call(target):
    return fx.Graph().call_function(target)


def test_an_operation_in_place_takes_the_rule_of_the_other():
    assert name_of(call(torch.ops.aten.relu_.default)) == "relu_"
    assert rule_for(call(torch.ops.aten.relu_.default)) is rule_for(call(torch.ops.aten.relu.default)) is RULES["relu"]


def test_overloads_share_a_rule_and_what_is_not_torchs_has_none():
    assert rule_for(call(torch.ops.aten.add.Scalar)) is rule_for(call(torch.ops.aten.add.Tensor)) is not None
    assert rule_for(call(torch.ops.aten.erfinv.default)) is None
    assert rule_for(call(torch.relu)) is None
