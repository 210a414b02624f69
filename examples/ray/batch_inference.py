"""Batch inference with a compiled model on a cluster of Ray: rows in, the same rows with the model's output out.

    python examples/ray/batch_inference.py model.sparse INPUTS OUTPUTS [--column x] [--batch 256] [--threads 1]

INPUTS and OUTPUTS are folders of Parquet files, on disk, S3 or whatever else Ray reads; `column` holds the items. The model's
file, some megabytes, goes to every machine once, by the object store. A worker opens it and has `threads` cores to itself: one
is best, unless memory does not hold a batch for every core.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; before ray is imported

import numpy as np
import ray

import sparse_engine as engine


class Inference:
    """A worker: it opens the model once, and runs it on many batches."""

    def __init__(self, file: ray.ObjectRef, column: str, threads: int) -> None:
        self.model, self.column = engine.load_compiled(ray.get(file), threads=threads), column

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = np.stack(batch[self.column])  # lists, as Parquet has them, come as an array of arrays
        return batch | {"output": self.model(x)}


def infer(dataset: ray.data.Dataset, file: bytes, column: str, batch: int = 256, threads: int = 1) -> ray.data.Dataset:
    """`dataset` with a column "output", computed when it is read, on all cores of the cluster."""
    workers = max(1, int(ray.cluster_resources()["CPU"]) // threads)
    return dataset.map_batches(
        Inference,
        fn_constructor_args=(ray.put(file), column, threads),
        batch_size=batch,
        num_cpus=threads,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs")
    parser.add_argument("outputs")
    parser.add_argument("--column", default="x", help="of the inputs")
    parser.add_argument("--batch", type=int, default=256, help="items in a call")
    parser.add_argument("--threads", type=int, default=1, help="of a worker")
    options = parser.parse_args()
    ray.init()
    rows = ray.data.read_parquet(options.inputs)
    infer(rows, options.model.read_bytes(), options.column, options.batch, options.threads).write_parquet(options.outputs)


if __name__ == "__main__":
    main()
