"""`sparse-engine inspect`: what a model is made of, what of it is sparse, and whether it can be compiled."""

import argparse
import importlib
import statistics
from collections import Counter
from functools import partial
from typing import Any

from ..compiler.compiled import is_compiled
from ..measure.text_table import table
from ..measure.turns import taking_turns
from .engines import feeds_of, opened, sparse
from .output import UserError, add_shape, existing, need, print_json, shapes_of, share

DESCRIPTION = """\
Show the operations of a model, how sparse its weights are, and what cannot be compiled. With --what-if also what pruning would
gain here: a copy is pruned by magnitude, and both are timed. What accuracy that would leave is not looked at.
"""
ROUNDS = 20


def add(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser("inspect", help="show operations, sparsity and what is covered", description=DESCRIPTION)
    parser.set_defaults(run=run)
    parser.add_argument("model", type=existing, metavar="MODEL", help="an ONNX file, or one that was compiled")
    parser.add_argument("--what-if", type=share, metavar="S", help="time a copy with this share of the weights pruned as well")
    add_shape(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")


def run(options: argparse.Namespace) -> int:
    """Look, print."""
    found = _of_compiled(options) if is_compiled(options.model) else _of_onnx(options)
    if options.json:
        print_json(found)
        return 0
    counts = [[name, str(count), state] for name, count, state in found["operations"]]
    print(table(["operation", "nodes", "compiled"], counts))
    weights = [[w["name"], "×".join(map(str, w["shape"])), f"{w['sparsity']:.1%}"] for w in found["weights"]]
    print("\n" + table(["weight", "shape", "zeros"], weights))
    for line in found["notes"]:
        print(f"\n{line}")
    return 0


def _of_compiled(options: argparse.Namespace) -> dict[str, Any]:
    if options.what_if is not None:
        raise UserError("--what-if needs the ONNX file: a compiled one is not pruned again")
    model = opened(options.model)
    nodes = model.nodes
    weights = [
        {"name": node["name"] or node["operation"], "shape": list(node["weight"][:2]),
         "sparsity": 1 - node["weight"][2] / (node["weight"][0] * node["weight"][1])}
        for node in nodes if node["weight"] is not None
    ]  # fmt: skip
    counts = Counter(node["operation"] for node in nodes)
    return {"operations": [[name, n, "yes"] for name, n in counts.most_common()], "weights": weights, "notes": []}


def _of_onnx(options: argparse.Namespace) -> dict[str, Any]:
    need(("torch", "onnx"), "an ONNX model", "onnx")
    reading: Any = importlib.import_module("sparse_engine.onnx_files.reading")
    pruning: Any = importlib.import_module("sparse_engine.onnx_files.pruning")
    unsupported: Any = importlib.import_module("sparse_engine.compiler.unsupported")
    api: Any = importlib.import_module("sparse_engine.compiler.api")
    shapes, notes, refused = shapes_of(options.shape), [], {}
    model = None
    try:
        file = reading.read_onnx(options.model)
        whole = reading.saved_whole(file, options.model)
        try:
            model = opened(options.model, shapes=shapes)
            notes.append(f"compiled: {len(model.nodes)} nodes, largest error {model.about['error']:.1e} of the largest output")
        except UserError as error:
            if isinstance(error.__cause__, unsupported.UnsupportedModel):
                refused = {one.operation: one.reason or "not covered" for one in error.__cause__.refused}
            notes.append(f"not compiled: {error}")
        weights = []
        for name, weight in pruning.weights_of(whole).items():
            array = pruning.oriented(weight)
            weights.append({"name": name, "shape": list(array.shape), "sparsity": float((array == 0).mean())})
        if options.what_if is not None and model is not None:
            engine: Any = importlib.import_module("sparse_engine")
            feeds = feeds_of(model, 1)
            pruned = api.compile(engine.prune(whole, engine.Spec(sparsity=options.what_if)), feeds)
            calls = [partial(sparse(m, m.threads), feeds) for m in (model, pruned)]
            now, then = (1e3 * statistics.median(times) for times in taking_turns(calls, ROUNDS))
            notes.append(
                f"at {options.what_if:.0%} by magnitude: {then:.3f} ms at batch 1, now {now:.3f} ms ({now / then:.2f}×); "
                f"measure the accuracy that it leaves"
            )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    counts = Counter(node.op_type for node in whole.graph.node)
    rows = [[name, n, refused.get(name, "yes")] for name, n in counts.most_common()]
    return {"operations": rows, "weights": weights, "notes": notes}
