import numpy as np
import pytest

from onnx_models import reals, single
from sparse_engine.compiler.fallback.onnxruntime_segment import OnnxRuntimeSegment, session_of
from sparse_engine.compiler.fallback.segment import Contents

pytest.importorskip("onnxruntime")


def model():
    made = single("Relu")
    made.ir_version = 10
    return made.SerializeToString()


def test_arrays_are_given_as_the_model_takes_them():
    made = OnnxRuntimeSegment(Contents(("x",), ("y",)), model(), ["float32"], 1)
    x = reals(2, 3, 8)[:, :, ::2]
    for dtype in (np.float16, np.float32):
        (given,) = made.enter([x.astype(dtype)])
        assert given.dtype == np.float32
        np.testing.assert_array_equal(made.run(2, [given])[0], np.maximum(given, 0))
    np.testing.assert_array_equal(made.with_threads(2).run(2, [given])[0], np.maximum(given, 0))


def test_threads_are_as_many_as_asked_for_and_do_not_spin():
    options = session_of(model(), 2).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_what_onnxruntime_does_not_take_is_an_error():
    with pytest.raises(ValueError, match="ONNX Runtime does not take the model"):
        session_of(b"no model", 1)
