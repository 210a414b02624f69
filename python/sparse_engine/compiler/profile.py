"""What the nodes of a compiled model take, and how far that is from what the machine could do."""

import csv
import html
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..io.atomic_write import write_atomically
from ..measure.html_page import COLOURS, html_table, page
from ..measure.reach import Reach

BAR = 160  # pixels of the widest


@dataclass(frozen=True)
class NodeTime:
    """One node of a profile.

    Attributes:
        name: its module; operation: what it computes; kernel: how.
        milliseconds: median over the rounds. Where images run one by one on each thread, their sum divided by the threads.
        gflops: billions of multiplications and additions with stored weights a second.
        multiply_adds: with stored weights, of the whole batch.
        megabytes: values and stored weights read and written.
        limit_share: the time that the machine needs at least, for the multiply-adds or for the bytes, over the time taken.
    """

    name: str
    operation: str
    kernel: str
    milliseconds: float
    gflops: float
    multiply_adds: int
    megabytes: float
    limit_share: float


@dataclass(frozen=True)
class Profile:
    """Nodes in the order they run.

    Attributes:
        nodes: those that take time.
        threads: of the call.
        reach: what the machine was measured to reach just before: the limit that `limit_share` is of.
        model: its name.
    """

    nodes: tuple[NodeTime, ...]
    threads: int
    reach: Reach
    model: str = "model"

    @property
    def milliseconds(self) -> float:
        """All of them."""
        return sum(node.milliseconds for node in self.nodes)

    @property
    def limit_share(self) -> float:
        """The least time of all nodes over the time they took."""
        return sum(node.limit_share * node.milliseconds for node in self.nodes) / (self.milliseconds or 1.0)

    def to_json(self, path: "str | os.PathLike[str] | None" = None) -> str:
        """A list with a mapping for each node; also into the file at `path`, whole or not at all."""
        return _written(json.dumps([asdict(node) for node in self.nodes], indent=1), path)

    def to_csv(self, path: "str | os.PathLike[str] | None" = None) -> str:
        """A line for each node, under a line of names; also into the file at `path`, whole or not at all."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(NodeTime.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(node) for node in self.nodes)
        return _written(out.getvalue(), path)

    def to_html(self, path: "str | os.PathLike[str]") -> None:
        """One self-contained page: a bar for each node and a table.

        Raises:
            OSError: the file cannot be written; what was there before is unharmed.
        """
        parts = [
            f"<p>{html.escape(self._summary())}</p>",
            f"<p>{html.escape(self._limit())}</p>",
            "<h2>Time of each node, in the order they run; dark: what the machine needs at least</h2>",
            self._bars(),
            "<h2>Nodes</h2>",
            html_table(
                ["node", "operation", "kernel", "ms", "share of time", "GFLOP/s", "MB moved", "share of the limit"],
                [
                    [
                        node.name or "(model)",
                        node.operation,
                        node.kernel,
                        f"{node.milliseconds:.3f}",
                        f"{node.milliseconds / (self.milliseconds or 1.0):.1%}",
                        f"{node.gflops:.1f}" if node.multiply_adds else "",
                        f"{node.megabytes:.2f}",
                        f"{node.limit_share:.0%}",
                    ]
                    for node in self.nodes
                ],
            ),
        ]
        _written(page(f"Profile of {self.model}", parts), path)

    def __str__(self) -> str:
        lines = [f"{'ms':>8} {'share':>6} {'GFLOP/s':>8} {'MB':>7} {'limit':>6}  node"]
        total = self.milliseconds or 1.0
        for node in self.nodes:
            lines.append(
                f"{node.milliseconds:8.3f} {node.milliseconds / total:6.1%} {node.gflops:8.1f} {node.megabytes:7.2f} "
                f"{node.limit_share:6.0%}  {node.name or '-'}: {node.operation} ({node.kernel})"
            )
        return "\n".join([*lines, self._summary(), self._limit()])

    def _summary(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.milliseconds:.3f} ms in all on {threads}, {self.limit_share:.0%} of the limit"

    def _limit(self) -> str:
        rates = ", ".join(f"{rate:.0f} GB/s in {size / 2**20:g} MiB" for size, rate in self.reach.gbytes)
        dense = f"{self.reach.gflops:.0f} GFLOP/s in a dense product"
        return f"The limit is what this machine reached just before: {dense}; {rates}."

    def _bars(self) -> str:
        longest = max((node.milliseconds for node in self.nodes), default=0.0) or 1.0
        drawn = []
        for i, node in enumerate(self.nodes):
            y, width = 18 * i, BAR * node.milliseconds / longest
            name = html.escape(f"{node.name or '(model)'}: {node.operation}")
            drawn.append(f'<text x="255" y="{y + 13}" text-anchor="end" font-size="12">{name}</text>')
            drawn.append(f'<rect x="260" y="{y + 3}" width="{width:.1f}" height="12" fill="{COLOURS[3]}"/>')
            least = width * min(1.0, node.limit_share)
            drawn.append(f'<rect x="260" y="{y + 3}" width="{least:.1f}" height="12" fill="{COLOURS[2]}"/>')
            drawn.append(f'<text x="{265 + width:.1f}" y="{y + 13}" font-size="12">{node.milliseconds:.3f} ms</text>')
        return f'<svg width="520" height="{18 * len(self.nodes)}">{"".join(drawn)}</svg>'


def _written(text: str, path: "str | os.PathLike[str] | None") -> str:
    if path is not None:
        write_atomically(Path(path), text.encode())
    return text


def profile_of(
    rounds: Sequence[Sequence[tuple[Any, ...]]],
    nodes: Sequence[dict[str, Any]],
    threads: int,
    reach: Reach,
    model: str = "model",
) -> Profile:
    """The profile of rows as `_core.Session.profile` gives them, one list a round."""
    found = []
    for steps in zip(*rounds, strict=True):
        number, kernel, runs, _, multiply_adds, nbytes = steps[0]
        shared = min(threads, runs) if runs > 1 else 1
        seconds = median(step[3] for step in steps) / shared
        least = reach.seconds(2 * multiply_adds * runs, nbytes * runs, nbytes * shared)
        found.append(
            NodeTime(
                nodes[number]["name"],
                nodes[number]["operation"],
                kernel,
                seconds * 1e3,
                2 * multiply_adds * runs / seconds / 1e9 if seconds else 0.0,
                multiply_adds * runs,
                nbytes * runs / 1e6,
                least / seconds if seconds else 0.0,
            )
        )
    return Profile(tuple(found), threads, reach, model)
