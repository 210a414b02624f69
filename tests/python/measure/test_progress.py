"""Progress of a long command, on a terminal and elsewhere."""

import io

from sparse_engine.measure.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line_that_fills():
    stream = Terminal()
    progress = Progress(4, stream)
    for _ in range(4):
        progress.advance("training")
    progress.close()
    shown = stream.getvalue()
    assert shown.count("\r") == 4
    assert shown.endswith(f"[{'#' * 30}] 100%  training\x1b[K\n")


def test_progress_elsewhere_is_a_line_every_tenth():
    stream = io.StringIO()
    progress = Progress(1000, stream)
    for _ in range(1000):
        progress.advance("training")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert [int(line.split("%")[0]) for line in lines] == [*range(0, 101, 10)]


def test_progress_ends_at_its_total_and_writes_nothing_twice():
    stream = Terminal()
    progress = Progress(2, stream)
    progress.advance("a", 5)
    progress.advance("a")
    assert progress.done == 2
    assert stream.getvalue().count("\r") == 1
    progress.advance("b")
    assert stream.getvalue().count("\r") == 2, "another label is news"


def test_nothing_to_do_is_nothing_shown():
    for stream in (Terminal(), io.StringIO()):
        progress = Progress(0, stream)
        progress.close()
        assert stream.getvalue() == ""
        assert progress.total == 1
