"""Circuit breaker before a backend: after a few failures in a row nobody asks it for a moment, then one request tries whether it is back.

An open breaker says Later at once, so that the trigger waits and not the function: a backend that is away costs no connection and no timeout per event.
Only Trouble counts (shared.errors): a backend that refuses data, or limits one tenant, is there. A refusal without a reason says neither: the probe that
follows it does (shared.isolation); nor does what is no answer, a cancellation or a defect of ours. Used as `with breaker.closed(): …` around a request together
with the reading of its answer, and not around its making: what can't be made into a request is no answer either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from shared.contract import RETRY_AFTER_SECONDS
from shared.errors import Later, Never, Trouble
from shared.telemetry import metrics

FAILURES: Final = 5
SECONDS: Final = RETRY_AFTER_SECONDS
"""How long it stays open before one request may try."""

_STATES: Final = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}


class _Circuit(CircuitBreaker):
    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is None or isinstance(error, Later) or (isinstance(error, Never) and error.named):
            super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        self._last_failure = None  # nobody asks for it, and its traceback holds what was sent


class Breaker:
    """One per backend and process. The metric `obstack_sink_breaker_state` says how it stands."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._circuit = _Circuit(FAILURES, SECONDS, Trouble, backend)  # type: ignore[no-untyped-call]
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
            raise Later(f"{self._backend} is in trouble; it is asked again in a moment", SECONDS)
        self._trying = True
        try:
            with self._circuit:
                yield
        finally:
            self._trying = False
