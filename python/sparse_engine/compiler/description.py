"""What a compiled model says of itself when printed."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..measure.text_table import table


def shape_of(sizes: Sequence[tuple[int, int]]) -> tuple["int | str", ...]:
    """A shape given as (fixed, per item) with the batch open: "N" where it grows with it."""
    shape: list[int | str] = []
    for fixed, per_item in sizes:
        grows = "N" if per_item == 1 else f"{per_item}N"
        shape.append(fixed if per_item == 0 else grows if fixed == 0 else f"{grows}+{fixed}")
    return tuple(shape)


def description(
    nodes: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    measured: Mapping[str, float],
    threads: int,
    arena_nbytes: int | None,
    kernels: Mapping[int, str],
) -> str:
    """Totals, and a line for each node.

    Args:
        nodes, about: of the program.
        measured: milliseconds on the example, where it was compiled in this process.
        arena_nbytes, kernels: at batch 1; None and nothing once it is closed. A reshape has no kernel.
    """
    products = [node for node in nodes if node["weight"] is not None]
    stored = sum(node["weight"][2] for node in products)
    dense = sum(node["weight"][0] * node["weight"][1] for node in products)
    lines = [
        f"{about.get('model', 'model')}: {len(nodes)} nodes, {len(products)} of them products, "
        f"{stored:,} of {dense:,} weights ({stored / max(1, dense):.1%})"
    ]
    if "captured" in about:
        gone = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in about.get("gone", []) if count > 0)
        lines.append(f"{about['captured']} operations were captured; gone by pass: {gone or 'none'}")
    if arena_nbytes is not None:
        count = "1 thread" if threads == 1 else f"{threads} threads"
        lines.append(f"{count}, {arena_nbytes / 2**20:.1f} MiB for intermediate values at batch 1")
    if "error" in about:
        lines.append(f"largest error on the example {about['error']:.1e} of the largest output")
    if "rounding" in about:
        lines.append(f"computed in float32; the model's own 16-bit arithmetic is off by {about['rounding']:.1e}")
    if measured:
        ours, theirs = measured["milliseconds"], measured["torch_milliseconds"]
        lines.append(f"{ours:.2f} ms on the example, dense in torch {theirs:.2f} ms ({theirs / ours:.2f}×)")
    rows = []
    for number, node in enumerate(nodes):
        what = node["operation"]
        if node["weight"] is not None:
            rows_of_weight, cols, count = node["weight"]
            what += f" {rows_of_weight}×{cols}, {count / (rows_of_weight * cols):.1%} kept"
        if node["residual"]:
            what += ", + residual"
        if node["activation"].name != "none":
            what += f", {node['activation'].name}"
        shape = f"({', '.join(map(str, shape_of(node['shape'])))})"
        rows.append([node["name"] or "(model)", what, kernels.get(number, ""), shape])
    return "\n".join([*lines, "", table(["module", "operation", "kernel at batch 1", "result"], rows)])
