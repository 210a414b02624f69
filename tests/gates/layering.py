"""Checks includes and a few words against the layering of the project.

    python tests/gates/layering.py [--root DIRECTORY]
    python tests/gates/layering.py --self-test

    python/sparse_engine -> python/bindings -> cpp/include -> cpp/src, and there: c_api -> session -> program -> ops ->
    formats, selection -> base -> kernels

Arrows are followed, never reversed. The tables below say who knows whom within a layer; nothing goes round in a circle. What
breaks a rule today is in DEBTS, which must hold nothing else. Each rule below says what it keeps.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import tree_gate

SOURCES = {".cpp", ".hpp", ".h", ".inc"}
STANDARD = re.compile(r"^[a-z_]+$")  # standard C++ headers have neither dot nor slash
KERNEL_SYSTEM = {"immintrin.h", "arm_neon.h", "stdint.h", "cstdint"}
C_SYSTEM = {"c_api.h": {"stddef.h", "stdint.h"}}  # a header that C reads
MEMORY_SYSTEM = {"sys/mman.h"}
THREADED = {f"cpp/src/base/{name}" for name in ("parallel.hpp", "task_pool.cpp", "core_of_caller.hpp", "core_of_caller.cpp")}
PARALLEL_SYSTEM = {"pthread.h", "sched.h", "sys/stat.h", "omp.h", "immintrin.h"}  # and nobody else names a thread
# Layers of cpp/src, and the lower ones they may include. Public headers belong to the layer that implements them.
LAYERS = {
    "kernels": set(),
    "base": {"kernels"},
    "formats": {"base", "kernels"},
    "selection": {"base", "kernels"},
    "ops": {"formats", "base", "kernels"},
    "program": {"ops", "base", "kernels"},
    "session": {"program", "ops", "formats", "base", "kernels"},
    "c_api": {"session", "program", "base"},
}
# Public headers of each layer; types.hpp is everybody's, sparse_engine.hpp, which includes them all, nobody's.
PUBLIC = {
    "base": {"runtime", "buffer_pool", "fingerprint"},
    "formats": {"matrix", "csr", "bsr", "nm", "bitmask", "cost_model"},
    "selection": {"mask", "groups", "neighbours"},
    "ops": {"linear", "conv", "interleave", "recurrent"},
    "program": {"program"},
    "session": {"session"},
    "c_api": {"c_api"},
}
# The concepts of each layer, and which peers a concept may know. A file belongs to the concept of its folder in the layer, or
# of the first word of its name: formats/csr_blocks.hpp to csr, ops/conv/planes.cpp to conv.
PEERS = {
    "kernels": {
        "table": {"select"},
        "simd": set(),
        "elementwise": {"simd"},
        "depthwise": {"simd", "elementwise"},
        "gemm": {"simd"},
        "pool": {"simd"},
        "resize": {"simd"},
        "rows": {"simd", "elementwise"},
        "panel": {"simd"},
        "select": {"simd"},
        "spmm": {"simd", "elementwise", "panel"},
        "gemv": {"simd", "elementwise"},
        "recurrent": {"simd", "elementwise"},
    },
    "formats": {"csr": set(), "bsr": set(), "nm": set(), "bitmask": set()},
    "selection": {"mask": set(), "groups": {"mask"}, "neighbours": {"groups", "mask"}},
    "ops": {
        "linear": {"spmm"},
        "conv": {"spmm"},
        "spmm": set(),
        "recurrent": {"linear", "spmm"},
        "attention": set(),
        "gather": set(),
        "write": set(),
        "matmul": set(),
        "pool": set(),
        "resize": set(),
        "rows": set(),
        "elementwise": set(),
        "copy": set(),
        "interleave": set(),
        "pad": set(),
    },
}
# What is of no concept: every peer may know it, and layers above may know nothing else of the layer.
SHARED = {
    "kernels": {"table", "kernels"},
    "formats": {"matrix", "layouts", "plan", "skinny", "row", "stored", "cost"},
    "ops": {"plan"},
}
# Layers whose concepts a layer above may know: a program is made of operations, a session chooses formats for its weights.
OPEN = {("program", "ops"), ("session", "ops"), ("session", "formats")}
DEBTS: set[tuple[str, str]] = set()
THREAD_HEADERS = {"thread", "future", "barrier", "latch", "semaphore", "stop_token", "execution"}
THREAD_WORDS = re.compile(r"\b(?:omp_\w+|pthread_\w+|std::(?:thread|jthread|async|this_thread|execution))\b|#\s*pragma\s+omp\b")
KERNEL_WORDS = re.compile(
    r"\b(?:static|thread_local|throw|try|catch|new|delete|malloc|calloc|realloc|free|virtual)\b"
    r"|\bstd::(?!u?int\d+_t\b)\w+"
)
FAST_MATH = re.compile(r"-Ofast\b|fast-math\b|-funsafe-math-optimizations\b|-fassociative-math\b")
# What kernels and layouts are told: with one of these in a public header every trick of theirs would change the API.
KERNEL_TYPES = re.compile(r"\b(?:Kernels|\w+Job|\w+Args|PanelPlaces|Tiles|TileShape|SkinnyOrder)\b")
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
    if parts[0] == "python":
        return "bindings"
    if parts[1] == "include":
        return "include"
    return parts[2] if len(parts) > 3 else "src"


def place_of(name):
    """Layer and concept of what an include names; (None, None) for what is not of cpp/src."""
    parts = Path(name).parts
    if parts[0] == "sparse_engine":
        stem = Path(name).stem
        return next(((layer, stem) for layer, stems in PUBLIC.items() if stem in stems), (None, None))
    if parts[0] not in LAYERS or len(parts) < 2:
        return None, None
    return parts[0], parts[1] if len(parts) > 2 else Path(name).stem.partition("_")[0]


def include_allowed(layer, path, root, name, system):
    if layer == "kernels":  # intrinsics and fixed-width integers only
        if system:
            return name in KERNEL_SYSTEM
        return name == "sparse_engine/types.hpp" or (name.startswith("kernels/") and (root / "cpp/src" / name).is_file())
    where = path.relative_to(root).as_posix()
    if name in MEMORY_SYSTEM:
        return where == "cpp/src/base/aligned_array.cpp"
    if name in THREAD_HEADERS or name in PARALLEL_SYSTEM:
        return where in THREADED
    if system:
        if name in C_SYSTEM.get(path.name, ()):
            return True
        return STANDARD.match(name) is not None or (layer == "bindings" and name.startswith("pybind11/"))
    if name.startswith("sparse_engine/"):
        return layer in {"include", "bindings"} or name != "sparse_engine/sparse_engine.hpp"
    if layer in LAYERS:
        return (root / "cpp/src" / name).is_file() and place_of(name)[0] is not None
    return layer == "bindings" and "/" not in name and (path.parent / name).is_file()


def why_not(own, other):
    """Why a file of one (layer, concept) must not include one of another; None where it may."""
    (layer, concept), (other_layer, other_concept) = own, other
    shared = SHARED.get(other_layer, set())
    if other_layer != layer:
        if other_layer not in LAYERS[layer]:
            return f"{layer} must not know {other_layer}"
        if other_layer in PEERS and (layer, other_layer) not in OPEN and other_concept not in shared:
            return f"{layer} knows of {other_layer} only {', '.join(sorted(shared)) or 'nothing'}, not {other_concept}"
        return None
    # What is shared knows no concept, and neither does one that no table lists.
    known = {concept, *shared, *PEERS.get(layer, {}).get(concept, set())}
    if other_concept in PEERS.get(layer, {}) and other_concept not in known:
        return f"{concept} must not know {other_concept}; peers know what they share"
    return None


def circles(edges):
    """Every circle of includes once, as the files along it."""
    done, found = set(), []
    for start in sorted(edges):
        stack = [(start, (start,))]
        while stack:
            node, trail = stack.pop()
            for after in sorted(edges.get(node, ())):
                if after == start and start == min(trail):
                    found.append(trail)
                elif after not in trail and after not in done:
                    stack.append((after, (*trail, after)))
        done.add(start)
    return found


def known_places(root):
    """What is in no table, or in a table and nowhere else."""
    for layer in sorted(p.name for p in (root / "cpp/src").iterdir()):
        if layer not in LAYERS:
            yield f"cpp/src/{layer}: no layer of that name; the layers are {', '.join(LAYERS)}"
    stems = {p.stem for p in (root / "cpp/include/sparse_engine").glob("*.h*")} - {"sparse_engine", "types"}
    for stem in sorted(stems ^ set().union(*PUBLIC.values())):
        yield f"cpp/include/sparse_engine/{stem}: PUBLIC in tests/gates/layering.py says which layer a public header is of"
    for layer, peers in PEERS.items():
        files = [p.relative_to(root / "cpp/src").as_posix() for p in sources(root / "cpp/src" / layer)]
        here = {place_of(name)[1] for name in files} - SHARED.get(layer, set())
        for concept in sorted(here ^ (set(peers) - SHARED.get(layer, set()))):
            yield f"cpp/src/{layer}: PEERS in tests/gates/layering.py says whom {concept} may know"


def include_violations(root):
    """What breaks a rule, debts or not: (file, line, included name, complaint)."""
    edges = {}
    for path in sources(root / "cpp") + sources(root / "python/bindings"):
        layer = layer_of(path, root)
        where = path.relative_to(root).as_posix()
        name_here = path.relative_to(root / ("cpp/src" if layer in LAYERS else "cpp/include" if layer == "include" else "."))
        own = place_of(name_here.as_posix())
        for number, name, system in includes(path):
            if not include_allowed(layer, path, root, name, system):
                yield where, number, name, f"{layer} must not include {name}"
                continue
            other = place_of(name)
            if system or layer == "bindings" or None in (*own, *other) or where == "cpp/src/kernels/table.cpp":
                continue
            if complaint := why_not(own, other):
                yield where, number, name, complaint
            if other[0] != "kernels" or not name.endswith(".inc"):
                edges.setdefault(name_here.as_posix(), set()).add(name)
    for circle in circles(edges):
        yield circle[0], 0, "", "in a circle: " + " -> ".join([*circle, circle[0]])


def cpp_violations(root):
    files = sources(root / "cpp") + sources(root / "python/bindings")
    layers = {layer_of(path, root) for path in files}
    if layers != {"include", "bindings", *LAYERS}:
        yield f"{root}: found C++ files of {sorted(layers)} only"
    yield from known_places(root)
    owed = set()
    for where, number, name, complaint in include_violations(root):
        if (where, name) in DEBTS:
            owed.add((where, name))
        else:
            yield f"{where}:{number}: {complaint}"
    for where, name in sorted(DEBTS - owed):
        yield f"{where} no longer includes {name}: take it off DEBTS in tests/gates/layering.py"
    for path in files:
        where = path.relative_to(root)
        if where.as_posix() not in THREADED:
            for number, word in words(path, THREAD_WORDS):
                yield f"{where}:{number}: {word}; only cpp/src/base/parallel.hpp names threads"
        if layer_of(path, root) == "include":
            for number, word in words(path, KERNEL_TYPES):
                yield f"{where}:{number}: {word}; kernel types stay in cpp/src"
        if layer_of(path, root) == "kernels":
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
    ("python/bindings/csr.cpp", '#include "base/check.hpp"', "must not include base/check.hpp"),
    ("python/bindings/csr.cpp", '#include "../../cpp/src/base/workspace.hpp"', "must not include"),
    ("python/bindings/csr.cpp", '#include "kernels/table.hpp"', "must not include"),
    ("python/bindings/linear.cpp", "#include <omp.h>", "must not include omp.h"),
    ("python/bindings/CMakeLists.txt", "include_directories(${PROJECT_SOURCE_DIR}/cpp/src)", "cpp/include only"),
    ("cpp/include/sparse_engine/csr.hpp", "#include <pybind11/numpy.h>", "must not include pybind11"),
    ("cpp/include/sparse_engine/csr.hpp", '#include "base/check.hpp"', "must not include base/check.hpp"),
    ("cpp/include/sparse_engine/csr.hpp", '#include "sparse_engine/conv.hpp"', "formats must not know ops"),
    ("cpp/include/sparse_engine/csr.hpp", '#include "sparse_engine/bsr.hpp"', "csr must not know bsr"),
    ("cpp/include/sparse_engine/matrix.hpp", "class Kernels;", "Kernels; kernel types stay in cpp/src"),
    ("cpp/include/sparse_engine/csr.hpp", "struct SkinnyJob;", "SkinnyJob; kernel types stay in cpp/src"),
    ("cpp/include/sparse_engine/runtime.hpp", '#include "sparse_engine/matrix.hpp"', "base must not know formats"),
    ("cpp/include/sparse_engine/c_api.h", "#include <stdio.h>", "must not include stdio.h"),
    ("cpp/src/session/steps.cpp", '#include "sparse_engine/c_api.h"', "session must not know c_api"),
    ("cpp/include/sparse_engine/dia.hpp", "", "which layer a public header is of"),
    ("cpp/src/base/check.hpp", '#include "formats/skinny.hpp"', "base must not know formats"),
    ("cpp/src/base/caches.cpp", '#include "sparse_engine/matrix.hpp"', "base must not know formats"),
    ("cpp/src/base/caches.cpp", '#include "kernels/simd/simd.hpp"', "base knows of kernels only"),
    ("cpp/src/base/check.hpp", '#include "base/float_types.hpp"', "in a circle: base/check.hpp -> base/float_types.hpp"),
    ("cpp/src/formats/csr.cpp", '#include "sparse_engine/conv.hpp"', "formats must not know ops"),
    ("cpp/src/formats/csr_blocks.hpp", '#include "sparse_engine/bitmask.hpp"', "csr must not know bitmask"),
    ("cpp/src/formats/nm.cpp", '#include "formats/csr_blocks.hpp"', "nm must not know csr"),
    ("cpp/src/formats/row_tiles.hpp", '#include "formats/csr_blocks.hpp"', "row must not know csr"),
    ("cpp/src/formats/bsr.cpp", '#include "sparse_engine/mask.hpp"', "formats must not know selection"),
    ("cpp/src/formats/dia.cpp", "", "says whom dia may know"),
    ("cpp/src/selection/mask.cpp", '#include "sparse_engine/groups.hpp"', "mask must not know groups"),
    ("cpp/src/selection/mask.cpp", '#include "formats/skinny.hpp"', "selection must not know formats"),
    (
        "cpp/src/ops/conv/conv.cpp",
        '#include "sparse_engine/csr.hpp"',
        "ops knows of formats only cost, layouts, matrix, plan, row, skinny, stored, not csr",
    ),
    (
        "cpp/src/ops/linear.cpp",
        '#include "formats/csr_blocks.hpp"',
        "ops knows of formats only cost, layouts, matrix, plan, row, skinny, stored, not csr",
    ),
    ("cpp/src/ops/linear.cpp", '#include "ops/conv/planes.hpp"', "linear must not know conv"),
    ("cpp/src/ops/spmm/spmm_plan.hpp", '#include "ops/conv/planes.hpp"', "spmm must not know conv"),
    ("cpp/src/ops/conv/conv.cpp", '#include "sparse_engine/linear.hpp"', "conv must not know linear"),
    ("cpp/src/ops/linear.cpp", '#include "sparse_engine/mask.hpp"', "ops must not know selection"),
    ("cpp/src/ops/linear.cpp", '#include "sparse_engine/sparse_engine.hpp"', "must not include sparse_engine/"),
    ("cpp/src/ops/linear.cpp", '#include "spmm/plan.hpp"', "must not include spmm/plan.hpp"),
    ("cpp/src/ops/conv/conv.cpp", '#include "kernels/simd/simd.hpp"', "ops knows of kernels only"),
    ("cpp/src/ops/conv/conv.cpp", "#include <pybind11/pybind11.h>", "must not include pybind11"),
    ("cpp/src/ops/conv/conv.cpp", "#include <immintrin.h>", "must not include immintrin.h"),
    ("cpp/src/other/session.cpp", "", "no layer of that name"),
    ("cpp/src/selection/mask.cpp", "#include <thread>", "must not include thread"),
    ("cpp/src/selection/mask.cpp", "#pragma omp parallel for", "only cpp/src/base/parallel.hpp names threads"),
    ("cpp/src/base/runtime.cpp", "int n = omp_get_num_procs();", "only cpp/src/base/parallel.hpp names threads"),
    ("cpp/src/base/workspace.cpp", "void f() { std::thread t; }", "only cpp/src/base/parallel.hpp names threads"),
    ("cpp/src/base/workspace.cpp", "#include <sys/mman.h>", "must not include sys/mman.h"),
    ("cpp/src/kernels/panel/panel.hpp", "#include <vector>", "must not include vector"),
    ("cpp/src/kernels/panel/panel.hpp", '#include "base/check.hpp"', "must not include base/check.hpp"),
    ("cpp/src/kernels/panel/panel.hpp", '#include "sparse_engine/csr.hpp"', "must not include sparse_engine/csr.hpp"),
    ("cpp/src/kernels/panel/panel.hpp", '#include "kernels/gemv/csr.hpp"', "panel must not know gemv"),
    ("cpp/src/kernels/simd/simd.hpp", '#include "kernels/elementwise/activation.hpp"', "simd must not know elementwise"),
    ("cpp/src/kernels/gemv/csr.hpp", '#include "kernels/gemv/bitmask.hpp"', "in a circle: kernels/gemv/bitmask.hpp"),
    ("cpp/src/kernels/norm/norm.hpp", "", "says whom norm may know"),
    ("cpp/src/kernels/panel/panel.hpp", "inline float* f() { return new float; }", "new; kernels neither allocate"),
    ("cpp/src/kernels/panel/panel.hpp", "inline int f() { static int calls; return ++calls; }", "static; kernels"),
    ("cpp/src/kernels/panel/panel.hpp", "inline int f() { return std::min(1, 2); }", "std::min; kernels"),
    ("cpp/src/kernels/panel/panel.hpp", "#pragma omp simd", "only cpp/src/base/parallel.hpp names threads"),
    ("cpp/CMakeLists.txt", "target_compile_options(sparse_engine_core PRIVATE -ffast-math)", "fast-math"),
    ("third_party/openmp.cmake", 'set(CMAKE_CXX_FLAGS "-Ofast")', "-Ofast"),
    ("cpp/src/formats/csr.cpp", '#pragma GCC optimize("fast-math")', "fast-math"),
    ("cpp/src/utils.hpp", None, "say what it holds"),
    ("python/sparse_engine/helpers.py", None, "say what it holds"),
    ("python/bindings/common.hpp", None, "say what it holds"),
]
# What looks like a violation and is none.
GOOD = [
    ("cpp/src/ops/conv/conv.cpp", '// #include "sparse_engine/csr.hpp" is no include, std::thread\n/* #pragma omp */'),
    ("cpp/src/ops/conv/conv.cpp", 'const char* text = "std::thread and omp_get_num_threads";'),
    ("cpp/src/kernels/panel/panel.hpp", "// A new static table\ninline int f(float x) { return static_cast<int>(x); }"),
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
            new_folders = [folder for folder in reversed(path.parents) if not folder.exists()]
            for folder in new_folders:
                folder.mkdir()
            path.write_text((original or "") + "\n" + (text or "") + "\n")
            new = set(violations(copy)) - before
            if complaint is None and new:
                failures.append(f"{name} with {text!r} is fine, but: {sorted(new)}")
            elif complaint is not None and not any(complaint in line for line in new):
                failures.append(f"{name} with {text!r} is not reported as {complaint!r}")
            path.unlink() if original is None else path.write_text(original)
            for folder in reversed(new_folders):
                folder.rmdir()
        if set(violations(copy)) != before:
            failures.append("the copy was not restored; this test is wrong")
        for where, name in DEBTS:
            path = copy / where
            path.write_text(path.read_text().replace(f'#include "{name}"', ""))
            if not any(f"{where} no longer includes {name}" in line for line in violations(copy)):
                failures.append(f"a debt that is paid stays on the list: {where}, {name}")
    return failures


def main():
    arguments = tree_gate.parser(__doc__).parse_args()
    return tree_gate.report(self_test(arguments.root) if arguments.self_test else violations(arguments.root))


if __name__ == "__main__":
    sys.exit(main())
