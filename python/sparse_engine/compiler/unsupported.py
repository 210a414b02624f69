"""What a compiled model cannot hold."""

from collections.abc import Sequence
from typing import NamedTuple


class Refused(NamedTuple):
    """One operation that is not covered: its name, the module it stands in, and what is the matter."""

    operation: str
    path: str
    reason: str = ""


class UnsupportedModel(ValueError):  # noqa: N818 (what is wrong, in the words of the message)
    """A model with operations that are not covered; all of them, with how often and where.

    Attributes:
        refused: every one, in the order they run.
    """

    def __init__(self, refused: Sequence[Refused]) -> None:
        self.refused = list(refused)
        kinds: dict[tuple[str, str], list[str]] = {}
        for one in refused:
            kinds.setdefault((one.operation, one.reason), []).append(one.path or "the model itself")
        lines = []
        for (operation, reason), paths in kinds.items():
            where = ", ".join(dict.fromkeys(paths[:4])) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
            lines.append(f"{operation} ({len(paths)}×, in {where}){': ' + reason if reason else ''}")
        super().__init__(
            "the model uses what a compiled model does not cover yet: " + "; ".join(lines) + ". Run it in torch: pruned layers "
            "stay fast there; or compile the part of the model without these"
        )
