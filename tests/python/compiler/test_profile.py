import csv
import io
import json

from sparse_engine.compiler.profile import profile_of

NODES = [{"name": "conv1", "operation": "conv2d"}, {"name": "", "operation": "mean"}]


def rounds():
    return [[(0, "planes, csr", 4, seconds, 1000, 4000), (1, "mean", 1, 1e-6, 0, 100)] for seconds in (3e-6, 1e-6, 2e-6)]


def test_medians_count_and_images_on_several_threads_run_at_once():
    conv, mean = profile_of(rounds(), NODES, threads=2).nodes
    assert (conv.milliseconds, conv.multiply_adds, conv.megabytes) == (1e-3, 4000, 0.016)
    assert abs(conv.gflops - 8) < 1e-9
    assert (mean.milliseconds, mean.gflops) == (1e-3, 0)


def test_every_form_holds_every_node():
    profile = profile_of(rounds(), NODES, threads=2)
    assert [row["kernel"] for row in csv.DictReader(io.StringIO(profile.to_csv()))] == ["planes, csr", "mean"]
    assert [row["name"] for row in json.loads(profile.to_json())] == ["conv1", ""]
    assert "conv1: conv2d (planes, csr)" in str(profile)
    assert str(profile).splitlines()[-1].split() == ["0.002", "in", "all"]
