"""`sparse-engine prune`: an ONNX file pruned by magnitude, for people without the code that trained it."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from ..measure.text_table import table
from .output import UserError, existing, need, print_json, share, writable

DESCRIPTION = """\
Set the smallest weights of an ONNX model to zero. The file that comes out is as valid as the one that went in, and computes the
same but for these zeros; without training afterwards accuracy falls with sparsity, so measure it.
"""


def add(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser("prune", help="set the smallest weights of an ONNX file to zero", description=DESCRIPTION)
    parser.set_defaults(run=run)
    parser.add_argument("model", type=existing, metavar="ONNX", help="the model")
    parser.add_argument("--sparsity", type=share, metavar="S", help="share of the weights that go, such as 0.8")
    parser.add_argument("--granularity", default="element", metavar="G", help="element, 2:4, 4x1, filter, … (default: element)")
    parser.add_argument("--scope", choices=("layer", "global"), default="layer", help="rank within layers or over all")
    parser.add_argument("--include", nargs="+", metavar="PATTERN", help="weights to prune (default: the usual ones)")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help="weights to leave alone")
    parser.add_argument("-o", "--output", type=writable, metavar="PATH", help="the file (default: NAME-pruned.onnx)")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")


def run(options: argparse.Namespace) -> int:
    """Prune, save, show what is left of each weight."""
    need(("torch", "onnx"), "pruning an ONNX model", "onnx")
    onnx: Any = importlib.import_module("onnx")
    engine: Any = importlib.import_module("sparse_engine")
    pruning: Any = importlib.import_module("sparse_engine.onnx_files.pruning")
    path = Path(options.output or f"{Path(options.model).stem}-pruned.onnx")
    chosen: dict[str, Any] = {"granularity": options.granularity, "scope": options.scope, "exclude": options.exclude}
    if options.include:
        chosen["include"] = options.include
    if options.sparsity is not None:
        chosen["sparsity"] = options.sparsity
    try:
        pruned = engine.prune(options.model, engine.Spec(**chosen))
        onnx.save(pruned, str(path))
    except (ValueError, TypeError, OSError) as error:
        raise UserError(str(error)) from error
    rows = []
    for name, weight in pruning.weights_of(pruned).items():
        array = pruning.oriented(weight)
        rows.append({"name": name, "operation": weight.node.op_type, "shape": list(array.shape),
                     "weights": array.size, "kept": int((array != 0).sum())})  # fmt: skip
    if options.json:
        print_json({"path": str(path), "weights": rows})
        return 0
    shown = [[r["name"], r["operation"], _shape(r["shape"]), str(r["kept"]), _percent(r["kept"], r["weights"])] for r in rows]
    kept, count = (sum(r[key] for r in rows) for key in ("kept", "weights"))
    print(table(["weight", "operation", "shape", "kept", "of all"], shown))
    print(f"\n{path}: {kept:,} of {count:,} weights kept ({_percent(kept, count)})", flush=True)
    return 0


def _shape(sizes: list[int]) -> str:
    return "×".join(map(str, sizes))


def _percent(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%}"
