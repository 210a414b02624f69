"""What a compiled model cannot hold."""

from collections.abc import Sequence
from typing import NamedTuple


class Refused(NamedTuple):
    """One operation that is not covered: its name, the module it stands in, what is the matter, its multiply-adds if known."""

    operation: str
    path: str
    reason: str = ""
    multiply_adds: int = 0


class UnsupportedModel(ValueError):  # noqa: N818 (what is wrong, in the words of the message)
    """A model with operations that are not covered; all of them, with how often, where, and their share of the multiply-adds.

    Attributes:
        refused: every one, in the order they run.
        multiply_adds: of the whole model, refused operations among them; 0 where they are not known.
    """

    def __init__(self, refused: Sequence[Refused], multiply_adds: int = 0) -> None:
        self.refused, self.multiply_adds = list(refused), multiply_adds
        super().__init__(
            f"the model uses what a compiled model does not cover yet: {'; '.join(kinds(refused, multiply_adds))}. "
            'fallback="torch" runs these in torch and the rest compiled; for an ONNX file, fallback="onnxruntime" does so with '
            "every operation. Or run the model in torch: pruned layers stay fast there"
        )


def kinds(refused: Sequence[Refused], multiply_adds: int = 0) -> list[str]:
    """A line for each kind of operation and reason: how often, share of `multiply_adds`, where, why."""
    found: dict[tuple[str, str], list[Refused]] = {}
    for one in refused:
        found.setdefault((one.operation, one.reason), []).append(one)
    lines = []
    for (operation, reason), several in found.items():
        paths = [one.path or "the model itself" for one in several]
        where = ", ".join(dict.fromkeys(paths[:4])) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
        own = sum(one.multiply_adds for one in several)
        share = f"{own / multiply_adds:.1%} of the multiply-adds, " if own and multiply_adds else ""
        lines.append(f"{operation} ({len(several)}×, {share}in {where}){': ' + reason if reason else ''}")
    return lines
