"""NeuralTalk's caption decoder at full size, pruned to the densities of Han et al. and EIE: milliseconds, dense against sparse.

    python examples/lecture/neuraltalk.py

Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015: a linear layer We from
4096 image features to 600, an LSTM of 600 units (with the word's 600 inputs and a bias 1201 × 2400 weights), a linear layer Wd
to the 8,791 words. Weights are drawn, not trained: nothing is said about captions. Words are taken greedily, so each step waits
for the one before; where the words are known already, the whole sequence goes through in one call.
"""

import copy
import sys

import torch
from sections import circumstances, markdown, parser, settle, write_section
from torch import nn

import sparse_engine as engine
from sparse_engine.measure.timing import time_alternating

FEATURES, UNITS, WORDS = 4096, 600, 8791
DENSITIES = {"We": 0.10, "lstm*": 0.10, "Wd": 0.11}  # Han et al., "EIE", ISCA 2016, table 3
LENGTH = 20  # words of a caption
START = 0
CALLS = {1: 51, 8: 21}  # images in a batch: calls that are timed
CLOSE = 1e-5


class Decoder(nn.Module):
    """Scores of all words at every place, for image features (n, 4096) and words (n, length)."""

    def __init__(self):
        super().__init__()
        self.We, self.Wd = nn.Linear(FEATURES, UNITS), nn.Linear(UNITS, WORDS)
        self.embedding = nn.Embedding(WORDS, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, batch_first=True)

    def forward(self, features, words):
        inputs = torch.cat([self.We(features)[:, None], self.embedding(words)], 1)
        return self.Wd(self.lstm(inputs)[0][:, 1:])


class Caption(nn.Module):
    """Greedy words, one step after another."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, features):
        decoder = self.decoder
        _, state = decoder.lstm(decoder.We(features)[:, None])
        words = [torch.full((len(features),), START)]
        for _ in range(LENGTH):
            output, state = decoder.lstm(decoder.embedding(words[-1])[:, None], state)
            words.append(decoder.Wd(output[:, 0]).argmax(1))
        return torch.stack(words[1:], 1)


class Step(nn.Module):
    """The scores of one more word, from a state."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.state = None

    def forward(self, inputs):
        if self.state is None or self.state[0].shape[1] != len(inputs):
            self.state = tuple(torch.zeros(1, len(inputs), UNITS) for _ in range(2))
        output, _ = self.decoder.lstm(inputs, self.state)
        return self.decoder.Wd(output[:, 0])


class Sequence(nn.Module):
    """The scores of all words of captions that are known."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, features):
        return self.decoder(features, torch.full((len(features), LENGTH), START))


class Recurrence(nn.Module):
    """A step of the LSTM alone, without what a caption does with it."""

    def __init__(self, decoder):
        super().__init__()
        self.lstm = decoder.lstm

    def forward(self, inputs):
        return self.lstm(inputs)[0]


def parts(decoder, size):
    """What is timed: name -> (module, its input)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(size, FEATURES, generator=generator)
    word = torch.randn(size, 1, UNITS, generator=generator)
    return {
        "We, once an image": (decoder.We, features),
        "LSTM, one step": (Recurrence(decoder), word),
        "Wd, one word": (decoder.Wd, word[:, 0].contiguous()),
        "LSTM and Wd, one word": (Step(decoder), word),
        f"caption of {LENGTH} words, one after another": (Caption(decoder), features),
        f"scores of {LENGTH} known words, one call": (Sequence(decoder), features),
    }


def measure(dense, sparse, size, calls):
    """Name -> seconds dense, seconds sparse; every output verified."""
    rows = {}
    for name, (module, x) in parts(dense, size).items():
        pruned = parts(sparse, size)[name][0]
        with torch.inference_mode():
            found = pruned(x)
            with engine.nn.dense_only():
                expected = pruned(x)
        if found.dtype == torch.float32 and not (found - expected).abs().max() <= CLOSE * expected.abs().max():
            raise RuntimeError(f"{name}: the pruned decoder's outputs are not those of dense arithmetic on its weights")
        if found.dtype == torch.int64 and not torch.equal(found, expected):
            raise RuntimeError(f"{name}: the pruned decoder writes another caption than dense arithmetic does")
        rows[name] = time_alternating([module, pruned], x, calls)
    return rows


def main(arguments=None):
    options = parser(__doc__, "few calls, batch 1").parse_args(arguments)
    settle(options)
    torch.manual_seed(0)
    dense = Decoder().eval()
    shares = {pattern: 1 - density for pattern, density in DENSITIES.items()}
    sparse = engine.prune(copy.deepcopy(dense), engine.Spec(sparsity=shares))
    calls = {1: 5} if options.quick else CALLS
    found = {size: measure(dense, sparse, size, count) for size, count in calls.items()}
    head = [""]
    for size in calls:
        head += [f"batch {size}: dense, ms", "sparse, ms", "speed-up"]
    rows = []
    for name in found[1]:
        row = [name]
        for size in calls:
            before, after = found[size][name]
            row += [f"{before * 1e3:.3f}", f"{after * 1e3:.3f}", f"{before / after:.1f}×"]
        rows.append(row)
    timed = " and ".join(f"{count} at batch {size}" for size, count in calls.items())
    lines = [
        circumstances(__file__, options),
        "",
        "The decoder before pruning, run by torch, and at 10% (We, LSTM) and 11% (Wd) density, taking turns in one process;",
        f"medians of calls ({timed}). Scores are within rounding of dense arithmetic on the same weights, captions the same "
        "words.",
        "",
        *markdown(head, rows),
    ]
    write_section(options, "neuraltalk", "NeuralTalk's decoder", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
