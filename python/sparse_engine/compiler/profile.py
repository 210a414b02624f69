"""What the nodes of a compiled model take."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class NodeTime:
    """One node of a profile.

    Attributes:
        name: its module; operation: what it computes; kernel: how.
        milliseconds: median over the rounds. Where images run one by one on each thread, their sum divided by the threads.
        gflops: billions of multiplications and additions with stored weights a second.
        multiply_adds: with stored weights, of the whole batch.
        megabytes: values and stored weights read and written.
    """

    name: str
    operation: str
    kernel: str
    milliseconds: float
    gflops: float
    multiply_adds: int
    megabytes: float


@dataclass(frozen=True)
class Profile:
    """Nodes in the order they run."""

    nodes: tuple[NodeTime, ...]

    @property
    def milliseconds(self) -> float:
        """All of them."""
        return sum(node.milliseconds for node in self.nodes)

    def to_json(self) -> str:
        """A list with a mapping for each node."""
        return json.dumps([asdict(node) for node in self.nodes], indent=1)

    def to_csv(self) -> str:
        """A line for each node, under a line of names."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(NodeTime.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(node) for node in self.nodes)
        return out.getvalue()

    def __str__(self) -> str:
        lines = [f"{'ms':>8} {'share':>6} {'GFLOP/s':>8} {'MB':>7}  node"]
        total = self.milliseconds or 1.0
        for node in self.nodes:
            lines.append(
                f"{node.milliseconds:8.3f} {node.milliseconds / total:6.1%} {node.gflops:8.1f} {node.megabytes:7.2f}  "
                f"{node.name or '-'}: {node.operation} ({node.kernel})"
            )
        return "\n".join([*lines, f"{self.milliseconds:8.3f} in all"])


def profile_of(rounds: Sequence[Sequence[tuple[Any, ...]]], nodes: Sequence[dict[str, Any]], threads: int) -> Profile:
    """The profile of rows as `_core.Session.profile` gives them, one list a round."""
    found = []
    for steps in zip(*rounds, strict=True):
        number, kernel, runs, _, multiply_adds, nbytes = steps[0]
        shared = min(threads, runs) if runs > 1 else 1
        seconds = median(step[3] for step in steps) / shared
        found.append(
            NodeTime(
                nodes[number]["name"],
                nodes[number]["operation"],
                kernel,
                seconds * 1e3,
                2 * multiply_adds * runs / seconds / 1e9 if seconds else 0.0,
                multiply_adds * runs,
                nbytes * runs / 1e6,
            )
        )
    return Profile(tuple(found))
