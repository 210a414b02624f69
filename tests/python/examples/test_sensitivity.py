import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
EXAMPLE = ROOT / "examples" / "resnet20_sensitivity.py"

pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not here")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    specification = importlib.util.spec_from_file_location("resnet20_sensitivity", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    yield module
    sys.modules.pop("resnet20_cifar10", None)


def test_a_missing_data_folder_is_named(example, tmp_path, capsys):
    assert example.main(["--data", str(tmp_path), "--quick"]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.skipif(
    not all((DATA / name).is_file() for name in ("resnet20_cifar10.npz", "cifar10_jpeg.npz")), reason="the data is not here"
)
def test_quick_writes_the_table_and_the_plot(example, tmp_path):
    path = tmp_path / "docs" / "scan.md"
    assert example.main(["--data", str(DATA), "--quick", "--output", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert "| the same in every layer | " in text
    assert "| allocated | " in text
    assert "layer3.2.conv2" in text
    assert path.with_suffix(".png").stat().st_size > 10_000
