"""`sparse-engine profile`: what each node of a model takes."""

import argparse
from typing import Any

from .engines import feeds_of, opened
from .output import UserError, add_fallback, add_shape, existing, shapes_of, threads, whole_number, writable

DESCRIPTION = """\
Run a model on random inputs and show what each node takes, how far that is from what this machine reaches, and the kernel.
"""


def add(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser("profile", help="show what each node of a model takes", description=DESCRIPTION)
    parser.set_defaults(run=run)
    parser.add_argument("model", type=existing, metavar="MODEL", help="an ONNX file, or one that was compiled")
    parser.add_argument("--batch", type=whole_number(1, 65536), default=1, metavar="N", help="batch size (default: 1)")
    parser.add_argument("--threads", type=threads, default=0, metavar="N", help="threads of a call")
    parser.add_argument("--rounds", type=whole_number(1, 100_000), default=20, metavar="N", help="runs (default: %(default)s)")
    add_shape(parser)
    add_fallback(parser)
    parser.add_argument("--html", type=writable, metavar="PATH", help="write a page with bars as well")
    parser.add_argument("--csv", type=writable, metavar="PATH", help="write a table as well")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")


def run(options: argparse.Namespace) -> int:
    """Profile, print, write what was asked for."""
    model = opened(options.model, options.threads, shapes_of(options.shape), options.fallback)
    profile = model.profile(rounds=options.rounds, **feeds_of(model, options.batch))
    try:
        if options.html:
            profile.to_html(options.html)
        if options.csv:
            profile.to_csv(options.csv)
    except OSError as error:
        raise UserError(f"cannot write the profile: {error}; choose another place") from error
    print(profile.to_json() if options.json else profile, flush=True)
    return 0
