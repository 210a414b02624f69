"""Fine-tuning under a schedule with the Trainer of Hugging Face: a callback that prunes after each optimizer step.

    python examples/training/hf_trainer.py

Needs `transformers` and `accelerate`. `Pruning` fits any Trainer; the model here is a small BERT without pretrained weights on
made-up sentences, so that nothing is downloaded.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments, set_seed

import sparse_engine as engine

WORDS, LENGTH = 64, 16


class Pruning(TrainerCallback):
    """Prunes the model that is trained towards `spec`, along `schedule`, counted in optimizer steps.

    Its state lies beside each checkpoint; a Trainer that resumes from one goes on under the same masks.
    """

    FILE = "pruner.pt"

    def __init__(self, spec, schedule):
        self.spec, self.schedule, self.pruner = spec, schedule, None

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.pruner = engine.Pruner(model, self.spec, self.schedule)
        saved = Path(args.output_dir, f"checkpoint-{state.global_step}", self.FILE)
        if state.global_step and saved.is_file():
            self.pruner.load_state_dict(torch.load(saved, weights_only=True))

    def on_step_end(self, args, state, control, **kwargs):
        self.pruner.step()

    def on_save(self, args, state, control, **kwargs):
        torch.save(self.pruner.state_dict(), Path(args.output_dir, f"checkpoint-{state.global_step}", self.FILE))


class Sentences(torch.utils.data.Dataset):
    """Random words; a sentence is positive when more of its words are from the upper half."""

    def __init__(self, count, seed):
        self.words = torch.randint(WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        words = self.words[index]
        return {"input_ids": words, "labels": int((words >= WORDS // 2).sum() > LENGTH // 2)}


def main(arguments=None):
    """Parse, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=4096)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--output", type=Path, help="a directory for checkpoints; without it none are kept")
    parser.add_argument("--resume", action="store_true", help="from the last checkpoint in --output")
    options = parser.parse_args(arguments)
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=LENGTH,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=str(options.output or folder),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=64,
            learning_rate=1e-3,
            save_strategy="epoch" if options.output else "no",
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        steps = options.epochs * -(-options.sentences // 64)
        schedule = engine.schedules.Cubic(0, steps * 2 // 3, every=max(1, steps // 20))
        pruning = Pruning(engine.Spec(sparsity=options.sparsity, exclude=["classifier"]), schedule)
        trainer = Trainer(model, settings, train_dataset=Sentences(options.sentences, seed=1), callbacks=[pruning])
        trainer.train(resume_from_checkpoint=options.resume or None)
    tested = Sentences(512, seed=2)
    labels = torch.tensor([tested[index]["labels"] for index in range(len(tested))])
    model.eval()
    with torch.inference_mode():
        accuracy = float((model(tested.words).logits.argmax(1) == labels).float().mean())
    masks = engine.masks(model).values()
    kept = sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    print(f"accuracy {accuracy:.1%} with {kept:.1%} of the weights")
    return model


if __name__ == "__main__":
    main()
