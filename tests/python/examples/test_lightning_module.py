import importlib.util

import pytest

from examples.training import run

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")


def test_a_callback_prunes_a_lightning_module_and_goes_on_from_a_checkpoint_under_the_same_masks(tmp_path):
    path, small = tmp_path / "half.ckpt", ("--pruning-epochs", 3, "--points", 2048)
    accuracy, kept = run("lightning_module.py", "--epochs", 4, *small, "--checkpoint", path)
    assert accuracy > 90
    assert kept == 10
    saved = torch.load(path, weights_only=True)
    run("lightning_module.py", "--epochs", 6, *small, "--checkpoint", path)
    resumed = torch.load(path, weights_only=True)
    (before,), (after,) = (list(state["callbacks"].values()) for state in (saved, resumed))
    assert (before["steps"], after["steps"]) == (4 * 32, 6 * 32)
    assert after["pruner"]["steps"] == 6 * 32
    for name in ("layers.0.weight", "layers.2.weight"):
        zero = saved["state_dict"][name] == 0
        assert not resumed["state_dict"][name][zero].any()
        assert not torch.equal(resumed["state_dict"][name], saved["state_dict"][name])
