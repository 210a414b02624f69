"""Files that are written whole or not at all."""

import os
import stat

import pytest

from sparse_engine.io import atomic_write
from sparse_engine.io.atomic_write import write_atomically


@pytest.mark.parametrize("content", [b"", b"new", b"x" * 3_000_000])
@pytest.mark.parametrize("existing", [None, b"old and longer than the new one"])
def test_the_content_replaces_what_was_there_and_nothing_else_is_left(tmp_path, content, existing):
    path = tmp_path / "file"
    if existing is not None:
        path.write_bytes(existing)
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "replace", "chmod"])
def test_a_failure_at_any_step_leaves_the_old_file_alone(tmp_path, monkeypatch, fails):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(atomic_write.os, fails, refuse)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_nothing_behind_either(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic_write.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_the_file_or_of_any_new_one(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        write_atomically(path, b"again")
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        assert os.umask(before) == 0o027, "the umask of the process is as it was"


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"")
