"""Record → push request: the customer's bytes as they came, to Loki's OTLP endpoint, under the tenant's header."""

from time import time_ns
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from shared.contract import PROTOBUF, TENANT_HEADER, EventType, Reason
from shared.envelope import Record
from shared.errors import Refused

PATH: Final = "/otlp/v1/logs"

MOST_BYTES: Final = 4 * 1024 * 1024
"""Larger batches go in parts. Loki answers 429 for ever to a push above its ingestion burst, whose default is 6 MB."""


def tenant_of(record: Record) -> str:
    """Whose logs they are. Raises Refused when the event doesn't hold logs."""
    if record.type is not EventType.LOGS:
        raise Refused(Reason.NOT_AN_EVENT, f"logs are stored here, not {record.type}")
    return record.tenant_id


def headers(tenant_id: str) -> dict[str, str]:
    """Headers of a push."""
    # Loki compares the whole Content-Type: a parameter after it would be an unknown type.
    return {"content-type": PROTOBUF, TENANT_HEADER: tenant_id}


def probe() -> bytes:
    """A batch that Loki takes if it takes any."""
    batch = ExportLogsServiceRequest()
    batch.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time_ns()).body.string_value = "is this refused as well?"
    return bytes(batch.SerializeToString())
