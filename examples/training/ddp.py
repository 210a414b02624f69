"""Fine-tuning under a schedule in several processes: DistributedDataParallel.

    python examples/training/ddp.py                               starts two processes itself
    torchrun --nproc-per-node 4 examples/training/ddp.py          runs in those of torchrun

Each process sees its own part of the data. The masks are those that the first one chose, so all of them stay the same model.
"""

import argparse
import os
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import sparse_engine as engine

CLASSES, FEATURES = 8, 32


def points(count, seed):
    """Noisy points around a centre for each class."""
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return TensorDataset(centres[labels] + torch.randn(count, FEATURES, generator=generator), labels)


def train(options):
    """What each process does; torchrun, or `start`, has set its environment."""
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, CLASSES)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = points(options.points, seed=1)
    sampler = DistributedSampler(data)
    batches = DataLoader(data, batch_size=64, sampler=sampler)
    steps = options.epochs * len(batches)
    schedule = engine.schedules.Cubic(begin=0, end=steps * 2 // 3, every=max(1, steps // 20))
    pruner = engine.Pruner(model, engine.Spec(sparsity=options.sparsity), schedule)
    for epoch in range(options.epochs):
        sampler.set_epoch(epoch)
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            pruner.step()
    if distributed.get_rank() == 0:
        finish(model.module, options)
    distributed.destroy_process_group()


def finish(model, options):
    """Accuracy, and a file that engine.load reads."""
    x, y = points(1000, seed=2).tensors
    model.eval()
    with torch.inference_mode():
        accuracy = float((model(x).argmax(1) == y).float().mean())
    masks = engine.masks(model).values()
    kept = sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    print(f"{distributed.get_world_size()} processes: accuracy {accuracy:.1%} with {kept:.1%} of the weights")
    if options.output:
        engine.save(model, options.output)


def start(rank, options):
    """One of the processes that are started here."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(options.processes), "MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(1)
    train(options)


def main(arguments=None):
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="to start, where torchrun has not")
    parser.add_argument("--port", default="29500")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--output", type=Path, help="a file for the model")
    options = parser.parse_args(arguments)
    if "RANK" in os.environ:
        train(options)
    else:
        os.environ["MASTER_PORT"] = options.port
        multiprocessing.spawn(start, (options,), options.processes)


if __name__ == "__main__":
    main()
