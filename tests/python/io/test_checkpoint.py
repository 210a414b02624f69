import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.masking.encoding import stored_bytes

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from torch import nn  # noqa: E402

GUIDE = Path(__file__).parents[3] / "docs/guide.md"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 33), nn.Linear(33, 7))


def pruned(**options):
    return engine.prune(network(), engine.Spec(**({"sparsity": 0.8} | options))).eval()


def blank():
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    return model.eval()


def same(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and bool((a.reshape(-1).view(torch.uint8) == b.reshape(-1).view(torch.uint8)).all())
    )


@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_everything_is_read_back_bit_for_bit(tmp_path, sparsity, dtype):
    model = pruned(sparsity=sparsity).to(dtype)
    with torch.no_grad():
        model[3].bias[0] = float("nan")
        model[4].bias[0] = -0.0
        model[4].weight[model.get_submodule("4").weight != 0] *= 1e-3
    engine.save(model, tmp_path / "m.safetensors")
    read = engine.load(tmp_path / "m.safetensors", blank().to(dtype))
    assert read.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert same(value, read.state_dict()[name]) or not value.numel()
    for name, mask in engine.masks(model).items():
        assert torch.equal(mask, engine.masks(read)[name])


def test_weights_that_stay_may_be_zero_and_masks_come_back_all_the_same(tmp_path):
    model = pruned()
    with torch.no_grad():
        model[3].weight.zero_()
    engine.save(model, tmp_path / "m")
    assert torch.equal(engine.masks(engine.load(tmp_path / "m", blank()))["3.weight"], engine.masks(model)["3.weight"])


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.98])
def test_the_file_is_as_small_as_it_says(tmp_path, sparsity):
    model = nn.Linear(1000, 1000)
    engine.prune(model, engine.Spec(sparsity=sparsity))
    engine.save(model, tmp_path / "m")
    assert 0 <= os.path.getsize(tmp_path / "m") - stored_bytes(model.mask) - 4000 < 1000
    assert stored_bytes(model.mask) < 4e6 * (1 - sparsity) + 125_001


def test_the_guide_tells_the_size_that_files_have(tmp_path):
    told = re.search(r"A 90% pruned weight of 1000×1000 takes ([\d.]+)% .* a 98% one ([\d.]+)%", GUIDE.read_text())
    for sparsity, percent in zip((0.9, 0.98), told.groups(), strict=True):
        layer = engine.prune(nn.Linear(1000, 1000, bias=False), engine.Spec(sparsity=sparsity))
        engine.save(layer, tmp_path / "m")
        assert f"{os.path.getsize(tmp_path / 'm') / 4e6:.1%}" == f"{percent}%"


def test_saving_over_a_file_replaces_it_and_a_failure_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "m"
    first, second = pruned(sparsity=0.5), pruned(sparsity=0.9)
    engine.save(first, path)
    os.chmod(path, 0o640)
    engine.save(engine.load(path, blank()), path)  # over what it was loaded from
    assert torch.equal(engine.load(path, blank())[3].weight, first[3].weight)
    assert os.stat(path).st_mode & 0o777 == 0o640
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        engine.save(second, path)
    assert torch.equal(engine.load(path, blank())[3].weight, first[3].weight)
    assert os.listdir(tmp_path) == ["m"]


def test_shared_weights_are_written_once_and_stay_shared(tmp_path):
    model = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 200))
    model[1].weight = model[0].weight
    engine.prune(model, engine.Spec(sparsity=0.5))
    engine.save(model, tmp_path / "m")
    assert os.path.getsize(tmp_path / "m") < 200 * 200 * 4
    other = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 200))
    other[1].weight = other[0].weight
    engine.load(tmp_path / "m", other)
    assert torch.equal(other[1].weight, model[0].weight)
    assert other[1].mask == model[1].mask


def test_decisions_come_back_and_bad_ones_are_made_anew(tmp_path):
    model = pruned()
    with torch.inference_mode():
        model(torch.randn(2, 3, 8, 8))
    engine.save(model, tmp_path / "m")
    read = engine.load(tmp_path / "m", blank())
    assert engine.nn.decisions(read) == engine.nn.decisions(model)
    with torch.inference_mode():
        torch.testing.assert_close(read(torch.ones(2, 3, 8, 8)), model(torch.ones(2, 3, 8, 8)))
    edit(tmp_path / "m", lambda about: about["decisions"].update({"nowhere": []}))
    with pytest.warns(UserWarning, match="chosen anew"):
        engine.load(tmp_path / "m", blank())


