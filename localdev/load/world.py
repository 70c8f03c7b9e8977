"""The tenants of a load: in the stack's own database while it runs, and gone afterwards, with what would hinder the next run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
import psycopg

from localdev import backends
from localdev.backends import opensearch
from localdev.bench.world import new_tenants
from localdev.supervisor import control, state
from shared.contract import LOGS_INDEX

NAME: Final = "load"
_SECONDS: Final = 60.0


@contextmanager
def tenants(count: int) -> Iterator[list[tuple[str, str]]]:
    """Id and token of each. Raises control.Failure when another load runs on this stack.

    Their indices in OpenSearch go with them, since a node holds a thousand; what the other backends have is gone when its time is over.
    """
    lock = state.acquire(NAME, 0)
    if lock is None:
        raise control.Failure("another load runs on this stack; two at once would measure each other")
    try:
        remove()  # what a killed run left
        yield new_tenants(count, NAME)
    finally:
        remove()
        lock.close()


def remove() -> None:
    """All tenants of loads, with their tokens, usage and indices."""
    with psycopg.connect(backends.postgres_url()) as connection:
        ids = [row[0] for row in connection.execute("DELETE FROM tenants WHERE name = %s || id RETURNING id", (f"{NAME}-",))]
        for table in ("telemetry.tokens", "telemetry.usage"):
            connection.execute(f"DELETE FROM {table} WHERE tenant_id = ANY(%s)", (ids,))  # noqa: S608 our own names
    with httpx2.Client(base_url=opensearch.url(), timeout=_SECONDS) as client:
        for tenant in ids:
            listed = client.get(f"/_cat/indices/{LOGS_INDEX}{tenant}-*", params={"format": "json", "h": "index"})
            if names := [row["index"] for row in listed.raise_for_status().json()]:
                client.delete(f"/{','.join(names)}").raise_for_status()
