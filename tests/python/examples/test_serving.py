import contextlib
import http.client
import importlib.util
import io
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine
from served import EXAMPLES, ask, check_answers, compiled_file, exchange, free_port, needs, ray_folder, server

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not (EXAMPLES / "serving").is_dir(), reason="the examples are not here")

X = np.arange(256, dtype=np.float32)[None]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return compiled_file(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def npy():
    specification = importlib.util.spec_from_file_location("npy", EXAMPLES / "serving" / "npy.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def saved(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD_BODIES = {
    b"": "no .npy file",
    b"\x93NUMPY\x01\x00": "no .npy file",
    b"{'a': 1}": "no .npy file",
    saved(X, version=(2, 0)): "no .npy file",
    header("__import__('os').getcwd()\n"): "no .npy file",
    header("{'descr': '<f4', 'fortran_order': \n"): "no .npy file",  # which its tokenizer does not survive
    header("(" * 5000 + "\n"): "no .npy file",
    saved(X.astype(np.float64)): "float64; send float32",
    saved(np.array([{}], dtype=object)): "object; send float32",
    saved(X)[:-1]: "1023 bytes of values",
    saved(X) + b"\0": "1025 bytes of values",
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"): "needs 4000000000000",
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }\n") + bytes(8): "shape (-1, -2)",
    saved(X[:, :255]): "255",  # an array, which the model does not take
}


@pytest.mark.parametrize("array", [X, np.asfortranarray(np.ones((3, 2), np.float32)), np.zeros((0, 4), np.float32)])
def test_arrays_come_back_from_bodies_as_they_were(npy, array):
    found = npy.read(npy.write(array))
    assert found.dtype == np.float32
    assert np.array_equal(found, array)
    assert found.shape == array.shape


def test_bodies_that_are_damaged_anywhere_are_arrays_or_value_errors(npy, rng):
    whole = saved(X)
    for _ in range(3000):
        body = bytearray(whole[: rng.integers(len(whole)) if rng.random() < 0.2 else len(whole)])
        for position in rng.integers(max(1, min(len(body), 128)), size=rng.integers(1, 4)):
            body[position : position + 1] = bytes(rng.integers(256, size=rng.integers(3), dtype=np.uint8))
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(ValueError):
            assert npy.read(bytes(body)).nbytes <= len(body)


def check_refusals(port, path):
    for body, words in BAD_BODIES.items():
        status, _, text = ask(port, "POST", path, body)
        assert (status, words in text.decode()) == (400, True), (body[:40], status, text)
    check_large_bodies_are_refused(port, path)


def check_large_bodies_are_refused(port, path):
    """By what their headers say, before they are sent."""
    too_large, unknown = {"Content-Length": str(1 << 40)}, {"Transfer-Encoding": "chunked"}
    for headers, status, words in [(too_large, 413, b"at most"), (unknown, 411, b"Content-Length")]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest("POST", path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, words in answer.read()) == (status, True)
        connection.close()


def send_npy(npy, connection, x):
    status, headers, body = exchange(connection, "POST", "/predict", npy.write(x))
    assert (status, headers["Content-Type"]) == (200, npy.MEDIA_TYPE)
    return npy.read(body)


def test_fastapi_answers_eight_clients_with_the_bits_of_a_direct_call(file, npy, tmp_path):
    needs("fastapi", "uvicorn")
    port = free_port()
    command = ["-m", "uvicorn", "fastapi_app:app", "--port", port, "--no-access-log"]
    with server(command, tmp_path, port, "/docs", MODEL=str(file)):
        check_answers(file, port, partial(send_npy, npy))
        check_refusals(port, "/predict")
        check_answers(file, port, partial(send_npy, npy), requests=8)  # and serves on


def test_ray_serve_answers_eight_clients_with_the_bits_of_a_direct_call(file, npy, tmp_path):
    needs("ray", "fastapi")
    port = free_port()
    with ray_folder() as folder:
        command = [Path(__file__).with_name("run_ray_serve.py"), file, port, folder]
        with server(command, tmp_path, port, "/docs", HOME=folder):
            check_answers(file, port, partial(send_npy, npy))
            check_refusals(port, "/predict")
            check_answers(file, port, partial(send_npy, npy), requests=8)


def test_kserve_answers_eight_clients_with_the_bits_of_a_direct_call(file, tmp_path):
    needs("kserve")
    port = free_port()
    with engine.load_compiled(file) as model:
        names = model.inputs[0].name, model.outputs[0].name
    path = "/v2/models/mlp/infer"

    def request(x, name=names[0]):
        tensor = {"name": name, "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
        return text + x.tobytes(), headers

    def send(connection, x):
        status, headers, body = exchange(connection, "POST", path, *request(x))
        assert status == 200, body
        length = int(headers["Inference-Header-Content-Length"])
        (output,) = json.loads(body[:length])["outputs"]
        assert (output["name"], output["datatype"]) == (names[1], "FP32")
        return np.frombuffer(body[length:], np.float32).reshape(output["shape"])

    command = ["kserve_model.py", "--model", file, "--model_name", "mlp", "--http_port", port, "--enable_grpc", "false"]
    with server(command, tmp_path, port, "/v2/models/mlp/ready"):
        check_answers(file, port, send)
        described = json.loads(ask(port, "GET", "/v2/models/mlp")[2])
        assert described["inputs"] == [{"name": names[0], "datatype": "FP32", "shape": [-1, 256]}]
        check_large_bodies_are_refused(port, path)
        for body, headers, words in [
            (*request(X, "other"), "none of the model's inputs"),
            (*request(X[:, :255]), "compiled for (N, 256)"),
            (b"{", {"Inference-Header-Content-Length": "1"}, "Unrecognized"),
            (request(X)[0][:-1], request(X)[1], "buffer size"),
        ]:
            status, _, text = ask(port, "POST", path, body, headers)
            assert (status, words in text.decode()) == (400, True), text
        check_answers(file, port, send, requests=8)
