"""Channels removed for good: three ways to share them out among the layers, at equal MACs.

    python examples/lecture/channels.py --data DIRECTORY

DIRECTORY as for resnet20.py. ResNet-20 loses channels in one go, by the same criterion either way, and is trained briefly as in
resnet20.py, with three seeds: which images the criterion sees, and in which order training does.
"""

import statistics
import sys
from pathlib import Path

from cifar10 import DATA, accuracy, load_images, load_network, load_pixels, missing_file
from resnet20 import SCANNED, SEEN, allocated, retrain, teach
from sections import BLUE, GREY, ORANGE, RED, circumstances, fail, markdown, parser, picture, settle, write_section

import sparse_engine as engine
from sparse_engine.measure.timing import time_alternating

UNIFORM, RANKED, ALLOCATED = "the same share of every layer", "ranked over the whole network", "allocated by sensitivity"
SEEDS = (0, 1, 2)
EPOCHS = 0.2
CALLS = 51


def widths(model):
    """Output channels of the convolutions, from the first to the last."""
    return {row.name: row.shape[0] for row in engine.report(model).layers if "conv" in row.name}


def draw(path, network, models):
    before = widths(network)
    places = range(len(before))
    with picture(path, size=(9.5, 5)) as (axes,):
        axes.step(places, before.values(), where="mid", color=GREY, linestyle="--", label="before")
        for (way, model), color, mark in zip(models.items(), (RED, ORANGE, BLUE), "s^o", strict=True):
            axes.plot(places, widths(model).values(), f"{mark}-", color=color, label=way)
        axes.set_xticks(places, before, rotation=60, ha="right", fontsize=9)
        axes.set_ylabel("output channels")
        axes.set_ylim(bottom=0)
        axes.set_title("ResNet-20 at half of its MACs")
        axes.legend(frameon=False, loc="upper left")


def main(arguments=None):
    options = parser(__doc__, "250 images, one seed, a few steps")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    count, tested, seeds, calls = (256, 250, SEEDS[:1], 3) if options.quick else (50_000, 10_000, SEEDS, CALLS)
    network = load_network(options.data)
    cache = None if options.quick else options.state
    pixels, labels = load_pixels(options.data, "train", count, cache)
    images, answers = load_images(options.data, "test", tested, cache)
    taught = teach(network, pixels, options.state)
    whole = engine.report(network, example_inputs=images[:1])
    options_of = {"macs": whole.macs // 2, "granularity": "channel", "criterion": "taylor"}
    specs = {UNIFORM: engine.Spec(**options_of, scope="layer"), RANKED: engine.Spec(**options_of, scope="global")}
    scanned = 16 if options.quick else SCANNED
    specs[ALLOCATED] = allocated(network, pixels[:scanned], labels[:scanned], options.state)
    rows, models, means = [], {}, {}
    for way, spec in specs.items():
        runs = [retrain(f"{way}_{seed}", spec, network, pixels, labels, taught, EPOCHS, options.state, seed) for seed in seeds]
        right = [100 * accuracy(model, images, answers) for model in runs]
        left = engine.report(runs[0], example_inputs=images[:1])
        before, after = (1e3 * seconds for seconds in time_alternating([network, runs[0]], images[:1], calls))
        means[way], models[way] = statistics.mean(right), runs[0]
        cells = [f"{left.parameters:,}", f"{left.macs / 1e6:.2f} M", f"{means[way]:.2f}%", ", ".join(f"{a:.2f}" for a in right)]
        rows.append([way, *cells, f"{before:.2f}", f"{after:.2f}", f"{before / after:.2f}×"])
    head = ["channels removed", "parameters", "MACs", "accuracy", "seeds", "before, ms", "after, ms", "speed-up"]
    lines = [
        circumstances(__file__, options),
        "",
        f"ResNet-20 ({whole.parameters:,} parameters, {whole.macs / 1e6:.2f} M MACs) at half of its MACs: channels are cut "
        "out, and "
        "what is left is an ordinary, smaller network. Which channels of a layer go is decided by first-order Taylor on "
        f"{min(SEEN, count):,} images; how many of each layer: the same share, as many as rank last over all layers, or "
        "what a scan of "
        f"the layers on {SCANNED} images allocates (`engine.sensitivity`, `engine.allocate`). Then {EPOCHS:g} epochs of "
        "training as "
        f"above. Accuracy on {tested:,} test images, means of {len(seeds)} seeds: allocated "
        f"{means[ALLOCATED] - means[UNIFORM]:+.2f} points "
        f"against the same share, ranked {means[RANKED] - means[UNIFORM]:+.2f}. Time: one image, dense before and after.",
        "",
        *markdown(head, rows),
        "",
        "![widths of the layers](lecture/channels.png)",
    ]
    write_section(
        options, "channels", "Channels: ranked against uniform", lines, [("channels", lambda path: draw(path, network, models))]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
