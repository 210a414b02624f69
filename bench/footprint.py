"""What a compiled model costs beside its time: compiling, the file, loading without torch, memory.

    python bench/footprint.py --model resnet50 --sparsity 0.9

The loading side is a process of its own that imports numpy and this library, loads the file and runs one input. Its seconds
are the median of several processes, from the first line of Python on; its resident memory is the most it ever had.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models import pruned_to
from networks import network

import sparse_engine as engine

LOADS = 5

CHILD = """
import time
begin = time.perf_counter()
import sys
import numpy as np
import sparse_engine as engine
compiled = engine.load_compiled(sys.argv[1], threads=2)
loaded = time.perf_counter() - begin
shape = [1 if size == "N" else size for size in compiled.inputs[0].shape]
compiled(np.zeros(shape, np.float32))
first = time.perf_counter() - begin
import json
# Not getrusage, which counts what the parent had before exec.
resident = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"loaded": loaded, "first": first, "torch": "torch" in sys.modules,
                  "resident": int(resident.split()[1]) * 1024}))
"""


def loaded(path: str) -> dict[str, float]:
    """What one process says that loads the file."""
    done = subprocess.run([sys.executable, "-c", CHILD, path], check=True, capture_output=True, text=True, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout)
    if found["torch"]:
        sys.exit("loading imported torch")
    return found


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--sparsity", type=float, default=0.9)
    options = parser.parse_args()
    dense = network(options.model)
    model = pruned_to(dense.model, options.sparsity) if options.sparsity else dense.model
    begin = time.perf_counter()
    compiled = engine.compile(model, dense.inputs(1), threads=2)
    seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.sparse"
        compiled.save(path)
        size = path.stat().st_size
        runs = [loaded(str(path)) for _ in range(LOADS)]
    dense_bytes = sum(parameter.numel() for parameter in model.parameters()) * 4
    print(f"{options.model} at {options.sparsity:.0%}")
    print(f"compile, verification included   {seconds:8.2f} s")
    print(f"file                             {size / 1e6:8.2f} MB of {dense_bytes / 1e6:.1f} MB dense")
    for key, words in (("loaded", "import and load"), ("first", "and the first result")):
        print(f"{words:<32} {statistics.median(run[key] for run in runs):8.3f} s")
    print(f"resident, at most                {max(run['resident'] for run in runs) / 2**20:8.1f} MiB")
    print(f"arena, batch 1                   {compiled._session.arena_nbytes(1) / 2**20:8.2f} MiB")


if __name__ == "__main__":
    main()
