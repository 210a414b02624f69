"""Runs the tests of refused arguments with a module that carries its own libstdc++; fails when it does not.

    PYTHONPATH=FOLDER_OF_THE_PACKAGE python tests/install/static_runtime.py [options of pytest]

numpy and torch bring the shared libstdc++ into the process first, as on the machine where this was a segmentation fault.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np  # noqa: F401
import pytest
import torch  # noqa: F401

import sparse_engine._core as core

TESTS = Path(__file__).resolve().parents[1] / "python"
FILES = [
    *(f"matrices/test_{name}.py" for name in ("bitmask", "bsr", "csr", "functional", "interop", "nm", "tensors")),
    "masking/test_mask.py",
    "test_runtime.py",
]

needed = subprocess.run(["readelf", "-d", core.__file__], check=True, capture_output=True, text=True).stdout
if re.search(r"NEEDED.*libstdc\+\+", needed):
    sys.exit(f"{core.__file__} takes the shared libstdc++")
if "libstdc++.so" not in Path("/proc/self/maps").read_text():
    sys.exit("nobody brought the shared libstdc++; this test is wrong")
refusals = "refused or hostile or damaged or wrong or beyond or unknown or does_not_fit or another or bounded or forced"
sys.exit(pytest.main([*sys.argv[1:], "-k", refusals, *(str(TESTS / file) for file in FILES)]))
