"""ResNet-20 on CIFAR-10, pruned at several granularities, retrained, and timed.

    python examples/lecture/resnet20.py --data DIRECTORY

DIRECTORY holds `resnet20_cifar10.npz` (trained weights) and `cifar10_jpeg.npz` (CIFAR-10 as JPEG files). Every row starts from
these weights, is pruned along a schedule over the first half of its training and goes on training with masks until its end. The
loss is half cross-entropy, half the divergence from what the network before pruning says (Hinton, Vinyals, Dean, 2015). The
weights were trained on better images than these JPEGs, so training alone gains accuracy: the network trained the same way
without pruning has a row of its own. An interrupted run goes on where it was; what is done is not done again.
"""

import copy
import math
import os
import sys
from pathlib import Path

import torch
from cifar10 import BATCH, DATA, accuracy, load_images, load_network, load_pixels, missing_file, normalised
from sections import circumstances, fail, markdown, parser, settle, write_section
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.measure.progress import Progress
from sparse_engine.measure.timing import time_alternating

CHANNELS = "channels, half the MACs"
# By the name of a row: what is pruned. Batch normalisation and biases always stay; "2:4" leaves conv1 alone, whose 27 inputs
# do not fall into fours.
SPECS = {
    "trained on, not pruned": None,
    "single weights, 80%": engine.Spec(sparsity=0.8, scope="global", include="?*"),
    "single weights, 90%": engine.Spec(sparsity=0.9, scope="global", include="?*"),
    "single weights, 95%": engine.Spec(sparsity=0.95, scope="global", include="?*"),
    "2:4": engine.Spec(granularity="2:4", exclude="conv1"),
    CHANNELS: "allocated",  # see `allocated`
    "4x1 blocks, 80%": engine.Spec(sparsity=0.8, granularity="4x1", scope="global", exclude=["conv1", "linear"]),
}
STEP = 64  # images in a step of training
RATE, WARM_UP = 0.02, 50
# Passes over the images: more where more is pruned. One takes four and a half minutes on one core.
EPOCHS = dict.fromkeys(SPECS, 2) | {
    "trained on, not pruned": 1,
    "2:4": 1,
    "single weights, 90%": 6,
    CHANNELS: 3,
}
TEMPERATURE = 4.0
SEEN, SCANNED = 1000, 250  # images that the criterion for channels looks at, and on which layers are scanned
CHECKPOINT = 100  # steps between two checkpoints
TIMED = (1, 64)  # images in a batch when time is measured


def teach(network, pixels, state):
    """What `network` says of every image and of its mirror image: float32 (2, n, 10), kept in `state`."""
    path = state / f"resnet20_taught_{len(pixels)}.pt"
    if path.is_file():
        return torch.load(path, weights_only=True)
    bar = Progress(2 * len(pixels))
    outputs = []
    with torch.inference_mode():
        for mirrored in (False, True):
            for part in pixels.split(BATCH):
                outputs.append(network(normalised(part.flip(3) if mirrored else part)))
                bar.advance("asking the network before pruning", len(part))
    bar.close()
    taught = torch.cat(outputs).reshape(2, len(pixels), -1)
    save(taught, path)
    return taught


