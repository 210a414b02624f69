"""Checks that the kernel objects of a build leave nothing that another instruction set's code could be linked against.

    python tests/gates/symbols.py BUILD_DIRECTORY [--nm aarch64-linux-gnu-nm]
    python tests/gates/symbols.py --self-test

Kernels are compiled once per instruction set. An inline or template function among them would be a weak symbol, of which the
linker keeps one copy for the whole program; when that is the one with AVX-512 in it, the program dies on older processors. So
a kernel object may define one global symbol, its table, hold no weak symbol, and need nothing but the functions that a
compiler calls on its own. For optimised builds: sanitizers and -O0 add symbols of their own.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ALLOWED_UNDEFINED = {"memset", "memcpy", "memmove", "_GLOBAL_OFFSET_TABLE_"}
WEAK = set("WwVvu")  # u: unique among all objects, what inline variables become
LINE = re.compile(r"^[0-9a-fA-F]*\s*([A-Za-z?-]) (\S+)$")
FOLDER = re.compile(r"^sparse_engine_kernels_(\w+)\.dir$")


def kernel_objects(build):
    """Pairs of instruction set and object file."""
    for path in sorted(Path(build).rglob("*.o")):
        for part in path.parts:
            if match := FOLDER.match(part):
                yield match[1], path


def violations_of_object(isa, path, nm):
    output = subprocess.run([nm, "--format=bsd", str(path)], check=True, capture_output=True, text=True).stdout
    table = f"_ZN13sparse_engine{len(isa)}{isa}5tableE"
    has_table = False
    for line in output.splitlines():
        match = LINE.match(line.strip())
        if match is None:
            yield f"{path}: nm says {line!r}, which this gate does not understand"
            continue
        kind, name = match.groups()
        if kind in WEAK:
            yield f"{path}: {name} is weak; put it into an anonymous namespace"
        elif kind == "U":
            if name not in ALLOWED_UNDEFINED:
                yield f"{path}: {name} comes from elsewhere; kernels call nothing but each other"
        elif kind.isupper():
            if name != table:
                yield f"{path}: {name} is global; only the table may be"
            has_table = has_table or name == table
    if not has_table:
        yield f"{path}: defines no {table}"


def violations(build, nm="nm"):
    objects = list(kernel_objects(build))
    if not objects:
        yield f"{build}: no object files in folders named sparse_engine_kernels_*; was it built?"
    for isa, path in objects:
        yield from violations_of_object(isa, path, nm)


GOOD = """
namespace sparse_engine::fake {
namespace {
int kernel(const char* from, char* to, unsigned long n) { __builtin_memcpy(to, from, n); return from[0]; }
}
extern int (*const table)(const char*, char*, unsigned long);
int (*const table)(const char*, char*, unsigned long) = kernel;
}
"""
# What is added to a good object, and a word of the complaint that must follow.
BAD = {
    "inline int shared(int n) { return n * 3; } int (*volatile use)(int) = shared;": "weak",
    "template <class T> T twice(T n) { return n + n; } template int twice<int>(int);": "weak",
    "inline int counter = 1; int* volatile use = &counter;": "weak",
    "__attribute__((weak)) void hook() {}": "weak",
    "extern int other(int); namespace { int (*volatile use)(int) = other; }": "elsewhere",
    "int visible(int n) { return n; }": "global",
    "int state = 3;": "global",
    "int zeros[3];": "global",
}


def self_test():
    """Returns what this gate failed to notice."""
    compiler = os.environ.get("CXX", "g++")
    failures = []
    with tempfile.TemporaryDirectory() as folder:

        def complaints(name, source):
            build = Path(folder) / name
            target = build / "cpp/CMakeFiles/sparse_engine_kernels_fake.dir/src/kernels/table.cpp.o"
            target.parent.mkdir(parents=True)
            command = [compiler, "-std=c++20", "-O2", "-fPIC", "-x", "c++", "-", "-c", "-o", str(target)]
            subprocess.run(command, input=source, check=True, text=True)
            return list(violations(build))

        if found := complaints("good", GOOD):
            failures.append(f"a good object is refused: {found}")
        for number, (source, word) in enumerate(BAD.items()):
            if not any(word in complaint for complaint in complaints(f"bad{number}", GOOD + source)):
                failures.append(f"not reported as {word}: {source}")
        if not any("defines no" in complaint for complaint in complaints("bare", "namespace { int nothing; }")):
            failures.append("an object without its table passes")
        if not list(violations(Path(folder) / "good/cpp/CMakeFiles/missing")):
            failures.append("a build without kernel objects passes")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", help="build directory, optimised and without sanitizers")
    parser.add_argument("--nm", default="nm", help="the nm of the target, for cross builds")
    parser.add_argument("--self-test", action="store_true", help="check that the gate notices what it is for")
    arguments = parser.parse_args()
    if not arguments.self_test and arguments.build is None:
        parser.error("name a build directory, or --self-test")
    found = self_test() if arguments.self_test else list(violations(arguments.build, arguments.nm))
    for line in found:
        print(line)
    if not found and not arguments.self_test:
        print("kernel objects:", ", ".join(isa for isa, _ in kernel_objects(arguments.build)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
