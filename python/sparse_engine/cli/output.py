"""What commands have in common: errors that a user can mend, numbers from the command line, JSON."""

import argparse
import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path


class UserError(Exception):
    """Something the user can put right; the message says how."""


def print_json(value: object) -> None:
    """On standard output, and nothing else."""
    print(json.dumps(value, indent=2), flush=True)


def need(packages: Sequence[str], what: str, extra: str) -> None:
    """Raise UserError where packages are missing: what they are for, and how to get them."""
    missing = [name for name in packages if not importable(name)]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'sparse-engine[{extra}]'")


def importable(name: str) -> bool:
    """Whether a package is there."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def writable(value: str) -> str:
    """A path that a file can be written at, for argparse."""
    path = Path(value)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{value} is a directory; give a file in it")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"the directory {path.absolute().parent} does not exist; make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"the directory {path.absolute().parent} is not writable; choose another")
    return value


def existing(value: str) -> str:
    """A path of a file that is there, for argparse."""
    if not Path(value).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {value}")
    return value


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A whole number in [low, high], for argparse."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is outside [{low}, {high}]")
        return number

    return parse


def whole_numbers(low: int, high: int) -> Callable[[str], list[int]]:
    """Whole numbers with commas between, for argparse."""
    one = whole_number(low, high)
    return lambda value: [one(part) for part in value.split(",")]


def share(value: str) -> float:
    """A number in [0, 1), for argparse."""
    try:
        number = float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{value} is outside [0, 1): 0.8 means that 80% of the weights go")
    return number


threads = whole_number(1, 4096)


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`, for what an ONNX file leaves open."""
    what = "sizes of an input that the file leaves open"
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x224x224", help=what)


def add_fallback(parser: argparse.ArgumentParser) -> None:
    """`--fallback`, for what is not covered."""
    what = "where operations of an ONNX file that are not covered run (default: they are an error)"
    parser.add_argument("--fallback", choices=["torch", "onnxruntime"], help=what)


def shapes_of(given: Sequence[str]) -> dict[str, list[int]]:
    """NAME=1x3x224x224 as a mapping. Raises UserError."""
    found: dict[str, list[int]] = {}
    for text in given:
        name, equals, sizes = text.rpartition("=")
        try:
            found[name] = [int(n) for n in sizes.split("x")]
        except ValueError:
            equals = ""
        if not equals or not name or min(found[name]) < 0:
            raise UserError(f"--shape {text!r} is not of the form NAME=1x3x224x224")
    return found
