"""Rows of a cache replaced by a step's own: what decoders do with keys and values."""

from torch import fx

from ..graph import Size, Value
from .registry import Bound, RefusedError, rule
from .translation import Translation


@rule("index_copy")
def _index_copy(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, rows, numbers = c.value(a["self"]), c.value(a["source"]), c.value(a["index"])
    if len(x.shape) != 4 or int(a["dim"]) % 4 != 2:
        raise RefusedError("of something else than the rows of a cache (N, heads, rows, features)")
    if any(size.per_item for size in x.shape[2:]):
        raise RefusedError("of a cache whose rows depend on the batch")
    return c.emit("write_rows", node, [x, rows, c.view(node, numbers, (Size(1), rows.shape[2]))])
