import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

import sparse_engine as engine
from sparse_engine.cli import main as cli

# Runs the command line in a process that refuses to import torch.
WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from sparse_engine.cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def run(program, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        timeout=120,
    )


def test_info_shows_the_configuration(capsys):
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["isa"] == engine.runtime.isa()
    assert shown["supported_isas"] == ", ".join(engine.runtime.supported_isas())
    assert shown["sparse_engine"] == engine.__version__
    assert set(shown) == set(engine.runtime.show_config())


def test_info_as_json_has_the_same_content(capsys):
    assert cli.main(["info", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["supported_isas"] == engine.runtime.supported_isas()
    assert set(config) == set(engine.runtime.show_config())


def test_info_names_the_installed_torch_though_it_was_not_imported(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    try:
        installed = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        installed = None
    cli.main(["info", "--json"])
    assert json.loads(capsys.readouterr().out)["torch"] == installed


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"]], ids=" ".join)
def test_info_works_without_torch(arguments):
    process = run(WITHOUT_TORCH, *arguments)
    assert process.returncode == 0, process.stderr
    assert engine.runtime.isa() in process.stdout
    assert process.stderr == ""


def test_the_demo_without_torch_says_what_to_install():
    process = run(WITHOUT_TORCH, "demo")
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert "torch" in line
    assert "pip install 'sparse-engine[demo]'" in line


@pytest.mark.parametrize("missing", ["mlxtend", "matplotlib"])
def test_the_demo_names_the_package_that_is_missing(missing, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, missing, None)
    assert cli.main(["demo", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"needs {missing}: pip install 'sparse-engine[demo]'" in captured.err


@pytest.mark.parametrize("variable", ["SPARSE_ENGINE_ISA", "SPARSE_ENGINE_NUM_THREADS"])
def test_a_wrong_environment_is_one_line_and_no_traceback(variable):
    process = run("import sys; from sparse_engine.cli.main import main; sys.exit(main(['info']))", **{variable: "nonsense"})
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert f"{variable} = 'nonsense'" in line


def test_a_reader_that_goes_away_leaves_no_traceback():
    process = subprocess.Popen(
        [sys.executable, "-c", "from sparse_engine.cli.main import main; main(['info'])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    with process.stderr as stream:
        errors = stream.read()
    process.wait(timeout=60)
    assert errors == ""


def test_a_terminal_without_the_characters_gets_a_substitute_and_no_traceback():
    process = run("import sys; from sparse_engine.cli.main import main; main(['info']); print('×')", PYTHONIOENCODING="ascii")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "?"


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["demo", "--help"]], ids=" ".join)
def test_help_says_what_there_is(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 100
    for word in {"--help": ("demo", "info", "--version", "examples:"), "info": ("--json",), "demo": ("--output", "--seed")}[
        arguments[0]
    ]:
        assert word in text


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"sparse-engine {engine.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["shrink"], "invalid choice"),
        (["prune"], "required: ONNX"),
        (["info", "--quick"], "unrecognized arguments"),
        (["demo", "--threads", "0"], "0 is outside [1, 4096]"),
        (["demo", "--threads", "two"], "'two' is not a whole number"),
        (["demo", "--seed", "-1"], "-1 is outside"),
        (["demo", "--output", "no/such/directory/a.png"], "does not exist; make it first"),
        (["demo", "--output", "."], ". is a directory; give a file in it"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_code_two_before_any_work(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_the_installed_command_is_this_one():
    try:
        importlib.metadata.version("sparse-engine")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from a source tree")
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="sparse-engine")
    assert script.value == "sparse_engine.cli.main:main"
