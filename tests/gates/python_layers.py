"""Checks the imports between the Python packages against a table of who may know whom.

    python tests/gates/python_layers.py [--root DIRECTORY]
    python tests/gates/python_layers.py --self-test

    cli -> analysis -> compiler, strategies -> io, onnx_files -> channels -> pruning -> nn -> measure -> matrices, masking
      -> _core

Every import counts, also one inside a function and one under TYPE_CHECKING: a module that is known later is known all the same.
No two modules may know each other, not even by way of others.
"""

import ast
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tree_gate

PACKAGE = "python/sparse_engine"
FACE = "__init__"  # knows the others by name and imports them when they are used
CORE = {"_core", "lazy", "runtime", "version"}  # modules beside the packages that know none of them
# Who may import whom; everyone may import CORE.
LAYERS = {"pruning", "nn", "measure", "masking", "matrices"}
MAY_IMPORT: dict[str, set[str]] = {
    "matrices": set(),
    "masking": set(),
    "measure": {"masking", "matrices"},
    "nn": {"measure", "masking", "matrices"},
    "pruning": LAYERS - {"pruning"},
    "channels": LAYERS,
    "onnx_files": LAYERS,
    "io": {"channels", *LAYERS},
    "strategies": {"onnx_files", "channels", *LAYERS},
    "compiler": {"onnx_files", "io", "channels", *LAYERS},
    "analysis": {"compiler", "onnx_files", "io", "strategies", "channels", *LAYERS},
    "cli": {"analysis", "compiler", "onnx_files", "io", "strategies", "channels", *LAYERS},
}
MAY_USE_THE_FACE = {"cli"}  # as any user does
# Imports that break the table: "file -> module". The list may only shrink, and is to be empty.
DEBTS: set[str] = set()
# What works where torch is not installed.
WITHOUT_TORCH = [
    "__init__",
    "cli/bench",
    "cli/compiling",
    "cli/engines",
    "cli/inspection",
    "cli/main",
    "cli/output",
    "cli/profiling",
    "cli/pruning",
    "compiler/__init__",
    "compiler/compiled",
    "compiler/description",
    "compiler/graph",
    "compiler/inference_session",
    "compiler/lower",
    "compiler/profile",
    "compiler/tensors",
    "compiler/unsupported",
    "io/__init__",
    "io/atomic_write",
    "masking/__init__",
    "masking/mask",
    "matrices/__init__",
    "measure/__init__",
    "measure/difference",
    "measure/html_page",
    "measure/reach",
    "measure/text_table",
    "measure/turns",
    "onnx_files/__init__",
    "onnx_files/reading",
    "pruning/__init__",
    "pruning/schedules",
    "pruning/spec",
    "runtime",
    "version",
]


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package, by its name below it: "nn.base", "nn" for nn/__init__.py, "__init__" for the face."""
    package = root / PACKAGE
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == FACE and len(parts) > 1 else parts)
        found[name] = path
    return found


def imports(tree: ast.AST, name: str, is_package: bool, known: set[str]) -> Iterator[tuple[int, str, bool]]:
    """Line, module of ours and whether it is imported when the importer is loaded, of every import in `tree`."""
    deferred = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _for_types(node)
        for inner in _inside(node)
    }
    here = [] if name == FACE else name.split(".")
    if not is_package:
        here = here[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = here[: len(here) - node.level + 1]
            elif (node.module or "").split(".")[0] == "sparse_engine":
                base = []
            else:
                continue
            inner = (node.module or "").split(".") if node.module else []
            full = [*base, *(inner if node.level else inner[1:])]
            for alias in node.names:
                whole = ".".join([*full, alias.name])
                target = whole if whole in known or whole in CORE else ".".join(full) or FACE
                yield node.lineno, target, id(node) not in deferred
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, _, rest = alias.name.partition(".")
                if first == "sparse_engine":
                    yield node.lineno, rest or FACE, id(node) not in deferred


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """What of `node` runs later or never; the else of an `if TYPE_CHECKING` does run."""
    for part in node.body if isinstance(node, (ast.If, ast.FunctionDef, ast.AsyncFunctionDef)) else []:
        yield from ast.walk(part)


def graph(root: Path) -> dict[str, list[tuple[int, str, bool]]]:
    """For each module its imports of others of ours."""
    found = modules(root)
    return {
        name: list(imports(ast.parse(path.read_text()), name, path.name == "__init__.py", set(found)))
        for name, path in found.items()
    }


def package_of(module: str) -> str:
    """The package, or the module itself where it lies beside the packages."""
    return module.split(".")[0]


def layer_violations(root: Path, edges: dict[str, list[tuple[int, str, bool]]]) -> Iterator[str]:
    """Imports that the table does not allow, packages that it does not know, debts that are paid."""
    paths = modules(root)
    packages = {package_of(name) for name in paths} - CORE - {FACE}
    yield from (f"{PACKAGE}/{name}: not in the table MAY_IMPORT" for name in sorted(packages - MAY_IMPORT.keys()))
    yield from (f"{PACKAGE}/{name}: in the table MAY_IMPORT and not there" for name in sorted(MAY_IMPORT.keys() - packages))
    owed = set(DEBTS)
    for name, found in edges.items():
        own = package_of(name)
        for line, target, _ in found:
            other = package_of(target)
            allowed = CORE if own in CORE else CORE | {own} | MAY_IMPORT.get(own, set())
            if own == FACE or other in allowed or (other == FACE and own in MAY_USE_THE_FACE):
                continue
            where = paths[name].relative_to(root)
            debt = f"{where} -> {target}"
            if debt in DEBTS:
                owed.discard(debt)
            else:
                yield f"{where}:{line}: {own} must not import {target}"
    yield from (f"DEBTS: {debt} is paid; take it off the list" for debt in sorted(owed))


def cycles(edges: dict[str, list[tuple[int, str, bool]]]) -> list[list[str]]:
    """Modules that know one another: the strongly connected ones (Tarjan, 1972); the face, which all know of, aside."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for _, target, _ in edges.get(name, ()):
            if target == FACE or target not in edges:
                continue
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            cycle = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(cycle) > 1 or any(target == name for _, target, _ in edges[name]):
                found.append(sorted(cycle))

    for name in edges:
        if name not in order and name != FACE:
            visit(name)
    return found


