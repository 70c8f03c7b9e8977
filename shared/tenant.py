"""Whose data it is. A value without look-ups; `shared.auth` makes it from a token, nothing else does."""

from dataclasses import dataclass

from shared.contract import Scope


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as authenticated by one of its tokens.

    `id` and `token_id` are UUIDs in canonical form and nothing else: `|` joins tenants in Loki and Tempo, and a prefix would match other tenants' indices.
    """

    id: str
    token_id: str
    scopes: frozenset[Scope]
