"""Requests at ingest, by whose they are and how they end. A request's own context knows signal and tenant from when they are known, so that whoever writes the
answer needn't be told.
"""

from contextvars import ContextVar
from functools import cache
from typing import Final

from prometheus_client import Counter

from shared.errors import Later, Refused
from shared.telemetry import metrics

_whose: Final[ContextVar[tuple[str, str]]] = ContextVar("whose", default=("", ""))


def begin(signal: str, tenant_id: str = "") -> None:
    """The request that is being worked on is one with this signal; of this tenant, once a token has named one."""
    _whose.set((tenant_id, signal))


def accepted() -> None:
    """It is answered yes."""
    _count("accepted", "")


def refused(error: Refused | Later) -> None:
    """It is answered no, or told to come again."""
    metrics.REFUSED.labels(error.reason).inc()
    _count("later" if isinstance(error, Later) else "refused", error.reason)


def _count(outcome: str, reason: str) -> None:
    tenant_id, signal = _whose.get()
    _requests(metrics.FEW_TENANTS.label(tenant_id), signal, outcome, reason).inc()


@cache
def _requests(tenant: str, signal: str, outcome: str, reason: str) -> Counter:
    """A look-up by labels costs more than counting; there are no more of these than series."""
    return metrics.INGEST_REQUESTS.labels(tenant, signal, outcome, reason)
