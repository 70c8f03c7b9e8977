"""Batches of which nobody knows whether the broker has them: the answer to their publishing didn't come in time. Their clients are told 503 and send them
again, and then they get the ids that they had: what is behind the topic takes two records of one id for one, also where it goes by nothing else (OpenSearch).

In the memory of one instance, so a client that comes to another one, or after this one was killed, may store a batch twice there.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

SECONDS: Final = 600.0
"""For which a batch is remembered; clients that still try after that wait minutes between two tries."""
MOST: Final = 10_000
"""That are remembered, some hundred bytes each."""


class Resent:
    """Batch → id of its record. While there was no trouble lately, asking costs a look whether anything is remembered."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._ids: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def id_of(self, tenant_id: str, value: bytes) -> str:
        """The id that this tenant's batch had when it was last published without an answer; empty for one that wasn't."""
        while self._ids and next(iter(self._ids.values()))[1] <= self._clock():
            self._ids.popitem(last=False)
        return self._ids.get(_digest(tenant_id, value), ("",))[0] if self._ids else ""

    def remember(self, tenant_id: str, value: bytes, record_id: str) -> None:
        """This batch's answer didn't come."""
        digest = _digest(tenant_id, value)
        self._ids.pop(digest, None)
        self._ids[digest] = (record_id, self._clock() + SECONDS)
        if len(self._ids) > MOST:
            self._ids.popitem(last=False)

    def forget(self, tenant_id: str, value: bytes) -> None:
        """It is in the topic now, for sure: the same bytes once more would be another batch."""
        if self._ids:
            self._ids.pop(_digest(tenant_id, value), None)


def _digest(tenant_id: str, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16, key=tenant_id.encode()).digest()
