"""What a sparse product is measured against: dense torch, and other libraries where they are installed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

Calls = dict[str, Callable[[], Any]]
RIVALS = ("torch CSR", "scipy CSR", "MKL CSR", "ONNX Runtime")

os.environ.setdefault("MKL_THREADING_LAYER", "GNU")  # one OpenMP runtime in the process
for library in Path(sys.prefix, "lib").glob("libmkl_rt.so*"):  # where pip puts it, which sparse_dot_mkl does not search
    os.environ.setdefault("MKL_RT", str(library))


def dense_calls(operation: str, w: torch.Tensor, x: torch.Tensor) -> Calls:
    """Dense torch, the fastest of which is the baseline."""
    if operation == "product":
        return {"torch mm": lambda: torch.mm(w, x)}
    if operation == "linear":
        return {"torch linear": lambda: F.linear(x, w)}
    pad = w.shape[-1] // 2
    w_last, x_last = w.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return {
        "torch conv2d": lambda: F.conv2d(x, w, padding=pad),
        "torch conv2d channels_last": lambda: F.conv2d(x_last, w_last, padding=pad),
    }


def rivals(operation: str, w: torch.Tensor, x: torch.Tensor) -> Calls:
    """Other libraries on the same weights, those that are installed: CSR products, and dense ONNX Runtime."""
    return (_sparse(w, x if operation == "product" else x.t().contiguous()) if operation != "conv" else {}) | _onnx(
        operation, w, x
    )


def _sparse(w: torch.Tensor, columns: torch.Tensor) -> Calls:
    csr = w.to_sparse_csr()
    csr = torch.sparse_csr_tensor(csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape)
    calls: Calls = {"torch CSR": lambda: csr @ columns}
    try:
        from scipy.sparse import csr_array

        scipy_csr, scipy_columns = csr_array(w.numpy()), columns.numpy()
        calls["scipy CSR"] = lambda: scipy_csr @ scipy_columns
        from sparse_dot_mkl import dot_product_mkl

        calls["MKL CSR"] = lambda: dot_product_mkl(scipy_csr, scipy_columns)
    except ImportError:
        pass
    return calls


def _onnx(operation: str, w: torch.Tensor, x: torch.Tensor) -> Calls:
    try:
        import onnx
        import onnxruntime
        from onnx import helper, numpy_helper
    except ImportError:
        return {}
    if operation == "product":
        node = helper.make_node("MatMul", ["w", "x"], ["y"])
    elif operation == "linear":
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    else:
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[w.shape[-1] // 2] * 4)
    value = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", value, list(x.shape))],
        [helper.make_tensor_value_info("y", value, None)],
        [numpy_helper.from_array(w.contiguous().numpy(), "w")],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its threads would run beside the others' turns
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.contiguous().numpy()}
    return {"ONNX Runtime": lambda: session.run(None, feed)}
