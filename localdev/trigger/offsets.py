"""Which offset of a partition may be committed: the first that is not done yet, never one beyond a gap. Pure."""

from collections import deque


class OffsetTracker:
    """Records of one partition between receipt and done. Offsets come rising but not without holes: a log has transaction markers and compaction."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._committable: int | None = None

    def received(self, offset: int) -> None:
        """A record has come; it holds the watermark back until it is done."""
        self._open.append(offset)

    def done(self, offset: int) -> None:
        """A record is in good hands, in whatever order."""
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            first = self._open.popleft()
            self._done.remove(first)
            self._committable = first + 1

    @property
    def committable(self) -> int | None:
        """The offset to go on from after a restart; None while nothing is done."""
        return self._committable
