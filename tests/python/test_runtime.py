import json
import subprocess
import sys

import numpy as np
import pytest

import sparse_engine as engine
from reference import sparse_weights


def run(script, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def test_an_unknown_or_unsupported_isa_is_refused():
    with pytest.raises(ValueError, match="'sse9' is not one of: "):
        engine.runtime.set_isa("sse9")
    assert engine.runtime.isa() in engine.runtime.supported_isas()


def test_a_forced_isa_is_the_one_running():
    for name in engine.runtime.supported_isas():
        result = run("import sparse_engine as engine; print(engine.runtime.isa())", SPARSE_ENGINE_ISA=name)
        assert result.stdout.strip() == name, result.stderr
    refused = run("import sparse_engine as engine; print(engine.runtime.isa())", SPARSE_ENGINE_ISA="nonsense")
    assert refused.returncode != 0
    assert "SPARSE_ENGINE_ISA = 'nonsense' is not one of" in refused.stderr


def test_threads_are_set_bounded_and_reset():
    default = engine.runtime.num_threads()
    engine.runtime.set_num_threads(3)
    assert engine.runtime.num_threads() == 3
    engine.runtime.set_num_threads(0)
    assert engine.runtime.num_threads() == default
    for n in (-1, 5000):
        with pytest.raises(ValueError, match="outside"):
            engine.runtime.set_num_threads(n)
    result = run("import sparse_engine as engine; print(engine.runtime.num_threads())", SPARSE_ENGINE_NUM_THREADS="5")
    assert result.stdout.strip() == "5"
    assert run("import sparse_engine as e; e.num_threads()", SPARSE_ENGINE_NUM_THREADS="many").returncode != 0


@pytest.mark.parametrize("order", ["torch, sparse_engine", "sparse_engine, torch"])
def test_torch_and_the_engine_share_one_openmp_runtime_and_its_thread_setting(order):
    pytest.importorskip("torch")
    script = f"""
import {order}
import numpy as np
engine = sparse_engine
torch.set_num_threads(1)
assert engine.runtime.num_threads() == 1, engine.runtime.num_threads()
torch.set_num_threads(2)
assert engine.runtime.num_threads() == 2, engine.runtime.num_threads()
a = engine.CSRMatrix.from_dense(np.ones((600, 600), np.float32))
a @ np.ones((600, 600), np.float32)
torch.ones(600, 600) @ torch.ones(600, 600)
maps = open("/proc/self/maps").read()
print(len({{line.split()[-1] for line in maps.splitlines() if "gomp" in line}}))
assert torch.get_num_threads() == 2
"""
    result = run(script)
    assert result.stdout.strip() == "1", result.stdout + result.stderr


def test_the_package_imports_and_multiplies_without_torch():
    script = """
import sys
sys.modules["torch"] = None
import numpy as np, sparse_engine as engine
a = engine.CSRMatrix.from_dense(np.eye(3, dtype=np.float32))
assert (engine.linear(np.ones((2, 3), np.float32), a) == 1).all()
assert engine.Spec(granularity="2:4", criterion="taylor").granularity == engine.NofM(2, 4)
try:
    engine.prune
except ModuleNotFoundError as error:
    print(error)
"""
    result = run(script)
    assert "pip install 'sparse-engine[torch]'" in result.stdout, result.stderr


def test_importing_the_package_does_not_import_torch():
    assert run("import sys, sparse_engine; print('torch' in sys.modules)").stdout.strip() == "False"


def test_every_public_name_resolves():
    pytest.importorskip("torch")
    for name in engine.__all__:
        assert getattr(engine, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        _ = engine.prun
    assert set(engine.__all__) <= set(dir(engine))


def test_the_configuration_is_plain_data():
    config = engine.runtime.show_config()
    assert json.loads(json.dumps(config)) == config
    assert config["isa"] == engine.runtime.isa()


def test_subnormals_survive_and_the_callers_rng_is_left_alone(every_isa):
    tiny = np.float32(1e-40)
    a = engine.CSRMatrix.from_dense(np.full((1, 1), tiny))
    assert (a @ np.ones((1, 1), np.float32))[0, 0] == tiny
    assert (a @ np.ones((1, 9), np.float32))[0, 8] == tiny
    state = np.random.get_state()[1].copy()
    a @ np.ones((1, 9), np.float32)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


WIDE = {"avx2", "avx512"}


@pytest.mark.skipif(not set(engine.runtime.supported_isas()) >= WIDE, reason="needs a processor with AVX-512")
@pytest.mark.parametrize("columns", [1, 2, 5, 8, 9, 70, 200])
def test_avx2_and_avx512_give_the_same_bits(rng, columns):
    before = engine.runtime.isa()
    w = sparse_weights(rng, (260, 1200), 0.8)
    blocks = w * np.kron(rng.random((65, 1200)) < 0.3, np.ones((4, 1), np.float32))
    pairs = w * np.tile([1, 1, 0, 0], 300).astype(np.float32)
    x = rng.standard_normal((columns, 1200)).astype(np.float32)
    for make, dense in [
        *((lambda d, t=dtype: engine.CSRMatrix.from_dense(d, t), w) for dtype in ("float32", "bfloat16")),
        *((lambda d, t=dtype: engine.BitmaskMatrix.from_dense(d, t), w) for dtype in ("float32", "float16", "int8")),
        (engine.BSRMatrix.from_dense, blocks),
        (engine.NMMatrix.from_dense, pairs),
    ]:
        results = []
        for isa in sorted(WIDE):
            engine.runtime.set_isa(isa)
            results.append(engine.linear(x, make(dense), activation="gelu"))
        engine.runtime.set_isa(before)
        np.testing.assert_array_equal(results[0].view(np.uint32), results[1].view(np.uint32))


def test_the_strongest_kernels_of_the_machine_are_the_default():
    result = run("import sparse_engine as engine; print(engine.runtime.isa())", SPARSE_ENGINE_ISA="")
    assert result.stdout.strip() == engine.runtime.supported_isas()[-1], result.stderr
