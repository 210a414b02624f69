"""How much each layer of a network bears, scanned on a cluster of Ray: what a worker loses by dying is run again elsewhere.

    python examples/ray/sensitivity.py --workers 4 [--resume scan.json]

`ray_map` is all that a scan of one's own needs. The network here is a small one, trained on nothing, scored by how far its
outputs move.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; before ray is imported

import ray
import torch
from torch import nn

import sparse_engine as engine


@ray.remote(max_retries=5)
def run(function: Callable[[Any], Any], task: Any) -> Any:
    """One task, on whatever machine; where a worker or its machine dies, on another."""
    return function(task)


def ray_map(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Results as they come. The function, and the model in it, goes to every machine once."""
    shared = ray.put(function)
    waiting = [run.remote(shared, task) for task in tasks]
    while waiting:
        (done,), waiting = ray.wait(waiting)
        yield ray.get(done)


class Distance:
    """Minus the mean square by which outputs move on some inputs."""

    def __init__(self, model: nn.Module, x: torch.Tensor) -> None:
        self.x = x
        with torch.no_grad():
            self.expected = model.eval()(x)

    def __call__(self, model: nn.Module) -> float:
        return -float((model(self.x) - self.expected).square().mean())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, help="on this machine; by default those of the cluster that is there")
    parser.add_argument("--resume", help="a JSON file that keeps what is done")
    options = parser.parse_args()
    ray.init(num_cpus=options.workers)
    model = network()
    found = engine.sensitivity(model, Distance(model, torch.randn(256, 64)), map=ray_map, resume=options.resume)
    print(found)
    print(engine.allocate(found, sparsity=0.8))


if __name__ == "__main__":
    main()
