"""Servers of the examples in processes of their own, on loopback, and clients that ask them at once."""

import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CLIENTS, REQUESTS = 8, 1000
SECONDS_TO_START = 90


def compiled_file(folder):
    """A pruned model in a file."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 64))
    engine.prune(model, engine.Spec(sparsity=0.9))
    path = folder / "model.sparse"
    engine.compile(model.eval(), torch.randn(1, 256)).save(path)
    return path


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def needs(*modules):
    """Skips where one is not installed. It is not imported: examples run in processes of their own."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def variables(folder):
    """The environment of a process that imports from `folder` too."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def ray_folder():
    """Where a cluster of Ray keeps its sockets, which must not lie deep, and in place of HOME its token."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def server(command, folder, port, path, **environment):
    """A server while it is needed, from when it answers GET `path` on; what it printed is shown where it does not."""
    with open(folder / "server.log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=EXAMPLES / "serving",
            env=variables(EXAMPLES / "serving") | environment,
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + SECONDS_TO_START
            while not answers(port, path):
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"no server on {port}:\n{(folder / 'server.log').read_text()}")
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port, path):
    try:
        return ask(port, "GET", path)[0] == 200
    except OSError:
        return False


def ask(port, method, path, body=None, headers=()):
    """Status, headers and body of the answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return exchange(connection, method, path, body, headers)
    finally:
        connection.close()


def exchange(connection, method, path, body=None, headers=()):
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def check_answers(path, port, send, requests=REQUESTS):
    """Ask so many times, CLIENTS at once, for batches of 1 to 4, and hold every bit against a direct call.

    `send(connection, x)` gives the answer as an array.
    """
    with engine.load_compiled(path, threads=1) as model:
        batches = [np.random.default_rng(i).standard_normal((1 + i % 4, 256), np.float32) for i in range(32)]
        expected = [model(batch) for batch in batches]

    def client(number):
        connection, right = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
        for i in range(number, requests, CLIENTS):
            answer = send(connection, batches[i % 32])
            right += answer.shape == expected[i % 32].shape and answer.tobytes() == expected[i % 32].tobytes()
        connection.close()
        return right

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(client, range(CLIENTS))) == requests
