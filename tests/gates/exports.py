"""Checks what the Python module shows to, and takes from, the rest of its process.

    python tests/gates/exports.py MODULE.so [MODULE.so ...]
    python tests/gates/exports.py --self-test

A template of std is a weak, visible symbol wherever it is instantiated, and a static libstdc++ makes the whole of it visible.
A process then mixes two copies of libstdc++: `std::ostringstream << 1` looked for its facets by the ids of the other copy and
died, on every refused argument. So the module exports its init function and nothing else, however it was linked, and uses no
streams and no locales, which would also write numbers as the program around it prefers.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

INIT = re.compile(r"^PyInit_\w+$")
# By what C++ calls them, with or without libstdc++'s and libc++'s inline namespaces.
LOCALE = re.compile(
    r"\bstd::(?:__\w+::)?(?:locale|codecvt|ctype|num_put|num_get|numpunct|use_facet|has_facet|ios_base|basic_ios|ostream|istream"
    r"|basic_\w*(?:stream|streambuf|stringbuf|filebuf)\w*|__ostream_insert|cout|cerr|clog|cin|basic_regex|regex_traits)\b"
)
LOCALE_OF_C = re.compile(r"^(?:setlocale|uselocale|newlocale|localeconv|strto[dfl]\w*)(?:@|$)")


def symbols(path, *options):
    """Names in the dynamic table, as C++ writes them."""
    output = subprocess.run(["nm", "-D", "-C", "--format=bsd", *options, str(path)], check=True, capture_output=True, text=True)
    for line in output.stdout.splitlines():
        kind, name = line[16:].split(None, 1) if line[:16].strip() else line.split(None, 1)
        if kind != "A":  # names of versions
            yield kind, name


def violations(path):
    exported = [name for _, name in symbols(path, "--defined-only")]
    for name in exported:
        if not INIT.match(name):
            yield f"{path}: exports {name}"
    if not any(INIT.match(name) for name in exported):
        yield f"{path}: exports no PyInit function; is it a Python module?"
    for _, name in symbols(path, "--undefined-only"):
        if LOCALE.search(name) or LOCALE_OF_C.match(name):
            yield f"{path}: uses {name}"


MODULE = """
#include <memory>
#include <string>
#include <vector>
#define PUBLIC extern "C" __attribute__((visibility("default")))
std::vector<std::string> words;
PUBLIC void* PyInit_good(int n) { words.emplace_back(std::to_string(n)); return &words; }
"""
EXPORTS = "{ global: PyInit_*; local: *; };"
# What is added to a good module, options of the linker, and words of the complaint that must follow.
BAD = [
    ("", "", "exports std::vector"),
    ("PUBLIC int other() { return 1; }", "{ global: PyInit_*; other; local: *; };", "exports other"),
    (
        "#include <sstream>\nPUBLIC int PyInit_b(int n) { std::ostringstream s; s << n; return s.str().size(); }",
        EXPORTS,
        "uses std::",
    ),
    ("#include <locale>\nPUBLIC bool PyInit_b(char c) { return std::isalpha(c, std::locale()); }", EXPORTS, "uses std::locale"),
    ("#include <cstdlib>\nPUBLIC double PyInit_b(char* c) { return std::strtod(c, nullptr); }", EXPORTS, "uses strtod"),
]


def self_test():
    """Returns what this gate failed to notice."""
    compiler = os.environ.get("CXX", "g++")
    failures = []
    with tempfile.TemporaryDirectory() as folder:

        def complaints(source, exports, *options):
            target, script = Path(folder) / "module.so", Path(folder) / "exports.map"
            linking = [*options]
            if exports:
                script.write_text(exports)
                linking.append(f"-Wl,--version-script={script}")
            command = [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-x", "c++", "-", "-o", str(target), *linking]
            subprocess.run(command, input=source, check=True, text=True)
            return list(violations(target))

        static = ["-static-libstdc++", "-static-libgcc"]
        for options in ([], static):
            if found := complaints(MODULE, EXPORTS, *options):
                failures.append(f"a good module is refused ({options}): {found}")
        for source, exports, words in BAD:
            if not any(words in complaint for complaint in complaints(MODULE + source, exports)):
                failures.append(f"not reported as {words!r}: {source or MODULE}")
        if not any("exports std::" in complaint for complaint in complaints(MODULE, "", *static)):
            failures.append("a libstdc++ that everybody sees passes")
        if not any("no PyInit" in complaint for complaint in complaints("int nothing;", "{ local: *; };")):
            failures.append("a library without an init function passes")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="shared objects")
    parser.add_argument("--self-test", action="store_true", help="check that the gate notices what it is for")
    arguments = parser.parse_args()
    if arguments.self_test == bool(arguments.modules):
        parser.error("give modules, or --self-test")
    found = self_test() if arguments.self_test else [line for path in arguments.modules for line in violations(path)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
