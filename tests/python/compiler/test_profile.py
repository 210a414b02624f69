import csv
import io
import json
from html.parser import HTMLParser

import pytest

from sparse_engine.compiler.profile import profile_of
from sparse_engine.measure.reach import Reach

NODES = [{"name": "conv1", "operation": "conv2d"}, {"name": "", "operation": "mean"}]
REACH = Reach(16.0, ((10_000, 0.5),))


def rounds():
    return [[(0, "planes, csr", 4, seconds, 1000, 4000), (1, "mean", 1, 1e-6, 0, 100)] for seconds in (3e-6, 1e-6, 2e-6)]


def profile():
    return profile_of(rounds(), NODES, 2, REACH, "Net")


def test_medians_count_and_images_on_several_threads_run_at_once():
    conv, mean = profile().nodes
    assert (conv.milliseconds, conv.multiply_adds, conv.megabytes) == (1e-3, 4000, 0.016)
    assert abs(conv.gflops - 8) < 1e-9
    assert (mean.milliseconds, mean.gflops) == (1e-3, 0)


def test_the_share_of_the_limit_is_that_of_arithmetic_or_of_memory():
    conv, mean = profile_of(rounds(), NODES, 2, Reach(16.0, ((10_000, 100.0),))).nodes
    assert conv.limit_share == pytest.approx(0.5)  # 8 of 16 GFLOP/s; its bytes need 0.16 of the time
    assert mean.limit_share == pytest.approx(0.001)
    conv, mean = profile().nodes
    assert conv.limit_share == pytest.approx(32)  # 16 KB at 0.5 GB/s in a microsecond: a machine that was busy when measured
    assert mean.limit_share == pytest.approx(0.2)
    assert profile().limit_share == pytest.approx(16.1)


def test_every_form_holds_every_node():
    assert [row["kernel"] for row in csv.DictReader(io.StringIO(profile().to_csv()))] == ["planes, csr", "mean"]
    assert [row["name"] for row in json.loads(profile().to_json())] == ["conv1", ""]
    assert "conv1: conv2d (planes, csr)" in str(profile())
    assert "0.002 ms in all on 2 threads" in str(profile())


def test_files_hold_what_is_returned_and_an_old_one_survives_a_failure(tmp_path, monkeypatch):
    for form in ("json", "csv"):
        text = getattr(profile(), f"to_{form}")(tmp_path / f"p.{form}")
        assert (tmp_path / f"p.{form}").read_text(encoding="utf-8") == text
    path = tmp_path / "p.html"
    profile().to_html(path)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        profile().to_html(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv", "p.html", "p.json"]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.elements, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_every_node_with_units_and_fetches_nothing(tmp_path):
    nodes = [{"name": "<img src=x>", "operation": "conv2d"}, NODES[1]]
    profile_of(rounds(), nodes, 2, REACH, "Net").to_html(tmp_path / "p.html")
    page = Page()
    page.feed((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert page.fetched == []
    assert not {"script", "img"} & set(page.elements)
    assert page.elements.count("rect") == 4
    assert {"Profile of Net", "<img src=x>", "planes, csr", "3200%"} <= set(page.text)
    assert {"ms", "GFLOP/s", "MB moved", "share of the limit"} <= set(page.text)
    assert any("16 GFLOP/s in a dense product" in text for text in page.text)
