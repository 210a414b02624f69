import numpy as np
import pytest

import sparse_engine as engine
from damage import damaged
from onnx_models import onnx, reals, single
from sparse_engine.onnx_files.reading import inputs_of, is_onnx, read_onnx, saved_whole


def linear():
    return single("MatMul", reals(64, 32, seed=1), shape=("N", 64))
