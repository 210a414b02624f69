import pytest


@pytest.fixture(autouse=True)
def timed_once(monkeypatch):
    """What `compile` measures to be shown is measured once: it makes no difference to what it computes."""
    pytest.importorskip("torch")
    from sparse_engine.compiler import api

    monkeypatch.setattr(api, "SECONDS", 0.0)
