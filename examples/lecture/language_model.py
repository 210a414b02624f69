"""An LSTM language model on English text, pruned to 80, 90 and 95% and retrained: what it loses.

    python examples/lecture/language_model.py

The text is the reference inside Python itself (`pydoc_data.topics`), character by character; every tenth piece of it is held
out. The network reads a character and says which comes next; the measure is bits per character, lower is better. Recurrent
weights, gate by gate, and the output layer are pruned while training goes on, and the network that trains on for as long
without pruning is the reference. The lecture's claim, for NeuralTalk's captions: 90% holds, 95% breaks.
"""

import copy
import math
import sys

import torch
from sections import BLUE, GREY, RED, circumstances, markdown, parser, picture, settle, write_section
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.measure.progress import Progress
from sparse_engine.measure.timing import time_alternating

SPARSITIES = (0.8, 0.9, 0.95)
UNITS, EMBEDDED = 256, 64
PIECE = 2048  # characters of a piece of the text
LENGTH, BATCH = 64, 32  # characters of a sequence, sequences of a step
RATE = 2e-3
EPOCHS, RETRAINING = 8, 4  # passes over the text: before pruning, and for every sparsity
TIMED = 64  # characters of the sequence that is timed, batch 1


class LanguageModel(nn.Module):
    """Scores of the next character, (n, length, characters), for characters (n, length)."""

    def __init__(self, characters):
        super().__init__()
        self.embedding = nn.Embedding(characters, EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, characters)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0])


def load_text(count=None):
    """Training and held-out characters as numbers below the third value; every tenth piece of the text is held out."""
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics))[:count]
    pieces = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    parts = ["".join(p for i, p in enumerate(pieces) if (i % 10 == 9) == held_out) for held_out in (False, True)]
    alphabet = {character: i for i, character in enumerate(sorted(set(parts[0])))}
    train, test = (torch.tensor([alphabet[c] for c in part if c in alphabet]) for part in parts)
    return train, test, len(alphabet)


def steps_of(text, epochs):
    return epochs * (len(text) // (LENGTH * BATCH))


def train(model, text, steps, bar, label, spec=None):
    """Adam, its rate falling to 0 along a cosine; with a `spec` weights go up to the middle, the same share of what is left."""
    pruner = None
    if spec is not None:
        pruner = engine.Pruner(model, spec, engine.schedules.Exponential(begin=0, end=steps // 2, every=max(1, steps // 20)))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(LENGTH + 1)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        begin = torch.randint(0, len(text) - LENGTH, (BATCH, 1), generator=generator)
        sequence = text[begin + places]
        optimizer.zero_grad()
        F.cross_entropy(model(sequence[:, :-1]).flatten(0, 1), sequence[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if pruner is not None:
            pruner.step()
        bar.advance(label)
    return model.eval()


def bits(model, text):
    """Bits per character over `text`, in sequences of 256 that each begin without a state."""
    rows = text[: len(text) // 257 * 257].reshape(-1, 257)
    total = 0.0
    with torch.inference_mode(), engine.nn.dense_only():
        for part in rows.split(32):
            total += float(F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return total / (256 * len(rows)) / math.log(2)


def draw(path, reference, found):
    with picture(path, size=(8, 5)) as (axes,):
        axes.axhline(reference, color=GREY, linestyle="--", label=f"not pruned ({reference:.3f})")
        ticks = [100 * s for s in found]
        axes.plot(ticks, [row["pruned"] for row in found.values()], "^-", color=RED, label="pruned, nothing trained")
        axes.plot(ticks, [row["retrained"] for row in found.values()], "o-", color=BLUE, label="pruned while training goes on")
        axes.set_xticks(ticks)
        axes.set_xlabel("weights removed (%)")
        axes.set_ylabel("bits per character, held-out text")
        axes.set_title(f"LSTM of {UNITS} units on Python's documentation")
        axes.legend(frameon=False, loc="upper left")


def main(arguments=None):
    options = parser(__doc__, "30,000 characters, one sparsity").parse_args(arguments)
    settle(options)
    text, held_out, characters = load_text(30_000 if options.quick else None)
    epochs, retraining, sparsities = (1, 1, (0.9,)) if options.quick else (EPOCHS, RETRAINING, SPARSITIES)
    torch.manual_seed(0)
    model = LanguageModel(characters)
    bar = Progress(steps_of(text, epochs) + (1 + len(sparsities)) * steps_of(text, retraining))

    def stage(name, start, passes, spec=None):
        path = options.state / f"language_model_{name}_{epochs}_{passes}.safetensors"
        steps = steps_of(text, passes)
        if path.is_file():
            bar.advance(name, steps)
            return engine.load(path, start).eval()
        made = train(start, text, steps, bar, name, spec)
        engine.save(made, path)
        return made

    dense = stage("trained", model, epochs)
    longer = stage("trained on", copy.deepcopy(dense), retraining)
    reference, found, rows = bits(longer, held_out), {}, []
    sentence = held_out[None, :TIMED]
    for sparsity in sparsities:
        spec = engine.Spec(sparsity=sparsity, exclude="embedding")
        pruned = bits(engine.prune(copy.deepcopy(dense), spec), held_out)
        sparse = stage(f"retrained at {sparsity:.0%}", copy.deepcopy(dense), retraining, spec)
        found[sparsity] = {"pruned": pruned, "retrained": bits(sparse, held_out)}
        before, after = (1e3 * seconds for seconds in time_alternating([longer, sparse], sentence, 5 if options.quick else 101))
        lost = found[sparsity]["retrained"] - reference
        cells = [f"{pruned:.3f}", f"{found[sparsity]['retrained']:.3f}", f"{lost:+.3f}", f"{lost / reference:+.1%}"]
        rows.append([f"{sparsity:.0%}", *cells, f"{before:.2f}", f"{after:.2f}", f"{before / after:.1f}×"])
    bar.close()
    head = ["weights removed", "pruned only", "retrained", "lost", "of the reference", "dense, ms", "sparse, ms", "speed-up"]
    lines = [
        circumstances(__file__, options),
        "",
        f"An LSTM of {UNITS} units on {len(text):,} characters of Python's documentation, bits per character on "
        f"{len(held_out):,} held out: "
        f"{bits(dense, held_out):.3f} after {epochs} passes, {reference:.3f} after {retraining} more without pruning, which "
        "is the "
        f"reference; every other row trains for {retraining} more as well, its weights going in the first half of them. Time: "
        f"{TIMED} characters in one call.",
        "",
        *markdown(head, rows),
        "",
        "![bits per character against the share of weights removed](lecture/language_model.png)",
    ]
    figures = [("language_model", lambda path: draw(path, reference, found))]
    write_section(options, "language_model", "A language model: where an LSTM breaks", lines, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
