"""Fine-tuning under a schedule with Lightning: a callback that prunes after each optimizer step.

    python examples/training/lightning_module.py

Needs `lightning`. `Pruning` fits any LightningModule. Its state goes into Lightning's checkpoints, so training that is resumed
goes on under the same masks.
"""

import argparse
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sparse_engine as engine

CLASSES, FEATURES = 8, 32


class Pruning(lightning.Callback):
    """Prunes the module that is trained towards `spec`, along `schedule`, counted in optimizer steps."""

    def __init__(self, spec, schedule):
        super().__init__()
        self.spec, self.schedule = spec, schedule
        self.pruner, self.steps = None, 0

    def setup(self, trainer, module, stage):
        if stage == "fit" and self.pruner is None:
            self.pruner = engine.Pruner(module, self.spec, self.schedule)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        if trainer.global_step > self.steps:  # not while gradients accumulate
            self.steps = trainer.global_step
            self.pruner.step()

    def state_dict(self):
        return {"pruner": self.pruner.state_dict(), "steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
        self.pruner.load_state_dict(state["pruner"])


class Classifier(lightning.LightningModule):
    """A module as anybody has one; it knows nothing of pruning."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, CLASSES))

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_index):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def points(count, seed):
    """Noisy points around a centre for each class."""
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return TensorDataset(centres[labels] + torch.randn(count, FEATURES, generator=generator), labels)


def main(arguments=None):
    """Parse, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pruning-epochs", type=int, default=6, help="of these, those that the schedule takes")
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--checkpoint", help="a file to save to, and to go on from where it exists")
    options = parser.parse_args(arguments)
    lightning.seed_everything(0, verbose=False)
    batches = DataLoader(points(options.points, seed=1), batch_size=64, shuffle=True)
    each = len(batches)
    schedule = engine.schedules.Cubic(0, options.pruning_epochs * each, every=max(1, each // 4))
    pruning = Pruning(engine.Spec(sparsity=options.sparsity), schedule)
    model = Classifier()
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        callbacks=[pruning],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    resumed = options.checkpoint if options.checkpoint and Path(options.checkpoint).is_file() else None
    trainer.fit(model, batches, ckpt_path=resumed)
    if options.checkpoint:
        trainer.save_checkpoint(options.checkpoint)
    x, y = points(1000, seed=2).tensors
    model.eval()
    with torch.inference_mode():
        accuracy = float((model(x).argmax(1) == y).float().mean())
    masks = engine.masks(model).values()
    kept = sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    print(f"accuracy {accuracy:.1%} with {kept:.1%} of the weights")
    return model


if __name__ == "__main__":
    main()
