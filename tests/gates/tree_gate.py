"""What the gates over the tree have in common: their arguments, and how they say what they found."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """The arguments --root and --self-test, described by the first line of a gate's documentation."""
    arguments = argparse.ArgumentParser(description=(documentation or "").splitlines()[0])
    arguments.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="the project")
    arguments.add_argument("--self-test", action="store_true", help="check that the gate notices what it is for")
    return arguments


def report(found: Iterable[str]) -> int:
    """Print what was found, a line each; the exit status, 1 if it was anything."""
    lines = list(found)
    for line in lines:
        print(line)
    return 1 if lines else 0
