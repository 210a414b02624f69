"""The demo's picture, for any result there can be."""

import struct

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")
pytest.importorskip("matplotlib")

import sparse_engine as engine  # noqa: E402
from sparse_engine.cli import demo, demo_plot  # noqa: E402


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


def result(**changes):
    steps = [demo.Step(0.5, 0.9, 0.97, 0.975, 500, 5_000_000, 0.010, 0.009, 0.005)]
    values = {"settings": demo.Settings(), "config": engine.runtime.show_config(), "dense_accuracy": 0.98, "parameters": 1000}
    values |= {"macs": 10_000_000, "steps": tuple(steps), "seconds": 1.0}
    return demo.Result(**{**values, **changes})


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_any_result_can_be_plotted(accuracy, tmp_path):
    step = demo.Step(0.5, accuracy, accuracy, accuracy, 0, 0, 1e-3, 1e-3, 1e-3)
    demo_plot.plot(result(dense_accuracy=accuracy, steps=(step,)), tmp_path / "a.png")
    assert png_size(tmp_path / "a.png") == (1650, 780)


def test_the_scale_of_accuracies_is_that_of_errors_and_back():
    for percent in (0.0, 10.0, 50.0, 99.0, 99.9):
        assert demo_plot._accuracy_at(demo_plot._log_error(percent)) == pytest.approx(percent)
    # Ten times fewer errors are one step up, and no errors are drawn at all.
    assert demo_plot._log_error(99) - demo_plot._log_error(90) == pytest.approx(1)
    assert demo_plot._percent(1.0) == 99.95
    assert demo_plot._percent(0.5) == 50.0


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        demo_plot.plot(result(), tmp_path / "nowhere" / "a.png")
