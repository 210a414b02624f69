#!/usr/bin/env python3
"""Guards the number of instructions that small operations execute, which repeats exactly where times do not.

    python3 tests/gates/instructions.py BUILD             fails when an operation takes over 3% more than expected
    python3 tests/gates/instructions.py BUILD --update    writes what was counted into instructions.json
    python3 tests/gates/instructions.py BUILD --self-test fails unless a count that grew is noticed

BUILD is a build directory with the C++ tests, Release. Counted by valgrind's callgrind on the AVX2 kernels, with decisions as
for caches of 32 KB, 512 KB and 32 MB. Counts hold for the compiler they were taken with: under another only a doubling fails.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

EXPECTED = Path(__file__).with_suffix(".json")
TOLERANCE = 1.03
TOLERANCE_OTHER_COMPILER = 2.0


def compiler(build):
    """The compiler of a build, up to its major version."""
    cache = (build / "CMakeCache.txt").read_text()
    path = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", cache, re.MULTILINE).group(1)
    words = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    version = re.search(r"(\d+)\.\d+", words.split(")")[-1] or words)
    return f"{'clang' if 'clang' in words else 'gcc'} {version.group(1)}"


def count(program, operation):
    """Instructions inside measured() of one operation."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=measured", f"--callgrind-out-file={folder}/out"]
        environment = {**os.environ, "SPARSE_ENGINE_ISA": "avx2", "SPARSE_ENGINE_NUM_THREADS": "1"}
        result = subprocess.run([*command, program, operation], env=environment, capture_output=True, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or not collected or int(collected.group(1)) == 0:
        raise SystemExit(f"{operation}: nothing was counted\n{result.stderr[-2000:]}")
    return int(collected.group(1))


def grown(counts, expected, tolerance):
    """A line for every operation that takes more than it may, or that only one side knows."""
    lines = [
        f"{name}: {counts[name]} instructions, expected {expected[name]} ({counts[name] / expected[name]:.3f}x)"
        for name in sorted(counts.keys() & expected.keys())
        if counts[name] > tolerance * expected[name]
    ]
    return lines + [
        f"{name}: only one of program and instructions.json has it" for name in sorted(counts.keys() ^ expected.keys())
    ]


def main():
    """Count, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    program = options.build / "tests" / "cpp" / "sparse_engine_instructions"
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    if options.self_test:
        once, again = count(program, names[0]), count(program, names[0])
        assert once == again, f"{names[0]} took {once} instructions, then {again}: counts do not repeat"
        assert not grown({names[0]: once}, {names[0]: once}, TOLERANCE)
        assert grown({names[0]: once}, {names[0]: int(once / 1.05)}, TOLERANCE), "a count 5% too large was not noticed"
        assert grown({names[0]: once}, {"gone": once}, TOLERANCE), "a missing operation was not noticed"
        print(f"self-test passed: {names[0]} takes {once} instructions both times")
        return
    counts = {name: count(program, name) for name in names}
    used = compiler(options.build)
    if options.update:
        EXPECTED.write_text(json.dumps({"compiler": used, "instructions": counts}, indent=1) + "\n")
        print(f"wrote {EXPECTED}")
        return
    saved = json.loads(EXPECTED.read_text())
    tolerance = TOLERANCE if saved["compiler"] == used else TOLERANCE_OTHER_COMPILER
    for name, value in counts.items():
        print(f"{name:24} {value:10} instructions")
    failures = grown(counts, saved["instructions"], tolerance)
    if failures:
        sys.exit("\n".join([*failures, "if this is meant: run with --update and say why in the commit"]))


if __name__ == "__main__":
    main()
