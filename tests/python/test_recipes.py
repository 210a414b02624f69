"""bench/recipes.py on few digits and few steps: the tables of docs/recipes.md, and what its ways prune."""

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("mlxtend")

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "bench", ROOT / "examples" / "lecture"]

pytestmark = pytest.mark.skipif(not all(f.is_dir() for f in FOLDERS), reason="the benchmarks are not here")


@pytest.fixture
def recipes(monkeypatch):
    """The script; neither its modules nor its number of threads stay."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(folder))
    before, threads, own = set(sys.modules), torch.get_num_threads(), engine.runtime.num_threads()
    yield importlib.import_module("recipes")
    torch.set_num_threads(threads)
    engine.runtime.set_num_threads(own)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(tuple(map(str, FOLDERS))):
            del sys.modules[name]


def test_a_table_goes_into_the_page_and_is_not_measured_twice(recipes, tmp_path, monkeypatch):
    page = tmp_path / "recipes.md"
    page.write_text((ROOT / "docs" / "recipes.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(recipes, "PAGE", page)
    arguments = ["--state", str(tmp_path), "--families", "recurrent", "--quick", "--write"]
    recipes.main(arguments)
    written = page.read_text(encoding="utf-8")
    begin, end = "<!-- recurrent: written by bench/recipes.py, do not edit -->", "<!-- /recurrent -->"
    table = written.partition(begin)[2].partition(end)[0]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines() if line.startswith("| ")}
    family = recipes.FAMILIES["recurrent"]
    assert set(rows) >= {way.name for way in family.ways}
    assert re.search(r"\d+\.\d\d×", rows["– compiled, times as fast as dense" + re.search(r" \(.*? ms\)", table)[0]])
    monkeypatch.setattr(recipes, "pruned", lambda *_: pytest.fail("it is pruned again"))
    recipes.main(arguments)
    assert page.read_text(encoding="utf-8") == written


def test_depthwise_convolutions_stay_dense_unless_the_way_names_them(recipes):
    family = replace(recipes.FAMILIES["mobile"], tune=2)
    data = recipes.Digits(*(x[:64] for x in vars(family.images(None, None)).values()))
    model = family.build(data)
    by_name = {way.name: way for way in family.ways}
    for way, named in (("l1, one shot", False), ("l1, one shot, depthwise and first too", True)):
        masks = engine.masks(recipes.pruned(model, family, by_name[way], 0.9, data))
        assert ("blocks.0.depthwise.0.weight" in masks) is named
        assert ("stem.0.weight" in masks) is named
        assert float(masks["blocks.5.expand.0.weight"].float().mean()) == pytest.approx(0.1, abs=0.01)


def test_of_dense_labels_only_pixels_of_something_count(recipes):
    scores = torch.zeros(1, 11, 1, 4)
    scores[0, 3] = 1  # everything is a 2
    labels = torch.tensor([[[0, 0, 3, 5]]])
    assert recipes.right(torch.nn.Identity(), scores, labels) == 0.5