def save(value, path):
    """`torch.save` that leaves the old file or the new one."""
    torch.save(value, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def rate(step, steps):
    """Learning rate: warms up, then falls to 0 along a cosine."""
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def pruner_of(model, spec, steps, pixels, labels):
    """What prunes `model` while it trains. Channels go at once and for good, before the optimizer takes up the parameters."""
    if spec is None:
        return None
    if isinstance(spec.granularity, engine.pruning.Channels):
        data = list(zip(normalised(pixels[:SEEN]).split(BATCH), labels[:SEEN].split(BATCH), strict=True))
        engine.prune(model, spec, data=data, loss=F.cross_entropy, example_inputs=data[0][0][:1])
        return None
    return engine.Pruner(model, spec, schedule(spec, steps))


def allocated(network, pixels, labels, state):
    """Channels to remove, by layer, so that half the MACs are left: where the loss on some images rises least."""
    images, labels = normalised(pixels[:SCANNED]), labels[:SCANNED]

    def score(model):
        with torch.inference_mode(), engine.nn.dense_only():
            return -float(F.cross_entropy(model(images), labels))

    found = engine.sensitivity(
        network,
        score,
        sparsities=(0.1, 0.2, 0.3, 0.5, 0.7),
        spec=engine.Spec(sparsity=0.5, granularity="channel"),
        example_inputs=images[:1],
        resume=state / "resnet20_channels.json",
    )
    half = engine.report(network, example_inputs=images[:1]).macs // 2
    shares = engine.allocate(found, macs=half)
    return engine.Spec(sparsity=shares, granularity="channel", criterion="taylor")


def schedule(spec, steps):
    """Gradual up to the middle of the training; 2:4 has one budget only."""
    if spec.granularity == engine.NofM(2, 4):
        return engine.schedules.OneShot()
    return engine.schedules.Cubic(begin=0, end=steps // 2, every=max(1, steps // 50))


def retrain(name, spec, network, pixels, labels, taught, epochs, state, seed=0):
    """A copy of `network`, pruned as `spec` says while it trains; from where an earlier run stopped.

    Args:
        taught: what `teach` gave.
        epochs: passes over the images, or a part of one.
        seed: of the order of the images, and of which of them the criterion for channels sees.
    """
    path = state / f"resnet20_{''.join(c if c.isalnum() else '_' for c in name)}_{epochs}.pt"
    model = copy.deepcopy(network)
    each = len(labels) // STEP
    steps = max(1, round(each * epochs))
    pruner = pruner_of(model, spec, steps, pixels[SEEN * seed :], labels[SEEN * seed :])
    model = model.train().to(memory_format=torch.channels_last)  # a tenth faster to train here
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    done = 0
    if path.is_file():
        found = torch.load(path, weights_only=True)
        if pruner is not None:
            pruner.load_state_dict(found["pruner"])
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        done = found["steps"]
    bar = Progress(steps)
    bar.advance(name, done)
    while done < steps:
        epoch, place = divmod(done, each)
        generator = torch.Generator().manual_seed(1000 * seed + epoch)  # so that a later run draws the same
        order = torch.randperm(len(labels), generator=generator)
        mirrored = torch.randint(0, 2, (len(labels),), generator=generator)
        for picked in order[: each * STEP].split(STEP)[place : place + steps - done]:
            flips = mirrored[picked]
            images = pixels[picked]
            images = normalised(torch.where(flips.bool()[:, None, None, None], images.flip(3), images))
            images = images.contiguous(memory_format=torch.channels_last)
            for group in optimizer.param_groups:
                group["lr"] = rate(done, steps)
            optimizer.zero_grad()
            loss_of(model(images), labels[picked], taught[flips, picked]).backward()
            optimizer.step()
            if pruner is not None:
                pruner.step()
            done += 1
            bar.advance(name)
            if done % CHECKPOINT == 0 or done == steps:
                kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": done}
                save(kept | ({} if pruner is None else {"pruner": pruner.state_dict()}), path)
    bar.close()
    return model.eval().to(memory_format=torch.contiguous_format)


def loss_of(outputs, labels, taught):
    """Half cross-entropy, half the divergence from what was taught, at a temperature that shows its second choices."""
    distance = F.kl_div(
        F.log_softmax(outputs / TEMPERATURE, 1), F.log_softmax(taught / TEMPERATURE, 1), log_target=True, reduction="batchmean"
    )
    return 0.5 * F.cross_entropy(outputs, labels) + 0.5 * TEMPERATURE**2 * distance


def measure(models, network, images, labels, calls):
    """A row of the table for each model: what is left, accuracy, milliseconds against `network`."""
    whole = engine.report(network, example_inputs=images[:1])
    exact = accuracy(network, images, labels)
    rows = [["as given", "", *counted(whole), f"{exact:.2%}", "", *["", "", ""] * len(TIMED)]]
    for name, model in models.items():
        right = accuracy(model, images, labels)
        row = [name, str(EPOCHS[name]), *counted(engine.report(model, example_inputs=images[:1]))]
        row += [f"{right:.2%}", f"{100 * (right - exact):+.2f}"]
        for size in TIMED:
            dense, sparse = time_alternating([network, model], images[:size], calls)
            row += [f"{dense * 1e3:.2f}", f"{sparse * 1e3:.2f}", f"{dense / sparse:.2f}×"]
        rows.append(row)
    return rows


def counted(report):
    """Parameters and MACs that are left, as the table shows them."""
    return [f"{report.nonzeros:,}", f"{report.nonzero_macs / 1e6:.1f} M"]


def main(arguments=None):
    options = parser(__doc__, "a few steps on 256 images, one row")
    options.add_argument("--data", type=Path, default=DATA, help="directory of the two files")
    options.add_argument("--rows", nargs="*", choices=list(SPECS), default=list(SPECS), help="only these")
    options = options.parse_args(arguments)
    if (missing := missing_file(options.data)) is not None:
        return fail(missing)
    settle(options)
    count, tested, calls = (512, 250, 3) if options.quick else (50_000, 10_000, 51)
    names = list(SPECS)[1:2] if options.quick else options.rows
    network = load_network(options.data)
    cache = None if options.quick else options.state
    pixels, labels = load_pixels(options.data, "train", count, cache)
    taught = teach(network, pixels, options.state)

    def spec_of(name):
        return allocated(network, pixels, labels, options.state) if name == CHANNELS else SPECS[name]

    models = {
        name: retrain(name, spec_of(name), network, pixels, labels, taught, EPOCHS[name], options.state) for name in names
    }
    images, labels = load_images(options.data, "test", tested, cache)
    head = ["", "epochs", "parameters", "MACs", "accuracy", "points"]
    for size in TIMED:
        head += [f"batch {size}: dense, ms", "sparse, ms", "speed-up"]
    some = "" if options.rows == list(SPECS) else " --rows " + " ".join(f'"{name}"' for name in options.rows)
    lines = [
        circumstances(__file__, options, some),
        "",
        f"Every row is trained on {count:,} images for so many epochs. Accuracy is that of {tested:,} test images as the "
        "engine "
        "runs the network; points are against the network as given, which was trained on better images than these JPEGs: "
        "compare "
        "with the row that is trained on and not pruned as well. MACs are those with a weight that is not 0, for one image. "
        "Times "
        "are medians of "
        f"{calls} calls, the network as given and the row taking turns.",
        "",
        *markdown(head, measure(models, network, images, labels, calls)),
    ]
    write_section(options, "resnet20", "ResNet-20: granularities, retrained", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
