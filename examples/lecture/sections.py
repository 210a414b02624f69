"""What the scripts of this folder share: their options, their section of docs/lecture.md, and the look of their plots."""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import sparse_engine as engine

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "lecture.md"
HEAD = """# The lecture, reproduced

The claims of MIT's lecture on pruning and sparsity (6.5940 EfficientML, lecture 3), each run by one command. Every section is
written by its script, which is named in it and says more with `--help`; `--quick` shows in under a minute what it does. What an
interrupted run has done is kept (`--state`) and not done again. Data: `--data`, a directory of the files that the script names.

How much each layer bears has [a page of its own](resnet20_sensitivity.md), and so has [ResNet-20 pruned in one
shot](resnet20_cifar10.md).
"""
STATE = Path(tempfile.gettempdir()) / "sparse-engine-lecture"
# Colours that stay apart for those who see red and green alike (Okabe and Ito, 2008), and without colour by their brightness.
BLUE, ORANGE, GREEN, RED, GREY, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#767676", "#cc79a7"


def parser(description, quick):
    """The options that all scripts have; `quick` says what --quick leaves out."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument(
        "--output",
        type=Path,
        help=f"the page to write the section into (default: {PAGE.relative_to(ROOT)}; "
        "with --quick none: the section is only printed)",
    )
    found.add_argument(
        "--state", type=Path, default=STATE, help="where what is done is kept, so that a run can go on (%(default)s)"
    )
    found.add_argument("--threads", type=int, help="threads to use (default: torch's own choice)")
    found.add_argument("--quick", action="store_true", help=quick)
    return found


def settle(options):
    """Apply --threads and --quick: a quick run neither takes up nor leaves behind what others did."""
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
        engine.runtime.set_num_threads(options.threads)
    if options.quick:
        options.state = Path(tempfile.mkdtemp(prefix="sparse-engine-lecture-"))
    options.state.mkdir(parents=True, exist_ok=True)


def fail(message):
    """Tell the user what is wrong; the exit code for it."""
    print(message, file=sys.stderr)
    return 1


def circumstances(script, options, more=""):
    """Which command wrote a section, when, and on what machine; `more` are options of this script alone."""
    given = (
        (" --quick" if options.quick else "") + (f" --threads {options.threads}" if options.threads is not None else "") + more
    )
    config = engine.runtime.show_config()
    versions = ", ".join(f"{name} {config[name]}" for name in ("sparse_engine", "torch", "python"))
    return (
        f"Written by `python examples/lecture/{Path(script).name}{given}` on {datetime.date.today().isoformat()} "
        f"({processor()}, {config['num_threads']} threads, `{config['isa']}` kernels; {versions})."
    )


def remember(path, key, make):
    """What the JSON file `path` has under `key`; or what `make()` gives, which it has from then on."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key not in found:
        found[key] = make()
        replace(path, json.dumps(found))
    return found[key]


def replace(path, text):
    """Write a file so that there is the old one or the new one, never half of it."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def markdown(head, rows):
    """A table: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


@contextmanager
def picture(path, columns=1, size=(11, 5.2)):
    """Axes side by side, written to `path` as a PNG that can still be read at half its size."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 11.5}):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield axes
        for one in axes:
            one.grid(alpha=0.3)
            one.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="png")


def write_section(options, name, title, lines, figures=()):
    """Print a section, and put it into the page between the markers of `name`, or at its end when they are not there yet.

    Args:
        lines: Markdown. Pictures are linked as {name}: see `figures`.
        figures: (name, function from a path to nothing) for every picture; they lie in a folder named like the page.
    """
    page = options.output or (None if options.quick else PAGE)
    text = "\n".join([f"## {title}", "", *lines])
    print(text)
    if page is None:
        return
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for figure, draw in figures:
        draw(folder / f"{figure}.png")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before = page.read_text(encoding="utf-8") if page.is_file() else HEAD
    section = f"{begin}\n{text}\n{end}"
    if begin in before:
        head, rest = before.split(begin, 1)
        after = head + section + rest.split(end, 1)[1]
    else:
        after = f"{before.rstrip()}\n\n{section}\n"
    replace(page, after)
