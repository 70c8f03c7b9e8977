"""Record → push request: the customer's bytes as they came, to Loki's OTLP endpoint, under the tenant's header."""

from typing import Final

from shared.contract import PROTOBUF, TENANT_HEADER, EventType, Reason
from shared.envelope import Record
from shared.errors import Refused

PATH: Final = "/otlp/v1/logs"

MOST_BYTES: Final = 4 * 1024 * 1024
"""Larger batches go in parts. Loki answers 429 for ever to a push above its ingestion burst, whose default is 6 MB."""


def headers(record: Record) -> dict[str, str]:
    """Headers of a push. Raises Refused when the event doesn't hold logs."""
    if record.type is not EventType.LOGS:
        raise Refused(Reason.NOT_AN_EVENT, f"logs are stored here, not {record.type}")
    # Loki compares the whole Content-Type: a parameter after it would be an unknown type.
    return {"content-type": PROTOBUF, TENANT_HEADER: record.tenant_id}
