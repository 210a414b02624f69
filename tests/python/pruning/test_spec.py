import copy
import dataclasses
import pickle

import pytest

import sparse_engine as engine


def test_spec_is_frozen_and_survives_copy_and_pickle():
    spec = engine.Spec(sparsity={"fc*": 0.9, "*": 0.5}, exclude="head")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.scope = "global"
    assert copy.deepcopy(spec) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.exclude == ("head",)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "exactly one of sparsity, nonzeros, macs, bytes, latency_ms and threshold, got neither"),
        ({"sparsity": 0.5, "nonzeros": 3}, ValueError, "got sparsity and nonzeros"),
        ({"sparsity": 1.0}, ValueError, r"outside \[0, 1\)"),
        ({"sparsity": -0.1}, ValueError, r"outside \[0, 1\)"),
        ({"sparsity": 90}, ValueError, "for 90 percent write 0.9"),
        ({"sparsity": float("nan")}, ValueError, r"outside \[0, 1\)"),
        ({"sparsity": "0.9"}, TypeError, "not a number"),
        ({"sparsity": True}, TypeError, "not a number"),
        ({"sparsity": {}}, ValueError, "empty mapping"),
        ({"sparsity": {"a": 2}}, ValueError, r"sparsity\['a'\] = 2"),
        ({"sparsity": {"a": 0.5}, "scope": "global"}, ValueError, 'scope="layer"'),
        ({"sparsity": 0.5, "scope": "model"}, ValueError, "not one of: layer, row, global"),
        ({"sparsity": 0.5, "granularity": "rows"}, ValueError, 'granularity = .rows. is not one of: .*"element"'),
        ({"sparsity": 0.6, "granularity": "2:4"}, ValueError, "removes 0.5 of every layer; leave sparsity out"),
        ({"granularity": "2:4", "scope": "global"}, ValueError, 'scope="layer"'),
        ({"granularity": "2:4", "min_density": 0.1}, ValueError, "leave min_density"),
        ({"threshold": -1.0}, ValueError, "threshold = -1.0"),
        ({"threshold": 1.0, "granularity": "4x1"}, ValueError, "compares single weights"),
        ({"macs": 1.5}, TypeError, "whole number of multiply-accumulates"),
        ({"bytes": -1}, ValueError, "negative"),
        ({"latency_ms": 0}, ValueError, "milliseconds above 0"),
        ({"sparsity": 0.5, "min_density": 2}, ValueError, "min_density = 2"),
        ({"sparsity": 0.5, "max_density": {"a": "x"}}, ValueError, "max_density"),
        ({"sparsity": {"a": 0.5}, "scope": ["a"]}, ValueError, "ranks layers together"),
        ({"sparsity": 0.5, "criterion": "l7"}, ValueError, "is not one of: bn_scale, fpgm, l1"),
        ({"sparsity": 0.5, "include": 3}, TypeError, "glob pattern"),
        ({"nonzeros": -1}, ValueError, "negative"),
        ({"nonzeros": 0.5}, TypeError, "for a share use sparsity="),
    ],
)
def test_spec_refuses_what_makes_no_sense_and_names_the_way_out(arguments, error, words):
    with pytest.raises(error, match=words):
        engine.Spec(**arguments)


def test_spec_selects_by_glob_patterns():
    spec = engine.Spec(sparsity=0.5, include=["features.*", "head"], exclude="*.0")
    assert [spec.selects(name) for name in ("features.0", "features.1", "head", "neck")] == [False, True, True, False]
