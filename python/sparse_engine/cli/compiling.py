"""`sparse-engine compile`: an ONNX file becomes one that runs without torch and onnx."""

import argparse
from pathlib import Path
from typing import Any

from ..compiler.compiled import is_compiled
from .engines import opened
from .output import UserError, add_shape, existing, print_json, shapes_of, threads, writable

DESCRIPTION = """\
Compile an ONNX model into one file with its weights compressed, which needs numpy only to run: engine.load_compiled(file).
Zeros among the weights are found by their values. It is verified on random inputs first.
"""


def add(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser("compile", help="make an ONNX file one that runs fast", description=DESCRIPTION)
    parser.set_defaults(run=run)
    parser.add_argument("model", type=existing, metavar="ONNX", help="the model")
    parser.add_argument("-o", "--output", type=writable, metavar="PATH", help="the file (default: the model's name, .sparse)")
    add_shape(parser)
    parser.add_argument("--threads", type=threads, default=0, metavar="N", help="threads for the times shown")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")


def run(options: argparse.Namespace) -> int:
    """Compile, save, say what came out."""
    if is_compiled(options.model):
        raise UserError(f"{options.model} is compiled already")
    path = Path(options.output or Path(options.model).with_suffix(".sparse").name)
    model = opened(options.model, options.threads, shapes_of(options.shape))
    try:
        model.save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}; choose another place with --output") from error
    size = path.stat().st_size
    if options.json:
        print_json({"path": str(path), "bytes": size, **model.about, **model.measured})
        return 0
    print(model, flush=True)
    print(f"\n{path}: {size / 1e6:.2f} MB (the model's file: {Path(options.model).stat().st_size / 1e6:.2f} MB)")
    return 0
