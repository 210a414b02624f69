import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine
from served import EXAMPLES, compiled_file, needs, ray_folder, variables

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not (EXAMPLES / "ray").is_dir(), reason="the examples are not here")


def run(script, *arguments, folder):
    """The output of a script that uses Ray, in a process of its own."""
    environment = variables(EXAMPLES / "ray") | {"HOME": folder, "RAY_TMPDIR": folder}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rows_get_the_output_of_a_direct_call_on_a_cluster(tmp_path):
    needs("ray", "pyarrow")
    from pyarrow import FixedSizeListArray, array, parquet, table

    file, rows = compiled_file(tmp_path), np.random.default_rng(0).standard_normal((4, 600, 256), np.float32)
    (tmp_path / "inputs").mkdir()
    for number, part in enumerate(rows):
        columns = {"id": np.arange(600) + 600 * number, "x": FixedSizeListArray.from_arrays(array(part.ravel()), 256)}
        parquet.write_table(table(columns), tmp_path / "inputs" / f"{number}.parquet")
    with ray_folder() as folder:
        run(EXAMPLES / "ray" / "batch_inference.py", file, tmp_path / "inputs", tmp_path / "outputs", folder=folder)
    found = parquet.read_table(tmp_path / "outputs").sort_by("id")
    assert found["id"].to_pylist() == list(range(2400))
    output = np.array(found["output"].to_pylist(), np.float32)
    with engine.load_compiled(file, threads=1) as model:
        np.testing.assert_array_equal(output, model(rows.reshape(-1, 256)))


def test_a_scan_on_a_cluster_loses_nothing_when_a_worker_is_killed():
    needs("ray")
    with ray_folder() as folder:
        assert run(Path(__file__).with_name("run_ray_scan.py"), folder, folder=folder).splitlines()[-1] == "scanned"


def test_the_example_of_a_scan_prints_the_table_and_what_is_allocated():
    needs("ray")
    with ray_folder() as folder:
        text = run(EXAMPLES / "ray" / "sensitivity.py", "--workers", "2", folder=folder)
    assert "(none)" in text
    assert "{'0': 0." in text
