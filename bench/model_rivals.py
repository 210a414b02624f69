"""Dense runtimes that run whole models, float32 and int8, those that are installed."""

import copy
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import Network
from torch import nn

os.environ.setdefault("NNCF_CI", "1")  # it would report its use otherwise

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Call = Callable[[], Array]
CALIBRATION_BATCHES, CALIBRATION_ITEMS = 4, 4


class Exported:
    """A network in ONNX with the batch open; its int8 models are made once, when they are asked for first."""

    def __init__(self, network: Network) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name, "float32.onnx")
        self._network = network
        self._quantized: dict[str, Any] = {}
        open_batch = {"x": {0: "n"}, "y": {0: "n"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": open_batch}
            torch.onnx.export(network.model, (network.inputs(2),), str(self.path), dynamo=False, **names)

    def calibration(self) -> list[Array]:
        """A few random batches."""
        return [self._network.inputs(CALIBRATION_ITEMS, seed).numpy() for seed in range(1, CALIBRATION_BATCHES + 1)]

    def in_qdq(self) -> Path:
        """ONNX Runtime's own static quantization: int8 weights per channel, uint8 activations, as QDQ."""
        if "qdq" not in self._quantized:
            from onnxruntime import quantization

            prepared, path = self.path.with_name("prepared.onnx"), self.path.with_name("qdq.onnx")
            quantization.shape_inference.quant_pre_process(str(self.path), str(prepared), skip_symbolic_shape=True)
            batches = iter(self.calibration())

            class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
                def get_next(self) -> dict[str, Array] | None:
                    batch = next(batches, None)
                    return None if batch is None else {"x": batch}

            quantization.quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=not has_vnni(),  # without it pairs of products of 8 bits overflow their sum of 16
            )
            self._quantized["qdq"] = path
        return Path(self._quantized["qdq"])

    def by_nncf(self, openvino: Any) -> Any:
        """OpenVINO's own quantization; None where nncf is not installed."""
        if "nncf" not in self._quantized:
            try:
                import nncf
            except ImportError:
                return None
            nncf.set_log_level(logging.ERROR)
            model = openvino.Core().read_model(str(self.path))
            self._quantized["nncf"] = nncf.quantize(model, nncf.Dataset(self.calibration()), subset_size=CALIBRATION_BATCHES)
        return self._quantized["nncf"]


def has_vnni() -> bool:
    """Whether the processor sums products of 8 bits in 32."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def float32_calls(
    model: nn.Module, exported: Exported | None, x: torch.Tensor, threads: int, inductor: bool
) -> dict[str, Call]:
    """By name, what computes the model on `x` in float32. Throughput mode takes batches that its requests divide."""

    def eager(module: nn.Module, given: torch.Tensor) -> Call:
        def call() -> Array:
            with torch.inference_mode():
                return np.asarray(module(given).numpy())

        return call

    calls = {"torch": eager(model, x)}
    if x.ndim == 4:
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        calls["torch channels_last"] = eager(last, x.to(memory_format=torch.channels_last))
    if inductor:
        import torch._inductor.config as inductor_config

        inductor_config.freezing = True
        calls["torch.compile"] = eager(torch.compile(copy.deepcopy(model)), x)
    if exported is not None:
        calls |= onnx_runtime_calls("ONNX Runtime", exported.path, x.numpy(), threads)
        if (openvino := installed_openvino()) is not None:
            read = openvino.Core().read_model(str(exported.path))
            calls["OpenVINO"] = openvino_latency(openvino, read, x.numpy(), threads)
            if len(x) >= 2 * threads and len(x) % threads == 0:
                calls["OpenVINO throughput"] = openvino_throughput(openvino, read, x.numpy(), threads)
    return calls


def int8_calls(exported: Exported | None, x: torch.Tensor, threads: int) -> dict[str, Call]:
    """By name, what computes the model on `x` in int8."""
    if exported is None:
        return {}
    calls: dict[str, Call] = {}
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return calls
    calls |= onnx_runtime_calls("ONNX Runtime int8", exported.in_qdq(), x.numpy(), threads)
    if (openvino := installed_openvino()) is not None:
        models = {"QDQ": openvino.Core().read_model(str(exported.in_qdq())), "NNCF": exported.by_nncf(openvino)}
        for name, model in models.items():
            if model is not None:
                calls[f"OpenVINO int8 ({name})"] = openvino_latency(openvino, model, x.numpy(), threads)
                if len(x) >= 2 * threads and len(x) % threads == 0:
                    calls[f"OpenVINO int8 ({name}) throughput"] = openvino_throughput(openvino, model, x.numpy(), threads)
    return calls


def installed_openvino() -> Any:
    """None where it is not."""
    try:
        import openvino
    except ImportError:
        return None
    return openvino


def onnx_runtime_calls(name: str, path: Path, x: Array, threads: int) -> dict[str, Call]:
    """Nothing where it is not installed."""
    try:
        session = onnx_runtime_session(path, threads, n=len(x))
    except ImportError:
        return {}
    return {name: lambda: session.run(None, {"x": x})[0]}


def onnx_runtime_session(path: Path, threads: int, **sizes: int) -> Any:
    """With open axes fixed to `sizes`, by name; its threads do not spin, or they would run beside the others' turns."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def openvino_latency(openvino: Any, model: Any, x: Array, threads: int) -> Call:
    """One request with all threads."""
    model = model.clone()
    model.reshape(list(x.shape))
    compiled = openvino_compiled(openvino, model, threads)
    return lambda: np.asarray(compiled(x)[0])


def openvino_compiled(openvino: Any, model: Any, threads: int) -> Any:
    """For one request at a time, in float32 where it is not quantized."""
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", settings)


def openvino_throughput(openvino: Any, model: Any, x: Array, threads: int) -> Call:
    """As many requests at once as threads, each with its share of the batch and a stream of one thread."""
    model = model.clone()
    model.reshape([len(x) // threads, *x.shape[1:]])
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(threads)]
    shares = np.split(x, threads)

    def call() -> Array:
        for request, share in zip(requests, shares, strict=True):
            request.start_async({0: share}, share_inputs=True)
        for request in requests:
            request.wait()
        return np.concatenate([request.get_output_tensor(0).data for request in requests])

    return call
