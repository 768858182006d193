"""Answers that are kept for when they are asked for again, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whybert.explanation import Explanation

__all__ = ["Cache", "size_of"]

# Bytes of what an explanation is made of, measured (CPython 3.11 to 3.14 differ by less than a fifth).
_SELF, _TOKEN, _NUMBER, _CHARACTER = 2_000, 450, 32, 4


def size_of(explanation: Explanation) -> int:
    """How much memory an explanation takes, about; rather more than less."""
    numbers = sum(map(len, explanation.layers)) + sum(map(len, explanation.heads)) + len(explanation.logits)
    characters = len(explanation.text) + len(explanation.pair or "")
    return _SELF + _TOKEN * len(explanation.tokens) + _NUMBER * numbers + _CHARACTER * characters


class Cache:
    """Explanations by key; those that were asked for longest ago go first.  Threads may share it.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._kept: OrderedDict[Hashable, Explanation] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Explanation | None:
        """What is kept under a key; None for nothing."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key]

    def keep(self, key: Hashable, explanation: Explanation) -> None:
        """Keep one, and let others go where there is no room."""
        size = size_of(explanation)
        with self._lock:
            if size > self.most or key in self._kept:
                return
            self._kept[key] = explanation
            self.bytes += size
            while self.bytes > self.most:
                _, gone = self._kept.popitem(last=False)
                self.bytes -= size_of(gone)
