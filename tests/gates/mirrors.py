"""Checks that every source file has a test of its name where the tests mirror the sources.

    python tests/gates/mirrors.py [--root DIRECTORY]
    python tests/gates/mirrors.py --self-test

    cpp/src/<folder>/<file>.cpp or .hpp       tests/cpp/<folder>/test_<file>.cpp
    python/sparse_engine/<folder>/<file>.py   tests/python/<folder>/test_<file>.py

A newcomer who changes a file finds its test without searching. More tests may lie beside, such as test_<file>_sizes.cpp.
"""

import sys
import tempfile
from pathlib import Path

import tree_gate

# Sources, their tests, and what is no source of its own: packages' faces, and what starts a package as a program.
MIRRORS = [
    ("cpp/src", "tests/cpp", {".cpp", ".hpp"}, ".cpp", set()),
    ("python/sparse_engine", "tests/python", {".py"}, ".py", {"__init__", "__main__"}),
]


def missing(root):
    """Every source file without its test, with the path of the test, in order."""
    for folder, tests, suffixes, test_suffix, exempt in MIRRORS:
        files = sorted(p for p in (root / folder).rglob("*") if p.suffix in suffixes and p.stem not in exempt)
        if not files:
            raise SystemExit(f"{root / folder}: no sources there")
        for path in files:
            inside = path.relative_to(root / folder).parent
            test = Path(tests) / inside / f"test_{path.stem}{test_suffix}"
            if not (root / test).is_file():
                yield path.relative_to(root).as_posix(), test.as_posix()


def violations(root):
    """What the gate complains about."""
    return [f"{path}: has no test of its name; write {test}" for path, test in missing(root)]


def self_test():
    """Returns what this gate failed to notice, or noticed for nothing."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in (
            "cpp/src/base/a.cpp",
            "cpp/src/base/a.hpp",
            "tests/cpp/base/test_a.cpp",
            "python/sparse_engine/flat.py",
            "python/sparse_engine/__init__.py",
            "tests/python/test_flat.py",
        ):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).touch()
        if found := violations(copy):
            failures.append(f"a tree in order is refused: {found}")
        for name, words in {
            "cpp/src/base/b.hpp": "tests/cpp/base/test_b.cpp",
            "cpp/src/ops/conv/a.cpp": "tests/cpp/ops/conv/test_a.cpp",
            "python/sparse_engine/new.py": "tests/python/test_new.py",
            "python/sparse_engine/nn/flat.py": "tests/python/nn/test_flat.py",
        }.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if not any(words in line and name in line for line in violations(copy)):
                failures.append(f"{name} without {words} passes")
            path.unlink()
        (copy / "tests/cpp/base/test_a.cpp").unlink()
        if len(violations(copy)) != 2:
            failures.append("a source and a header are not told apart")
    return failures


def main():
    """Check, report."""
    arguments = tree_gate.parser(__doc__).parse_args()
    return tree_gate.report(self_test() if arguments.self_test else violations(arguments.root))


if __name__ == "__main__":
    sys.exit(main())