def test_a_model_pruned_otherwise_takes_the_masks_of_the_file(tmp_path):
    model = pruned(include=("3",))
    engine.save(model, tmp_path / "m")
    other = engine.prune(network(), engine.Spec(sparsity=0.3, scope="global"))
    engine.load(tmp_path / "m", other)
    assert list(engine.masks(other)) == ["3.weight"]
    assert type(other[0]) is nn.Conv2d


def edit(path, change):
    """Rewrite the metadata of a file."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["sparse_engine"])
    change(about)
    header["__metadata__"]["sparse_engine"] = json.dumps(about)
    fresh = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(fresh)) + fresh + content[8 + size :])


HOSTILE = {
    "version": lambda about: about.update(version=99),
    "not a mapping": lambda about: about.update(sparse=[]),
    "entry": lambda about: about["sparse"].update({"3.weight": 5}),
    "shape": lambda about: about["sparse"]["3.weight"].update(shape=[33, -1]),
    "huge": lambda about: about["sparse"]["3.weight"].update(shape=[1 << 40, 1 << 40]),
    "float": lambda about: about["sparse"]["3.weight"].update(shape=[33.0, 288]),
    "turned": lambda about: about["sparse"]["3.weight"].update(shape=[288, 33]),
    "encoding": lambda about: about["sparse"]["3.weight"].update(encoding="pickle"),
    "other encoding": lambda about: about["sparse"]["3.weight"].update(encoding="csr"),
    "missing": lambda about: about["sparse"].pop("3.weight"),
    "unknown": lambda about: about["sparse"].update({"9.weight": {"shape": [1], "encoding": "bitmask"}}),
    "alias": lambda about: about["aliases"].update({"3.weight": "nowhere"}),
    "alias type": lambda about: about["aliases"].update({"3.weight": 4}),
    "masked": lambda about: about["masked"].append("nowhere"),
    "masked type": lambda about: about["masked"].append([1]),
    "masked bias": lambda about: about["masked"].append("3.bias"),
    "masked norm": lambda about: about["masked"].append("1.weight"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_is_refused_and_the_model_stays_as_it_was(tmp_path, name):
    path = tmp_path / "m"
    engine.save(pruned(), path)
    edit(path, HOSTILE[name])
    model = network()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"metadata|version|file|shape|mask|bits|architecture|pruned"):
        engine.load(path, model)
    assert all(same(v, model.state_dict()[n]) for n, v in before.items() if v.numel())
    assert not engine.masks(model)


@pytest.mark.parametrize("sparsity", [0.8, 0.99])
def test_no_damaged_file_does_more_than_raise_an_error(tmp_path, rng, sparsity):
    path = tmp_path / "m"
    engine.save(pruned(sparsity=sparsity), path)
    content = path.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for trial in range(300):
        damaged = bytearray(content)
        if trial % 3 == 0:
            damaged = damaged[: int(rng.integers(len(damaged)))]
        else:
            first, last = (0, header) if trial % 3 == 1 else (header, len(damaged))
            for _ in range(int(rng.integers(1, 6))):
                damaged[int(rng.integers(first, last))] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        model = network()
        try:
            engine.load(path, model)
        except (ValueError, TypeError, MemoryError):
            assert not engine.masks(model)
        else:
            for name, mask in engine.masks(model).items():
                assert not model.state_dict()[name][~mask].any()


def test_files_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(ValueError, match="no sparse_engine metadata"):
        engine.load(tmp_path / "plain", network())
    torch.save(network().state_dict(), tmp_path / "pickle")
    with pytest.raises(ValueError, match=r"no file of engine\.save"):
        engine.load(tmp_path / "pickle", network())
    with pytest.raises(OSError, match="nowhere"):
        engine.load(tmp_path / "nowhere", network())
    engine.save(pruned(), tmp_path / "m")
    with pytest.raises(ValueError, match="another architecture"):
        engine.load(tmp_path / "m", nn.Sequential(*network(), nn.Linear(3, 3)))


def test_columns_out_of_order_are_refused(tmp_path):
    path = tmp_path / "m"
    model = nn.Linear(400, 50)
    engine.prune(model, engine.Spec(sparsity=0.98))
    engine.save(model, path)
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert "weight:columns" in tensors
    for change in ("swap", "beyond", "counts", "more"):
        broken = {n: t.clone() for n, t in tensors.items()}
        columns = broken["weight:columns"].numpy().astype(np.int64)
        if change == "swap":
            columns[:2] = columns[1::-1]
        elif change == "beyond":
            columns[3] = 400
        elif change == "counts":
            broken["weight:counts"] = broken["weight:counts"][:-1].clone()
        else:
            columns = np.append(columns, 3)
        broken["weight:columns"] = torch.from_numpy(columns.astype(np.uint16))
        save_file(broken, path, metadata)
        with pytest.raises(ValueError, match="weight"):
            engine.load(path, nn.Linear(400, 50))