def torch_violations(root: Path, edges: dict[str, list[tuple[int, str, bool]]]) -> Iterator[str]:
    """What `import sparse_engine` loads, and every module that must work without torch, needs numpy and nothing else."""
    paths = modules(root)
    waiting = [".".join(name.removesuffix("/__init__").split("/")) for name in WITHOUT_TORCH]
    yield from (f"WITHOUT_TORCH: there is no {name}" for name in waiting if name not in paths)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in paths:
            continue
        seen.add(name)
        for line, module in foreign_imports(ast.parse(paths[name].read_text()).body):
            if module not in {*sys.stdlib_module_names, "numpy", "sparse_engine"}:
                yield f"{paths[name].relative_to(root)}:{line}: imports {module} when loaded; import it where it is used"
        for _, target, loaded in edges[name]:
            if loaded:
                waiting += [target, package_of(target)]


def foreign_imports(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Line and first word of what a module body imports from outside when it is loaded."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.lineno, (node.module or "").split(".")[0]
        elif _for_types(node):
            yield from foreign_imports(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                nested = getattr(node, field, [])
                yield from foreign_imports(nested if isinstance(nested, list) else [])


def violations(root: Path) -> Iterator[str]:
    """Everything that breaks a rule, a line each."""
    if not (root / PACKAGE / "__init__.py").is_file():
        yield f"{root / PACKAGE}: no package there"
        return
    edges = graph(root)
    yield from layer_violations(root, edges)
    yield from (f"{PACKAGE}: these know one another: {', '.join(cycle)}" for cycle in cycles(edges))
    yield from torch_violations(root, edges)


# A file, what is added to it, and words of the complaint that must follow; None: there must be none.
TAMPERED = [
    ("masking/mask.py", "from ..nn import dispatch", "masking must not import nn.dispatch"),
    ("masking/mask.py", "from ..matrices.base import Matrix", "masking must not import matrices.base"),
    ("measure/timing.py", "def late():\n    from ..nn.dispatch import Choice", "measure must not import nn.dispatch"),
    ("nn/base.py", "if TYPE_CHECKING:\n    from ..pruning.spec import Spec", "nn must not import pruning.spec"),
    ("pruning/budget.py", "from sparse_engine.channels import select", "pruning must not import channels.select"),
    ("channels/select.py", "import sparse_engine.analysis.reporting", "channels must not import analysis.reporting"),
    ("channels/rules/moves.py", "from ...analysis import reporting", "channels must not import analysis.reporting"),
    ("io/checkpoint.py", "from ..analysis.reporting import report", "io must not import analysis.reporting"),
    ("strategies.py", "from .io import checkpoint", "strategies must not import io.checkpoint"),
    ("analysis/reporting.py", "from ..cli import main", "analysis must not import cli.main"),
    ("runtime.py", "from .masking.mask import Mask", "runtime must not import masking.mask"),
    ("rest/new.py", "", "not in the table"),
    ("pruning/spec.py", "from .pruner import Pruner", "these know one another"),
    ("pruning/spec.py", "def late():\n    from .pruner import Pruner", "these know one another"),
    ("pruning/spec.py", "if TYPE_CHECKING:\n    from .pruner import Pruner", "these know one another"),
    ("pruning/spec.py", "from . import pruner", "these know one another"),
    ("pruning/spec.py", "import torch", "imports torch when loaded"),
    ("masking/mask.py", "try:\n    import torch\nexcept ImportError:\n    pass", "imports torch when loaded"),
    ("__init__.py", "from .strategies import prune", "imports torch when loaded"),
    ("runtime.py", "class Late:\n    import scipy.sparse", "imports scipy when loaded"),
    ("pruning/spec.py", "def late():\n    import torch\n    return torch", None),
    ("pruning/spec.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", None),
    ("cli/main.py", "def late():\n    from ..analysis.reporting import report\n    return report", None),
]


def self_test(root: Path) -> list[str]:
    """What this gate failed to notice, or noticed for nothing, in a copy of the package that was tampered with."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        ignore = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(root / PACKAGE, copy / PACKAGE, ignore=ignore)
        before = set(violations(copy))
        for name, text, complaint in TAMPERED:
            path = copy / PACKAGE / name
            original = path.read_text() if path.is_file() else None
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{original or ''}\n{text}\n")
            new = set(violations(copy)) - before
            if complaint is None and new:
                failures.append(f"{name} with {text!r} is fine, but: {sorted(new)}")
            elif complaint is not None and not any(complaint in line for line in new):
                failures.append(f"{name} with {text!r} is not reported as {complaint!r}, but: {sorted(new)}")
            if original is None:
                shutil.rmtree(path.parent)
            else:
                path.write_text(original)
        paid = "python/sparse_engine/nn/base.py -> pruning.paid"
        DEBTS.add(paid)
        if not any(paid in line for line in violations(copy)):
            failures.append("a debt that is paid is not reported")
        DEBTS.discard(paid)
        if set(violations(copy)) != before:
            failures.append("the copy was not restored; this test is wrong")
    return failures


def main() -> int:
    """Print what breaks a rule; 1 if anything does."""
    arguments = tree_gate.parser(__doc__).parse_args()
    return tree_gate.report(self_test(arguments.root) if arguments.self_test else violations(arguments.root))


if __name__ == "__main__":
    sys.exit(main())
