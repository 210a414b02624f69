"""Runs the examples of training in a process of their own, as a user does: the packages they show warn, and start processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparse_engine

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "training"


def run(name, *arguments):
    """The accuracy and the share of weights that an example prints at its end."""
    if not (FOLDER / name).is_file():
        pytest.skip("the examples are not here")
    found = Path(sparse_engine.__file__).resolve().parents[1]
    path = os.pathsep.join([str(found), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    command = [sys.executable, "-W", "ignore", str(FOLDER / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    accuracy, kept = re.search(r"accuracy ([\d.]+)% with ([\d.]+)% of the weights", last).groups()
    return float(accuracy), float(kept)
