"""Checks includes and a few words against the layering of the project.

    python tests/gates/layering.py [--root DIRECTORY]
    python tests/gates/layering.py --self-test

    python/sparse_engine -> python/bindings -> cpp/include -> cpp/src -> cpp/src/kernels

Arrows are followed, never reversed, never jumped. Each rule below says what it keeps.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

SOURCES = {".cpp", ".hpp", ".h", ".inc"}
STANDARD = re.compile(r"^[a-z_]+$")  # standard C++ headers have neither dot nor slash
KERNEL_SYSTEM = {"immintrin.h", "arm_neon.h", "stdint.h", "cstdint"}
MEMORY_SYSTEM = {"sys/mman.h"}
PARALLEL_SYSTEM = {"pthread.h", "sys/stat.h", "omp.h", "immintrin.h"}
FOUNDATION = {"matrix", "runtime", "sparse_engine", "types"}  # public headers that are no concept of their own
# The only concepts that know another.
BUILT_ON = {("groups", "mask"), ("neighbours", "groups"), ("neighbours", "mask"), ("recurrent", "linear")}
THREAD_HEADERS = {"thread", "future", "barrier", "latch", "semaphore", "stop_token", "execution"}
THREAD_WORDS = re.compile(r"\b(?:omp_\w+|pthread_\w+|std::(?:thread|jthread|async|this_thread|execution))\b|#\s*pragma\s+omp\b")
KERNEL_WORDS = re.compile(
    r"\b(?:static|thread_local|throw|try|catch|new|delete|malloc|calloc|realloc|free|virtual)\b"
    r"|\bstd::(?!u?int\d+_t\b)\w+"
)
FAST_MATH = re.compile(r"-Ofast\b|fast-math\b|-funsafe-math-optimizations\b|-fassociative-math\b")
FORBIDDEN_STEMS = {"util", "utils", "helper", "helpers", "common"}
IGNORED = shutil.ignore_patterns(".git", "build*", "__pycache__", ".venv", "dist")


def code_of(path, strings=True):
    """The text without comments, and without the insides of strings if told so; lines stay where they are."""

    def replace(match):
        text = match[0]
        if text.startswith("/"):
            return "\n" * text.count("\n")
        return text if strings else text[0] + text[0]

    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', replace, path.read_text(), flags=re.DOTALL)


def includes(path):
    """Line number, name and whether in angle brackets, of every include."""
    for number, line in enumerate(code_of(path).splitlines(), 1):
        if match := re.match(r'\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', line):
            yield number, match[1] or match[2], match[1] is not None


def words(path, pattern):
    for number, line in enumerate(code_of(path, strings=False).splitlines(), 1):
        for match in pattern.finditer(line):
            yield number, match[0]


def sources(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in SOURCES)


def layer_of(path, root):
    """Name of the C++ layer a file belongs to."""
    parts = path.relative_to(root).parts
    return {"cpp": parts[1] if len(parts) < 3 or parts[2] != "kernels" else "kernels", "python": "bindings"}[parts[0]]


def include_allowed(layer, path, name, system):
    if layer == "kernels":  # intrinsics and fixed-width integers only
        own = name == "sparse_engine/types.hpp" or ("/" not in name and (path.parent / name).is_file())
        return name in KERNEL_SYSTEM if system else own
    if name in MEMORY_SYSTEM:
        return path.name == "storage.cpp" and layer == "src"
    if name in THREAD_HEADERS or name in PARALLEL_SYSTEM:
        return path.name == "parallel.hpp" and layer == "src"
    if system:
        return STANDARD.match(name) is not None or (layer == "bindings" and name.startswith("pybind11/"))
    if name.startswith("sparse_engine/"):
        return layer != "src" or name != "sparse_engine/sparse_engine.hpp"
    if layer == "include":
        return False
    if layer == "src" and name.startswith("kernels/"):
        return name in {"kernels/table.hpp", "kernels/kernels.inc"}
    return "/" not in name and (path.parent / name).is_file()


def cpp_violations(root):
    files = sources(root / "cpp") + sources(root / "python/bindings")
    layers = {layer_of(path, root) for path in files}
    if layers != {"include", "src", "kernels", "bindings"}:
        yield f"{root}: found C++ files of {sorted(layers)} only"
    concepts = {p.stem for p in (root / "cpp/include/sparse_engine").glob("*.hpp")} - FOUNDATION
    for path in files:
        layer = layer_of(path, root)
        where = path.relative_to(root)
        for number, name, system in includes(path):
            if not include_allowed(layer, path, name, system):
                yield f"{where}:{number}: {layer} must not include {name}"
            concept = Path(name).stem if name.startswith("sparse_engine/") else None
            own = path.stem.partition("_")[0]
            if (
                layer in {"include", "src"}
                and concept in concepts
                and own not in {concept, "sparse"}
                and (own, concept) not in BUILT_ON
            ):
                yield f"{where}:{number}: {path.stem} must not know {concept}; peers know matrix.hpp"
        if where != Path("cpp/src/parallel.hpp"):
            for number, word in words(path, THREAD_WORDS):
                yield f"{where}:{number}: {word}; only cpp/src/parallel.hpp names threads"
        if layer == "kernels":
            for number, word in words(path, KERNEL_WORDS):
                yield f"{where}:{number}: {word}; kernels neither allocate nor throw nor keep state, and take nothing from std"


def build_violations(root):
    names = ["*.cmake", "*.cmake.in", "CMakeLists.txt", "CMakePresets.json", "pyproject.toml"]
    files = sorted({p for name in names for p in root.rglob(name) if not any(part.startswith("build") for part in p.parts)})
    if not files:
        yield f"{root}: no build files found"
    for path in files:
        where = path.relative_to(root)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("#")[0] if path.suffix != ".json" else line
            if match := FAST_MATH.search(code):
                yield f"{where}:{number}: {match[0]} changes the arithmetic of the whole process"
            if where.parts[:2] == ("python", "bindings") and re.search(r"cpp/src\b", code):
                yield f"{where}:{number}: bindings see cpp/include only"
    for path in sources(root / "cpp"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := re.search(r"optimize\b.*fast-math|" + FAST_MATH.pattern, line.split("//")[0]):
                yield f"{path.relative_to(root)}:{number}: {match[0]} changes the arithmetic of the whole process"


def name_violations(root):
    for folder in ("cpp", "python", "tests", "bench"):
        for path in sorted((root / folder).rglob("*")):
            if path.name.split(".")[0].lower() in FORBIDDEN_STEMS:
                yield f"{path.relative_to(root)}: say what it holds; a {path.stem} file ends up holding everything"


def violations(root):
    yield from cpp_violations(root)
    yield from build_violations(root)
    yield from name_violations(root)


# A file, what is added to it (None: only its name counts), and a word of the complaint that must follow.
BAD = [
    ("python/bindings/csr.cpp", '#include "check.hpp"', "must not include check.hpp"),
    ("python/bindings/csr.cpp", '#include "../../cpp/src/work.hpp"', "must not include"),
    ("python/bindings/csr.cpp", '#include "kernels/table.hpp"', "must not include"),
    ("python/bindings/linear.cpp", "#include <omp.h>", "must not include omp.h"),
    ("python/bindings/CMakeLists.txt", "include_directories(${PROJECT_SOURCE_DIR}/cpp/src)", "cpp/include only"),
    ("cpp/include/sparse_engine/csr.hpp", "#include <pybind11/numpy.h>", "must not include pybind11"),
    ("cpp/include/sparse_engine/csr.hpp", '#include "check.hpp"', "must not include check.hpp"),
    ("cpp/include/sparse_engine/csr.hpp", '#include "sparse_engine/conv.hpp"', "must not know conv"),
    ("cpp/src/csr.cpp", '#include "sparse_engine/conv.hpp"', "must not know conv"),
    ("cpp/src/conv.cpp", '#include "sparse_engine/csr.hpp"', "must not know csr"),
    ("cpp/src/linear.cpp", '#include "sparse_engine/csr.hpp"', "must not know csr"),
    ("cpp/src/linear.cpp", '#include "sparse_engine/sparse_engine.hpp"', "must not include sparse_engine/"),
    ("cpp/src/conv.cpp", '#include "kernels/simd.hpp"', "must not include kernels/simd.hpp"),
    ("cpp/src/conv.cpp", "#include <pybind11/pybind11.h>", "must not include pybind11"),
    ("cpp/src/conv.cpp", "#include <immintrin.h>", "must not include immintrin.h"),
    ("cpp/src/mask.cpp", "#include <thread>", "must not include thread"),
    ("cpp/src/mask.cpp", "#pragma omp parallel for", "only cpp/src/parallel.hpp names threads"),
    ("cpp/src/runtime.cpp", "int n = omp_get_num_procs();", "only cpp/src/parallel.hpp names threads"),
    ("cpp/src/work.cpp", "void f() { std::thread t; }", "only cpp/src/parallel.hpp names threads"),
    ("cpp/src/kernels/panel.hpp", "#include <vector>", "must not include vector"),
    ("cpp/src/kernels/panel.hpp", '#include "../check.hpp"', "must not include ../check.hpp"),
    ("cpp/src/kernels/panel.hpp", '#include "sparse_engine/csr.hpp"', "must not include sparse_engine/csr.hpp"),
    ("cpp/src/kernels/panel.hpp", "inline float* f() { return new float; }", "new; kernels neither allocate"),
    ("cpp/src/kernels/panel.hpp", "inline int f() { static int calls; return ++calls; }", "static; kernels"),
    ("cpp/src/kernels/panel.hpp", "inline int f() { return std::min(1, 2); }", "std::min; kernels"),
    ("cpp/src/kernels/panel.hpp", "#pragma omp simd", "only cpp/src/parallel.hpp names threads"),
    ("cpp/CMakeLists.txt", "target_compile_options(sparse_engine_core PRIVATE -ffast-math)", "fast-math"),
    ("third_party/openmp.cmake", 'set(CMAKE_CXX_FLAGS "-Ofast")', "-Ofast"),
    ("cpp/src/csr.cpp", '#pragma GCC optimize("fast-math")', "fast-math"),
    ("cpp/src/utils.hpp", None, "say what it holds"),
    ("python/sparse_engine/helpers.py", None, "say what it holds"),
    ("python/bindings/common.hpp", None, "say what it holds"),
]
# What looks like a violation and is none.
GOOD = [
    ("cpp/src/conv.cpp", '// #include "sparse_engine/csr.hpp" is no include, std::thread\n/* #pragma omp */'),
    ("cpp/src/conv.cpp", 'const char* text = "std::thread and omp_get_num_threads";'),
    ("cpp/src/kernels/panel.hpp", "// A new static table\ninline int f(float x) { return static_cast<int>(x); }"),
    ("CMakeLists.txt", "# never -ffast-math"),
]


def self_test(root):
    """Returns what this gate failed to notice, or noticed for nothing, in copies of the tree that were tampered with."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(root, copy, ignore=IGNORED)
        before = set(violations(copy))
        for name, text, complaint in [*BAD, *((*good, None) for good in GOOD)]:
            path = copy / name
            original = path.read_text() if path.is_file() else None
            path.write_text((original or "") + "\n" + (text or "") + "\n")
            new = set(violations(copy)) - before
            if complaint is None and new:
                failures.append(f"{name} with {text!r} is fine, but: {sorted(new)}")
            elif complaint is not None and not any(complaint in line for line in new):
                failures.append(f"{name} with {text!r} is not reported as {complaint!r}")
            path.unlink() if original is None else path.write_text(original)
        if set(violations(copy)) != before:
            failures.append("the copy was not restored; this test is wrong")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="the project")
    parser.add_argument("--self-test", action="store_true", help="check that the gate notices what it is for")
    arguments = parser.parse_args()
    found = self_test(arguments.root) if arguments.self_test else list(violations(arguments.root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
