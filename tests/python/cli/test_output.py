import argparse

import pytest

from sparse_engine.cli.output import UserError, existing, need, shapes_of, share, whole_number, whole_numbers, writable


def test_numbers_are_parsed_and_bounded():
    assert whole_number(1, 9)("9") == 9
    assert whole_numbers(1, 9)("1,3") == [1, 3]
    assert share("0.8") == 0.8
    for parse, wrong in ((whole_number(1, 9), "10"), (whole_number(1, 9), "x"), (whole_numbers(1, 9), "1,,2"), (share, "1")):
        with pytest.raises(argparse.ArgumentTypeError, match=r"outside|not a"):
            parse(wrong)


def test_paths_are_looked_at_before_the_work(tmp_path):
    (tmp_path / "a").write_text("")
    assert existing(str(tmp_path / "a")) == str(tmp_path / "a")
    assert writable(str(tmp_path / "b")) == str(tmp_path / "b")
    for parse, wrong in ((existing, "none"), (writable, str(tmp_path)), (writable, str(tmp_path / "none" / "b"))):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(wrong)


def test_shapes_have_names():
    assert shapes_of(["a=1x2", "b:0=3"]) == {"a": [1, 2], "b:0": [3]}
    with pytest.raises(UserError, match="not of the form"):
        shapes_of(["1x2"])


def test_missing_packages_are_named_with_the_way_out():
    need(("json",), "this", "onnx")
    with pytest.raises(UserError, match=r"this needs no_such_package: pip install 'sparse-engine\[onnx\]'"):
        need(("json", "no_such_package"), "this", "onnx")
