"""The scripts of examples/lecture, each run as a reader would with --quick."""

import gzip
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("matplotlib")
pytest.importorskip("mlxtend")

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
SCRIPTS = ROOT / "examples" / "lecture"

pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the examples are not here")
needs_digits = pytest.mark.skipif(not (DATA / "mnist10k.npz").is_file(), reason="the digits are not here")
needs_cifar = pytest.mark.skipif(
    not all((DATA / name).is_file() for name in ("resnet20_cifar10.npz", "cifar10_jpeg.npz")), reason="the images are not here"
)


@pytest.fixture
def script(monkeypatch):
    """A function from a script's name to its module; none stays imported."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


def quick(module, folder, *arguments):
    """The page that a quick run writes, and the cells of its tables by the first one."""
    page = folder / "lecture.md"
    assert module.main(["--quick", "--output", str(page), *arguments]) == 0
    text = page.read_text(encoding="utf-8")
    assert f"`python examples/lecture/{Path(module.__file__).name} --quick`" in text
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return text, {row[0]: row[1:] for row in rows}


def number(cell):
    return float(re.sub(r"[^0-9.+-]", "", cell))


def test_every_script_says_what_it_does(script, capsys):
    for path in SCRIPTS.glob("*.py"):
        module = script(path.stem)
        if hasattr(module, "main"):
            with pytest.raises(SystemExit) as stopped:
                module.main(["--help"])
            assert stopped.value.code == 0
            assert f"python examples/lecture/{path.name}" in capsys.readouterr().out


def test_the_networks_have_the_published_numbers_of_parameters(script):
    networks = script("networks")
    sizes = {"AlexNet": 60_965_224, "VGG16": 138_357_544, "GoogLeNet": 6_998_552}
    sizes |= {"ResNet50": 25_557_032, "SqueezeNet": 1_248_424}
    with torch.device("meta"):
        for name, size in sizes.items():
            assert sum(p.numel() for p in getattr(networks, name)().parameters()) == size


def test_published_densities_come_out_at_the_published_totals(script):
    table = script("table")
    with torch.device("meta"):
        for variant in table.VARIANTS[:5]:
            model = table.NETWORKS[variant.network]()
            sizes, shares = table.weights_of(model), variant.spec(model).sparsity
            left = sum((1 - shares[name]) * size for name, size in sizes.items())
            others = sum(p.numel() for p in model.parameters()) - sum(sizes.values())
            assert left + others == pytest.approx(1e6 * table.LECTURE[variant.network].after, rel=0.01)


def test_percentages_move_no_further_than_their_rounding(script):
    published = script("published")
    shares = published.removed_to_total({"a": (10,), "b": (50,)}, {"a": 1000, "b": 1000}, 595)
    assert shares == pytest.approx({"a": 0.9025, "b": 0.5025})
    with pytest.raises(ValueError, match="not what the printed percentages round to"):
        published.removed_to_total({"a": (10,), "b": (50,)}, {"a": 1000, "b": 1000}, 580)


def test_the_table_counts_what_han_printed(script, tmp_path):
    _, rows = quick(script("table"), tmp_path)
    assert number(rows["SqueezeNet"][0]) > 0
    assert [round(number(rows["LeNet-300-100"][column])) for column in (1, 2)] == [8, 8]
    assert [round(number(rows["LeNet-5"][column])) for column in (1, 2)] == [18, 16]


def test_a_section_replaces_its_own_and_leaves_the_others(script, tmp_path):
    sections = script("sections")
    options = sections.parser("", "").parse_args(["--output", str(tmp_path / "page.md")])
    for name, line in (("one", "first"), ("two", "second"), ("one", "third")):
        sections.write_section(options, name, name.title(), [line])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.startswith(sections.HEAD)
    written = text.removeprefix(sections.HEAD).splitlines()
    assert [line for line in written if line and not line.startswith("<!--")] == ["## One", "third", "## Two", "second"]


def write_idx(path, array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(header + array.tobytes())


def test_mnist_is_read_from_its_published_files(script, tmp_path):
    mnist = script("mnist")
    assert "holds neither mnist10k.npz nor" in mnist.missing_file(tmp_path)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 28, 28), np.uint8), rng.integers(0, 10, 5, np.uint8)
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    assert mnist.missing_file(tmp_path) is None
    digits = mnist.load_mnist(tmp_path)
    assert torch.allclose(digits.test_images[:, 0] * mnist.DEVIATION + mnist.MEAN, torch.from_numpy(images) / 255)
    assert digits.train_labels.tolist() == labels.tolist()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x09abc")
    with pytest.raises(ValueError, match=r"has 3 elements; its header says \(9,\)"):
        mnist.load_mnist(tmp_path)


def test_digits_are_distorted_within_limits_and_each_in_its_own_way(script):
    mnist = script("mnist")
    black, white = -mnist.MEAN / mnist.DEVIATION, 1.0
    images = torch.full((300, 1, 28, 28), black)
    images[:, :, 14, 20] = white  # seven pixels right of the centre
    distorted = mnist.distorted(images, torch.Generator().manual_seed(0))
    again = mnist.distorted(images, torch.Generator().manual_seed(0))
    assert torch.equal(distorted, again)
    light = (distorted[:, 0] - black).clamp(min=0)
    rows, cols = torch.arange(28.0)[:, None], torch.arange(28.0)
    down, right = [(light * axis).sum((1, 2)) / light.sum((1, 2)) for axis in (rows, cols)]
    assert (distorted >= black - 1e-5).all()
    # A shift of 2, and of 6.5 pixels at most 12% by stretching and 0.15 + sin 12 degrees by shear and turning; a pixel spreads.
    assert (right - 20).abs().max() < 2 + 0.12 * 6.5 + 1
    assert (down - 14).abs().max() < 2 + (0.15 + 0.21) * 6.5 + 1
    assert right.std() > 0.5
    assert down.std() > 0.5


@pytest.mark.parametrize("name", ["lenets", "curves", "resnet20", "granularities", "criteria", "channels"])
def test_missing_data_is_named(script, tmp_path, capsys, name):
    assert script(name).main(["--data", str(tmp_path), "--quick"]) == 1
    assert re.search(r"(does not exist|holds neither).* --data", capsys.readouterr().err)


@needs_digits
def test_lenets_keep_a_twelfth_of_their_parameters(script, tmp_path):
    _, rows = quick(script("lenets"), tmp_path, "--data", str(DATA))
    assert [rows[name][4] for name in ("LeNet-300-100", "LeNet-5")] == ["22,216", "35,923"]


@needs_digits
def test_the_curves_and_the_histograms_are_drawn(script, tmp_path):
    text, _ = quick(script("curves"), tmp_path, "--data", str(DATA))
    losses = re.findall(r"\| 98% \| ([\d.]+)% \| [\d.]+% \| ([\d.]+)%", text)
    assert len(losses) == 2
    assert all(float(pruned) < float(iterative) for pruned, iterative in losses)
    for name in re.findall(r"\(lecture/(\w+\.png)\)", text):
        assert (tmp_path / "lecture" / name).stat().st_size > 10_000


@needs_cifar
def test_resnet20_goes_on_where_it_was_interrupted(script, tmp_path, monkeypatch):
    resnet20 = script("resnet20")
    network = resnet20.load_network(DATA)
    pixels, labels = torch.randint(0, 256, (256, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (256,))
    taught = resnet20.teach(network, pixels, tmp_path)
    monkeypatch.setattr(resnet20, "CHECKPOINT", 3)
    given = ("x", resnet20.SPECS["single weights, 80%"], network, pixels, labels, taught, 1, tmp_path)
    whole = resnet20.retrain(*given)
    (tmp_path / "resnet20_x_1.pt").unlink()

    def stop(outputs, labels, taught, count=[]):  # noqa: B006
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return loss_of(outputs, labels, taught)

    loss_of = resnet20.loss_of
    monkeypatch.setattr(resnet20, "loss_of", stop)
    with pytest.raises(KeyboardInterrupt):
        resnet20.retrain(*given)
    monkeypatch.setattr(resnet20, "loss_of", loss_of)
    resumed = resnet20.retrain(*given)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert sum(int(mask.sum()) for mask in engine.masks(whole).values()) == round(0.2 * 268_336)


def test_what_is_measured_is_kept_and_not_measured_again(script, tmp_path):
    remember = script("sections").remember
    assert remember(tmp_path / "kept.json", "a", lambda: 1) == 1
    assert remember(tmp_path / "kept.json", "b", lambda: 2) == 2
    assert remember(tmp_path / "kept.json", "a", lambda: 3) == 1


@needs_cifar
def test_granularities_have_an_accuracy_and_a_time_each(script, tmp_path):
    _, rows = quick(script("granularities"), tmp_path, "--data", str(DATA))
    assert number(rows["element"][0]) > number(rows["filter"][0])
    assert all(number(rows[name][1]) > 0 for name in ("element", "4x1", "vector", "kernel", "filter", "2:4"))


@needs_cifar
def test_criteria_beat_chance(script, tmp_path):
    text, _ = quick(script("criteria"), tmp_path, "--data", str(DATA))
    tables = text.split("| whole filters, masked")
    for table in tables:
        found = dict(re.findall(r"^\| (\w+) \| ([\d.]+)%", table, re.MULTILINE))
        assert max(found, key=lambda name: float(found[name])) != "random"
        assert float(found["l1"]) > float(found["random"])


@needs_cifar
def test_channels_go_within_the_budget_either_way(script, tmp_path):
    _, rows = quick(script("channels"), tmp_path, "--data", str(DATA))
    for way in ("the same share of every layer", "ranked over the whole network", "allocated by sensitivity"):
        assert 19.5 < number(rows[way][1]) <= 20.28


def test_the_language_model_loses_without_retraining(script, tmp_path):
    _, rows = quick(script("language_model"), tmp_path)
    assert number(rows["90%"][0]) > number(rows["90%"][1]) > 0


def test_neuraltalk_times_and_verifies_every_part(script, tmp_path):
    _, rows = quick(script("neuraltalk"), tmp_path)
    assert number(rows["LSTM and Wd, one word"][1]) > 0
