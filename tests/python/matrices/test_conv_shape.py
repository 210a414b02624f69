import pytest

from sparse_engine.matrices.conv_shape import conv_shape, native_shape


def test_one_axis_is_a_row_of_height_one():
    shape = native_shape((3,), (2,), (1,), (4,), (2,), 1)
    assert shape.output_size(1, 10) == (1, 6)


def test_each_axis_has_its_own_numbers():
    assert native_shape((3, 2), (2, 1), (1, 0), (0, 3), (1, 2), 1).output_size(8, 9) == (4, 10)
    assert native_shape((2, 3, 2), (3, 2, 1), (0, 1, 0), (5, 0, 3), (2, 1, 2), 1).output_size(4, 8, 9) == (3, 4, 10)


def test_what_callers_may_say():
    assert conv_shape(1, 3, 2, (4, 0), 1, 1).output_size(1, 9) == (1, 6)
    assert conv_shape(2, 3, 1, "same", 2, 1).output_size(5, 6) == (5, 6)
    assert conv_shape(2, (3, 2), 1, "valid", 1, 1).output_size(5, 6) == (3, 5)
    assert conv_shape(3, 3, 1, "same", 2, 1).output_size(5, 6, 7) == (5, 6, 7)
    assert conv_shape(3, (1, 2, 3), (1, 2, 1), ((0, 1), 1, (2, 0)), 1, 1).output_size(5, 6, 7) == (6, 4, 7)
    assert conv_shape(3, 3, 1, 1, 1, 1) is conv_shape(3, 3, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("axes", "arguments", "message"),
    [
        (1, (3.0, 1, 0, 1, 1), "kernel_size = 3.0 must be one integer$"),
        (2, ((3, 3, 3), 1, 0, 1, 1), r"must be one integer or two \(height, width\)"),
        (3, ((3, 3), 1, 0, 1, 1), r"must be one integer or three \(depth, height, width\)"),
        (3, (3, 1, (1, 2), 1, 1), r"padding = \(1, 2\) must be one integer, three \(depth, height, width\), \(\(front, back\)"),
        (3, (3, 2, "same", 1, 1), "padding = 'same' needs stride 1, not 2"),
        (3, (3, 1, 0, (1, 1), 1), "dilation"),
    ],
)
def test_what_is_no_geometry_is_refused_by_name(axes, arguments, message):
    with pytest.raises(ValueError, match=message):
        conv_shape(axes, *arguments)
