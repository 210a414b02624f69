import csv
import json
from html.parser import HTMLParser

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Page(HTMLParser):
    """Counts elements, and remembers whatever would be fetched."""

    def __init__(self):
        super().__init__()
        self.elements, self.fetched, self.text = {}, [], []

    def handle_starttag(self, tag, attrs):
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.fetched += [value for name, value in attrs if name in ("src", "href") or "url(" in (value or "")]

    def handle_data(self, data):
        self.text.append(data)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40 * 36, 12))


def test_a_page_shows_every_layer_and_fetches_nothing(tmp_path):
    model, x = network(), torch.randn(2, 3, 8, 8)
    before = engine.report(model)
    engine.prune(model, engine.Spec(sparsity=0.9))
    engine.report(model, example_inputs=x).to_html(tmp_path / "r.html", before=before)
    page = Page()
    page.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.fetched == []
    assert page.elements["polyline"] == 4
    assert page.elements["figure"] == 4
    text = " ".join(page.text)
    assert all(word in text for word in ("before", "now", "SparseConv2d", "40×3×3×3", "10.0%"))
    assert "script" not in page.elements


def test_histograms_and_maps_are_of_the_weights_that_are_left():
    model = engine.prune(nn.Linear(96, 48), engine.Spec(sparsity=0.75, granularity="row"))
    row = engine.report(model).layers[0]
    assert sum(row.histogram) == row.nonzeros == 12 * 96
    assert row.reach == pytest.approx(float(model.weight.detach().abs().max()))
    densities = torch.tensor(row.density_map)
    assert densities.shape == (24, 24)
    assert float(densities.mean()) == pytest.approx(0.25, abs=1e-3)
    assert torch.equal(densities, densities[:, :1].expand(-1, 24))


def test_names_cannot_write_into_the_page(tmp_path):
    model = nn.ModuleDict({"<img src=x>": nn.Linear(4, 4)})
    engine.report(model).to_html(tmp_path / "r.html")
    page = Page()
    page.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "img" not in page.elements
    assert page.fetched == []


def test_json_and_csv_hold_what_the_table_shows(tmp_path):
    model = engine.prune(network(), engine.Spec(sparsity=0.5))
    found = engine.report(model, example_inputs=torch.randn(1, 3, 8, 8))
    found.to_json(tmp_path / "r.json")
    found.to_csv(tmp_path / "r.csv")
    read = json.loads((tmp_path / "r.json").read_text())
    assert [layer["nonzeros"] for layer in read["layers"]] == [540, 8640]
    assert read["nonzero_macs"] == found.nonzero_macs
    with open(tmp_path / "r.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["shape"] for row in rows] == ["40x3x3x3", "12x1440"]
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_empty_and_broken_weights_have_no_picture():
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    assert engine.report(model).layers[0].histogram == []
    empty = nn.Linear(4, 1)
    empty.weight = nn.Parameter(torch.empty(0, 4))
    assert engine.report(empty).layers[0].density_map == []
    from sparse_engine.analysis.report_html import write_page

    with pytest.raises(ValueError, match="reports is empty"):
        write_page("nowhere", {})
