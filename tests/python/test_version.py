"""The version is that of the installed package, or says that there is none."""

import importlib
import importlib.metadata

import pytest

from sparse_engine import version


@pytest.fixture
def reloaded(monkeypatch):
    def under(find):
        with monkeypatch.context() as patched:
            patched.setattr(importlib.metadata, "version", find)
            return importlib.reload(version).__version__

    yield under
    importlib.reload(version)


def test_the_version_is_that_of_the_distribution(reloaded):
    assert reloaded(lambda name: f"1.2.3 of {name}") == "1.2.3 of sparse-engine"


def test_a_source_tree_has_no_version(reloaded):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert reloaded(missing) == "0+unknown"
