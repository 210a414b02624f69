import importlib.util
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
EXAMPLE = ROOT / "examples" / "resnet20_cifar10.py"

pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not here")


@pytest.fixture(scope="module")
def example():
    specification = importlib.util.spec_from_file_location("resnet20_cifar10", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_network_is_resnet20_without_weights_in_its_shortcuts(example):
    network = importlib.import_module("cifar10").ResNet20().eval()  # the example put its folder on the path
    assert sum(p.numel() for p in network.parameters()) == 269_722
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        block = network.layer2[0]
        block.bn2.weight.zero_()
        x = torch.rand(1, 16, 8, 8)
        shortcut = block(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].count_nonzero() == shortcut[:, 24:].count_nonzero() == 0


def test_a_missing_data_folder_is_named(example, tmp_path, capsys):
    assert example.main(["--data", str(tmp_path), "--quick"]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'resnet20_cifar10.npz'} does not exist" in error
    assert "--data" in error


@pytest.mark.skipif(
    not all((DATA / name).is_file() for name in ("resnet20_cifar10.npz", "cifar10_jpeg.npz")), reason="the data is not here"
)
def test_quick_reports_accuracy_before_and_after_mending(example, tmp_path, capsys):
    path = tmp_path / "docs" / "table.md"
    assert example.main(["--data", str(DATA), "--quick", "--output", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "`python examples/resnet20_cifar10.py --quick`" in text
    assert "256 test images" in text
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if re.match(r"\| \d+% ", line)]
    assert [row[0] for row in rows] == ["0%", "50%", "90%"]
    dense, half, tenth = rows
    assert float(dense[3].rstrip("%")) > 80
    assert dense[4] == "–"
    assert float(half[4].rstrip("%")) > 80
    assert float(tenth[4].rstrip("%")) > float(tenth[3].rstrip("%")) + 10
    assert all(float(row[column]) > 0 for row in rows for column in (5, 8))
