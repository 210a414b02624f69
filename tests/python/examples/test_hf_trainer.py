import importlib.util
import shutil

import pytest

from examples.training import run

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "accelerate")),
    reason="transformers and accelerate are not installed",
)


def test_a_callback_prunes_a_transformer_and_a_trainer_that_resumes_goes_on_under_the_same_masks(tmp_path):
    arguments = ("hf_trainer.py", "--epochs", 3, "--sentences", 256, "--output", tmp_path)
    _, kept = run(*arguments)
    assert kept == 20
    states = {step: torch.load(tmp_path / f"checkpoint-{step}" / "pruner.pt", weights_only=True) for step in (4, 12)}
    for step in (8, 12):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    run(*arguments, "--resume")
    again = torch.load(tmp_path / "checkpoint-12" / "pruner.pt", weights_only=True)
    assert (states[4]["steps"], again["steps"]) == (4, 12)
    kept_by = [{name: mask.tolist() for name, mask in state["masks"].items()} for state in (states[12], again)]
    assert kept_by[0] == kept_by[1]
