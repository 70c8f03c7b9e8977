"""Whose data it is, and how much of it may come. Values without look-ups; `shared.auth` makes them from a token, nothing else does."""

from dataclasses import dataclass
from typing import Final

from shared.contract import MAX_BODY_BYTES, Period, Scope


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant's plan allows: rates, for how many seconds they may be saved up, and the largest body (on the wire and decompressed)."""

    requests_per_second: float
    bytes_per_second: float
    burst_seconds: float = 10.0
    max_body_bytes: int = MAX_BODY_BYTES


UNLIMITED: Final = Limits(float("inf"), float("inf"))
"""For tenants that no plan stands behind: tests and tools."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as authenticated by one of its tokens.

    `id` and `token_id` are UUIDs in canonical form and nothing else: `|` joins tenants in Loki and Tempo, and a prefix would match other tenants' indices.
    """

    id: str
    token_id: str
    scopes: frozenset[Scope]
    limits: Limits = UNLIMITED
    index_period: Period = Period.DAY
    """Of its plan."""
