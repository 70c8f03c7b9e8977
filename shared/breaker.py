"""Circuit breaker before a backend: after a few failures in a row nobody asks it for a moment, then one request tries whether it is back.

An open breaker says Later at once, so that the trigger waits and not the function: a backend that is away costs no connection and no timeout per event.
Only Trouble counts (shared.errors): a backend that refuses data, or limits one tenant, is there. Used as `with breaker.closed(): …` around a request together
with the reading of its answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from shared.contract import RETRY_AFTER_SECONDS
from shared.errors import Later, Trouble
from shared.telemetry import metrics

FAILURES: Final = 5
SECONDS: Final = RETRY_AFTER_SECONDS
"""How long it stays open before one request may try."""

_STATES: Final = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}


class Breaker:
    """One per backend and process. The metric `obstack_sink_breaker_state` says how it stands."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._circuit = CircuitBreaker(FAILURES, SECONDS, Trouble, backend)  # type: ignore[no-untyped-call]
        self._trying = False
        metrics.BREAKER.labels(backend).set_function(lambda: _STATES[self._circuit.state])

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let a request through and note how it ends. Raises Later when the breaker is open, or half open and another request tries already."""
        state = self._circuit.state
        if state == STATE_CLOSED:
            with self._circuit:
                yield
            return
        if state == STATE_OPEN or self._trying:
            raise Later(f"{self._backend} is in trouble; it is asked again in a moment", max(SECONDS, 1))
        self._trying = True
        try:
            with self._circuit:
                yield
        finally:
            self._trying = False
