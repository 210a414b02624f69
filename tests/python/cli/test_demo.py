import io
import json
import os
import struct
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")
image = pytest.importorskip("matplotlib.image")

import sparse_engine as engine  # noqa: E402
from sparse_engine.cli import (  # noqa: E402
    demo,
    demo_plot,
    demo_training,
)
from sparse_engine.cli import main as cli  # noqa: E402

OPTIONS = ["demo", "--quick", "--threads", "1", "--seed", "3"]


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    """The command as a user runs it, in a directory of its own; one run for all tests."""
    directory = tmp_path_factory.mktemp("text")
    process = subprocess.run(
        [sys.executable, "-c", "import sys; from sparse_engine.cli.main import main; sys.exit(main(sys.argv[1:]))", *OPTIONS],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=directory,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return directory, process


@pytest.fixture(scope="module")
def json_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "a plot.png"
    out, err = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            assert cli.main([*OPTIONS, "--json", "--output", str(path)]) == 0
    finally:
        torch.set_num_threads(threads)
        engine.runtime.set_num_threads(0)
    assert torch.equal(torch.get_rng_state(), state)
    return path, json.loads(out.getvalue()), err.getvalue()


def table_of(text):
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("----"))
    rows = lines[rule + 1 : lines.index("", rule)]
    return lines[rule - 1].split(), [row.replace(" M ", "M ").split() for row in rows]


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


def result(**changes):
    steps = [
        demo.Step(0.5, 0.9, 0.97, 0.975, 500, 5_000_000, 0.010, 0.009, 0.005),
        demo.Step(0.9, 0.1, 0.95, 0.965, 100, 1_000_000, 0.010, 0.004, 0.002),
    ]
    values = {"settings": demo.Settings(), "config": engine.runtime.show_config(), "dense_accuracy": 0.98, "parameters": 1000}
    values |= {"macs": 10_000_000, "steps": tuple(steps), "seconds": 1.0}
    return demo.Result(**{**values, **changes})


def test_the_last_line_is_the_path_of_the_plot_in_the_current_directory(text_run):
    directory, process = text_run
    last = process.stdout.splitlines()[-1]
    assert last == str((directory / "sparse-engine-demo.png").resolve())
    assert png_size(directory / "sparse-engine-demo.png") == (1650, 780)


def test_the_plot_can_be_read_and_is_not_blank(json_run):
    path, _, _ = json_run
    pixels = image.imread(path)
    assert pixels.shape == (780, 1650, 4)
    assert len({tuple(p) for p in pixels[::4, ::4].reshape(-1, 4)}) > 20
    left, right = pixels[:, :825], pixels[:, 825:]
    assert (left < 0.9).any()
    assert (right < 0.9).any()


def test_the_table_goes_from_dense_to_sparse(text_run):
    head, rows = table_of(text_run[1].stdout)
    assert head[:4] == ["sparsity", "pruned", "fine-tuned", "iterative"]
    assert [row[0] for row in rows] == ["0%", "50%", "90%"]
    parameters = [int(row[4].replace(",", "")) for row in rows]
    assert parameters == sorted(parameters, reverse=True)
    assert all(len(row) == len(rows[0]) for row in rows)


def test_progress_goes_to_standard_error_and_json_alone_to_standard_output(text_run, json_run):
    assert "100%" in text_run[1].stderr
    assert "Traceback" not in text_run[1].stderr
    assert "100%" in json_run[2]
    assert "\r" not in json_run[2]


def test_the_json_holds_the_whole_result(json_run):
    path, found, _ = json_run
    assert set(found) == {"settings", "config", "dense_accuracy", "parameters", "macs", "steps", "seconds", "plot"}
    assert found["plot"] == str(path.resolve())
    assert found["config"]["num_threads"] == 1
    assert found["settings"]["seed"] == 3
    assert found["settings"]["sparsities"] == [step["sparsity"] for step in found["steps"]] == [0.5, 0.9]
    for step in found["steps"]:
        assert all(0 <= step[f"{way}_accuracy"] <= 1 for way in ("pruned", "fine_tuned", "iterative"))
        assert step["dense_seconds"] > 0
        assert step["speed_up"] == pytest.approx(step["dense_seconds"] / step["sparse_seconds"])
        assert step["compiled_speed_up"] == pytest.approx(step["dense_seconds"] / step["compiled_seconds"])


def test_counts_are_those_of_the_sparsity(json_run):
    _, found, _ = json_run
    network = demo_training.build_network(3)
    sizes = [layer.weight.numel() for layer in network if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    for step in found["steps"]:
        removed = sum(round(step["sparsity"] * size) for size in sizes)
        assert found["parameters"] - step["nonzeros"] >= removed
        assert found["parameters"] - step["nonzeros"] <= removed + 32  # a bias or a shift may be 0 by itself
        assert step["nonzero_macs"] == pytest.approx((1 - step["sparsity"]) * found["macs"], rel=0.01)


def test_accuracies_depend_on_the_seed_alone(text_run, json_run):
    _, rows = table_of(text_run[1].stdout)
    expected = [
        [f"{step[f'{way}_accuracy']:.1%}" for way in ("pruned", "fine_tuned", "iterative")] for step in json_run[1]["steps"]
    ]
    assert [row[1:4] for row in rows[1:]] == expected


def test_a_plot_that_cannot_be_written_ends_with_code_one_and_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", lambda settings: result())

    def refuse(found, path):
        raise OSError("no space left")

    monkeypatch.setattr(demo_plot, "plot", refuse)
    assert cli.main(["demo", "--output", str(tmp_path / "a.png")]) == 1
    captured = capsys.readouterr()
    assert "speed-up" in captured.out
    assert captured.err == "sparse-engine: cannot write the plot: no space left; choose another place with --output\n"


def test_the_text_says_what_can_be_told_apart():
    text = demo.text(result())
    assert "1,000 test images do not tell apart accuracies less than 1.3 points apart" in text
    assert "2.50×" in text
    head, rows = table_of(text)
    assert head[-6:] == ["sparse", "ms", "speed-up", "compiled", "ms", "speed-up"]
    assert rows[-1][-4:] == ["4.00", "2.50×", "2.00", "5.00×"]
    assert max(map(len, text.splitlines())) <= 120
