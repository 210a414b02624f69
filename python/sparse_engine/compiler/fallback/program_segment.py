"""A segment that is a compiled program."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ..graph import Graph
from ..lower import lower
from ..passes import PASSES
from .segment import COMPILED, Contents, Segment


class ProgramSegment(Segment):
    """Runs a program; truth values cross its borders as such and are 1 and 0 inside.

    Attributes:
        session: of the program, with a number of threads.
    """

    runtime = COMPILED

    def __init__(
        self,
        contents: Contents,
        program: _core.Program,
        session: _core.Session,
        returned: Sequence["int | NDArray[np.float32]"],
        dtypes: Sequence[str],
    ) -> None:
        """
        Args:
            returned: for each result the number of the program's output, −1 − n for input n, or the constant that it is.
            dtypes: of the results, "float32" or "bool".
        """
        super().__init__(contents)
        self.program, self.session = program, session
        self._returned, self._dtypes = list(returned), list(dtypes)

    @classmethod
    def of(cls, contents: Contents, graph: Graph, dtypes: Sequence[str], threads: int) -> "ProgramSegment":
        """The program of a graph, which is rewritten by all passes."""
        outputs = list(dict.fromkeys(v for v in graph.outputs if v.constant is None and v not in graph.inputs))
        returned: list[int | NDArray[np.float32]] = []
        for value in graph.outputs:
            if value.constant is not None:
                returned.append(value.constant)
            else:
                returned.append(-1 - graph.inputs.index(value) if value in graph.inputs else outputs.index(value))
        graph.outputs = outputs
        for rewrite in PASSES:
            rewrite(graph)
        program = lower(graph, {})
        return cls(contents, program, _core.Session(program, threads), returned, dtypes)

    def enter(self, values: Sequence[Any]) -> list[Any]:
        """Contiguous float32 arrays."""
        found = []
        for value in values:
            array = value if isinstance(value, np.ndarray) else value.detach().numpy()
            found.append(np.require(array.astype(np.float32, copy=False), np.float32, ["C", "A"]))
        return found

    def results(self, batch: int) -> list[NDArray[np.float32]]:
        """Memory for the outputs of the program."""
        return [np.empty([fixed + each * batch for fixed, each in shape], np.float32) for _, shape in self.program.outputs]

    def run(self, batch: int, given: list[Any]) -> list[Any]:
        """Float32 arrays, and arrays of truth values."""
        made = self.results(batch)
        self.session.run(batch, given, made)
        return self.leave(given, made)

    def leave(self, given: Sequence[Any], made: Sequence[Any]) -> list[Any]:
        """What the program made, as others take it."""
        found = []
        for which, dtype in zip(self._returned, self._dtypes, strict=True):
            array = which if isinstance(which, np.ndarray) else made[which] if which >= 0 else given[-1 - which]
            found.append(array != 0 if dtype == "bool" else array)
        return found

    def with_threads(self, threads: int) -> "ProgramSegment":
        """The weights are shared."""
        return ProgramSegment(self.contents, self.program, self.session.with_threads(threads), self._returned, self._dtypes)
