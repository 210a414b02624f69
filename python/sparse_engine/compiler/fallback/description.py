"""What a model with segments in another runtime says of itself when printed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from ...measure.text_table import table
from ..description import description
from ..unsupported import kinds
from .segment import COMPILED, Segment


def described(
    segments: Sequence[Segment],
    crossing: Sequence[tuple[str, "list[tuple[int, int]] | None"]],
    about: Mapping[str, Any],
    measured: Mapping[str, float],
    nodes: Sequence[Mapping[str, Any]],
) -> str:
    """Segments, what is not compiled and why, what crossing costs, and a line for each compiled node.

    Args:
        crossing: values that go from one segment to another, with their shapes.
        measured: milliseconds on the example.
        nodes: of compiled segments.
    """
    others = [segment for segment in segments if segment.runtime != COMPILED]
    runtime = others[0].runtime if others else "another runtime"
    whole = sum(segment.contents.multiply_adds for segment in segments)
    ours = sum(segment.contents.multiply_adds for segment in segments if segment.runtime == COMPILED)
    share = f", with {ours / whole:.1%} of the multiply-adds" if whole else ""
    lines = [
        f"{about.get('model', 'model')}: {len(segments)} segments, {len(segments) - len(others)} of them compiled{share}, "
        f"{len(others)} in {runtime}"
    ]
    lines += [f"not covered: {line}" for line in kinds([one for s in others for one in s.contents.refused], whole)]
    beside: Counter[str] = Counter()
    for segment in others:
        beside += segment.contents.operations
        beside -= segment.contents.names
    if beside:
        few = ", ".join(f"{name} {count}×" for name, count in beside.most_common(6))
        lines.append(f"in {runtime} too, where compiled they would hold no product: {few}{', …' if len(beside) > 6 else ''}")
    open_sizes = " and those whose size depends on values" if any(shape is None for _, shape in crossing) else ""
    floats = sum(prod(fixed + each for fixed, each in shape) for _, shape in crossing if shape is not None)
    took = f", {measured['crossing_milliseconds']:.3f} ms on the example" if "crossing_milliseconds" in measured else ""
    lines.append(f"{floats:,} elements{open_sizes} go from segment to segment at batch 1, in {len(crossing)} values{took}")
    if "error" in about:
        lines.append(f"largest error on the example {about['error']:.1e} of the largest output")
    if measured:
        timed = next(name for name in ("torch", "onnxruntime") if f"{name}_milliseconds" in measured)
        mine, theirs = measured["milliseconds"], measured[f"{timed}_milliseconds"]
        lines.append(f"{mine:.2f} ms on the example, all of it in {timed} {theirs:.2f} ms ({theirs / mine:.2f}×)")
    rows = [
        [
            str(number + 1),
            segment.runtime,
            ", ".join(f"{name} {count}×" if count > 1 else name for name, count in segment.contents.operations.most_common(6))
            + (", …" if len(segment.contents.operations) > 6 else ""),
            str(len(segment.contents.reads)),
            str(len(segment.contents.makes)),
        ]
        for number, segment in enumerate(segments)
    ]
    lines += ["", table(["segment", "runs in", "operations", "reads", "makes"], rows)]
    if nodes:
        compiled = description(nodes, {"model": "compiled"}, {}, 0, None, {})
        lines += ["", compiled]
    return "\n".join(lines)
