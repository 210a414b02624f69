"""One of two ranks that train and prune a model together, each on data of its own: `ranks.py RANK PORT FOLDER`."""

import os
import sys

import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 20, generator=generator), torch.randint(10, (16,), generator=generator)


def main(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    spec = engine.Spec(sparsity=0.7, criterion="taylor")
    pruner = engine.Pruner(model, spec, engine.schedules.Cubic(0, 6, 2), data=[batch(100 + rank)], loss=F.cross_entropy)
    for step in range(8):
        x, y = batch(2 * step + rank)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        pruner.step()
    torch.save({"masks": engine.masks(model.module), "state": model.module.state_dict()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
