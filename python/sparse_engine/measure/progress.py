"""How far a long command is, on standard error: a bar on a terminal, a line every tenth elsewhere."""

import sys
import time
from typing import TextIO

BAR_WIDTH = 30


class Progress:
    """Counts steps towards `total` and shows them.

    Args:
        total: number of steps.
        stream: where to write; standard error when None.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = max(total, 1)
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._start = time.perf_counter()
        self._shown = ("", -1)  # label and percent (or tenth) last written: nothing is written twice

    def advance(self, label: str, steps: int = 1) -> None:
        """Go on by `steps`; `label` says what is being done."""
        self.done = min(self.done + steps, self.total)
        percent = 100 * self.done // self.total
        seconds = time.perf_counter() - self._start
        if self._bar:
            filled = BAR_WIDTH * self.done // self.total
            self._write((label, percent), f"\r[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {percent:3d}%  {label}\x1b[K")
        elif self._shown[1] != percent // 10:
            self._write(("", percent // 10), f"{percent:3d}%  {label}  ({seconds:.0f} s)\n")

    def close(self) -> None:
        """Leave the line of the bar."""
        if self._bar and self.done:
            print(file=self._stream)

    def _write(self, shown: tuple[str, int], text: str) -> None:
        if shown != self._shown:
            self._shown = shown
            self._stream.write(text)
            self._stream.flush()
