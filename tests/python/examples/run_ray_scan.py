"""Scans a network by examples/ray/sensitivity.py on two workers; one is killed midway: FOLDER of the cluster's files."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import ray
import torch
from sensitivity import Distance, network, ray_map

import sparse_engine as engine

KILLED_AT = 5  # of the scores that workers compute


class Deadly(Distance):
    """Leaves a file for each call in a worker, and kills one worker."""

    def __init__(self, model, x, folder):
        super().__init__(model, x)
        self.folder, self.driver = Path(folder), os.getpid()

    def __call__(self, model):
        if os.getpid() != self.driver:
            calls = sum(1 for _ in self.folder.iterdir())
            (self.folder / f"call-{uuid4()}").touch()
            if calls >= KILLED_AT:
                with suppress(FileExistsError), open(self.folder / "killed", "x"):
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(model)


if __name__ == "__main__":
    calls = Path(sys.argv[1]) / "calls"
    calls.mkdir()
    torch.set_num_threads(1)  # as in workers of one core: sums on more threads round otherwise
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=sys.argv[1])
    model, x = network(), torch.randn(256, 64)
    options = {"sparsities": (0.3, 0.5, 0.7, 0.9), "progress": False}
    found = engine.sensitivity(model, Deadly(model, x, calls), map=ray_map, **options)
    assert found == engine.sensitivity(model, Distance(model, x), **options)
    assert (calls / "killed").exists()
    assert len(list(calls.glob("call-*"))) == 3 * 4 + 1, "the task of the killed worker was to run again, and no other"
    print("scanned")
