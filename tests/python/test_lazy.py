"""Names of a package that are imported when they are first used."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from sparse_engine.lazy import lazy


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules note that they were imported."""
    folder = tmp_path / "sample_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from sparse_engine.lazy import lazy\n"
        "homes = {'value': 'home', 'missing': 'home', 'home': 'module:home', 'torchy': 'needs', 'other': 'broken'}\n"
        "__getattr__, __dir__, __all__ = lazy(__name__, homes)\n"
    )
    (folder / "home.py").write_text("value = object()\n")
    (folder / "needs.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')\n")
    (folder / "broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("sample_package")
    for name in [name for name in sys.modules if name.startswith("sample_package")]:
        del sys.modules[name]


def test_a_module_is_imported_when_a_name_of_it_is_used_and_the_name_stays(package):
    assert "sample_package.home" not in sys.modules
    value = package.value
    assert value is sys.modules["sample_package.home"].value
    assert vars(package)["value"] is value, "the second time it is found at once"


def test_a_module_can_be_a_name_itself(package):
    assert package.home is sys.modules["sample_package.home"]


def test_all_and_dir_tell_every_name_in_order_without_an_import(package):
    assert package.__all__ == dir(package) == ["home", "missing", "other", "torchy", "value"]
    assert "sample_package.home" not in sys.modules


def test_other_names_are_no_attributes(package):
    with pytest.raises(AttributeError, match="module 'sample_package' has no attribute 'nothing'"):
        _ = package.nothing
    assert not hasattr(package, "__wrapped__")
    with pytest.raises(AttributeError):  # in the table, but not where it says
        _ = package.missing


def test_a_name_that_needs_torch_says_what_to_install_and_other_modules_are_named_as_they_are(package):
    with pytest.raises(ModuleNotFoundError, match=r"sample_package.torchy works on torch.*install 'sparse-engine\[torch\]'"):
        _ = package.torchy
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        _ = package.other


def test_a_package_without_names_has_none():
    get, names, public = lazy("sparse_engine", {})
    assert names() == public == []
    with pytest.raises(AttributeError):
        get("anything")


@pytest.mark.parametrize("package", ["", ".analysis", ".channels", ".pruning"])
def test_what_type_checkers_are_told_of_a_package_is_its_table_of_names(package):
    module = importlib.import_module(f"sparse_engine{package}")
    (block,) = [node for node in ast.parse(Path(module.__file__).read_text()).body if isinstance(node, ast.If)]
    told = {
        alias.asname: f"module:{alias.name}" if node.module is None else node.module
        for node in block.body
        for alias in node.names
    }
    told = {name: "module:pruning.schedules" if name == "schedules" else home for name, home in told.items()}
    assert told == module._HOMES
