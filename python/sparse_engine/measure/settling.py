"""Whether pruned layers settle which kernel they take at once, or a little in each call.

A flag of the thread, so that whoever measures models can ask for it without knowing what a layer decides.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_settling = threading.local()


@contextmanager
def settle_at_once() -> Iterator[None]:
    """Have layers decide at once inside the `with` block, however long that takes, and never look at these decisions again."""
    before = is_settling()
    _settling.active = True
    try:
        yield
    finally:
        _settling.active = before


def is_settling() -> bool:
    """Whether this thread is inside such a block."""
    return bool(getattr(_settling, "active", False))
