import socket

import pytest

import sparse_engine as engine
from examples.training import run

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def test_two_processes_train_one_sparse_model(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "model.safetensors"
    accuracy, kept = run("ddp.py", "--epochs", 4, "--points", 2048, "--port", port, "--output", path)
    assert accuracy > 90
    assert kept == 10
    model = torch.nn.Sequential(torch.nn.Linear(32, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
    engine.load(path, model)
    assert all(abs(float(mask.float().mean()) - 0.1) < 0.001 for mask in engine.masks(model).values())
