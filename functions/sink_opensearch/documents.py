"""Batch of logs → documents: index by the record's own date and its index period, id by record id and place in the batch, fields as in `template.json`.

The tenant comes from the event alone; what a customer calls tenant_id stays inside `attributes` or `resource`. Fields are read directly and JSON is written by
orjson: 70,000 records a second, where protobuf's MessageToDict makes 20,000. Source: OpenTelemetry logs data model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from functions.sink_opensearch import indices, values
from shared.contract import LOGS_INDEX, TENANT_LABEL
from shared.envelope import Record

_LIFTED: Final = {
    "service.name": "service_name",
    "service.namespace": "service_namespace",
    "deployment.environment": "deployment_environment",
    "deployment.environment.name": "deployment_environment",
    "host.name": "host_name",
}
"""Resource attributes with a field of their own."""

_LAST_NANO: Final = 2**63 - 1
"""The latest moment that date_nanos holds: in the year 2262."""


@dataclass(frozen=True, slots=True)
class Document:
    """A log record for OpenSearch. `position`: its place in the batch; `origin`: the ResourceLogs, ScopeLogs and LogRecord that it was made of."""

    position: int
    index: str
    id: str
    source: bytes
    origin: tuple[Any, Any, Any]


def documents(record: Record, request: ExportLogsServiceRequest, begin: int = 0) -> Iterator[Document]:
    """The batch's log records from a place on, in order, each made when it is asked for: together they may be many times as large as the batch.

    Equal batches give equal documents: ids and indices don't depend on when this runs.
    """
    prefix, first, received = f"{LOGS_INDEX}{record.tenant_id}-", _first(record), _nanoseconds(record.time)
    for position, (resource, scope, origin) in enumerate(_walk(request)):
        if position < begin:
            continue
        log = origin[-1]
        at = log.time_unix_nano or log.observed_time_unix_nano or received
        identity = f"{record.id}-{first + position}"
        source = {"@timestamp": timestamp(at), TENANT_LABEL: record.tenant_id, "record_id": identity, **_fields(log), **scope, **resource}
        yield Document(position, prefix + indices.suffix(record.index_period, at // 86_400_000_000_000), identity, orjson.dumps(source), origin)


def alone(document: Document) -> bytes:
    """A batch with only the document's record, its resource and scope around it."""
    resource, scope, log = document.origin
    only = ExportLogsServiceRequest()
    kept = only.resource_logs.add(schema_url=resource.schema_url)
    kept.resource.CopyFrom(resource.resource)
    inner = kept.scope_logs.add(schema_url=scope.schema_url)
    inner.scope.CopyFrom(scope.scope)
    inner.log_records.append(log)
    return bytes(only.SerializeToString())


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest:09d}Z"


def part_of(record: Record, document: Document) -> str:
    """Which part of the record's batch a document is: by its place, which is its id's too."""
    return "" if "part" in record.extensions else str(document.position)


def _first(record: Record) -> int:
    """The place of the batch's first log record. A replayed part is one log record from somewhere in the batch, and gets the id that it had there."""
    part = record.extensions.get("part", "")
    return int(part) if part.isascii() and part.isdigit() else 0


def _walk(request: ExportLogsServiceRequest) -> Iterator[tuple[dict[str, Any], dict[str, Any], tuple[Any, Any, Any]]]:
    """Every log record with the fields of its resource and scope, which are written once for all their records."""
    for resource in request.resource_logs:
        around = _resource(resource.resource.attributes)
        for scope in resource.scope_logs:
            inside = _scope(scope.scope)
            for log in scope.log_records:
                yield around, inside, (resource, scope, log)


def _resource(pairs: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {_LIFTED[pair.key]: values.cut(values.text(pair.value)) for pair in pairs if pair.key in _LIFTED}
    if pairs:
        fields["resource"] = values.copied(pairs)
    return fields


def _scope(scope: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {name: values.cut(value) for name, value in (("name", scope.name), ("version", scope.version)) if value}
    if scope.attributes:
        fields["attributes"] = values.copied(scope.attributes)
    return {"scope": orjson.Fragment(orjson.dumps(fields))} if fields else {}


def _fields(log: Any) -> dict[str, Any]:
    """Fields of the record itself; what it doesn't say is left out."""
    fields: dict[str, Any] = {"severity_number": log.severity_number, "flags": log.flags}
    if log.HasField("body"):
        fields["body"] = values.text(log.body)
    if log.severity_text:
        fields["severity_text"] = log.severity_text
    if 0 < log.observed_time_unix_nano <= _LAST_NANO:
        fields["observed_timestamp"] = timestamp(log.observed_time_unix_nano)
    if log.trace_id:
        fields["trace_id"] = log.trace_id.hex()
    if log.span_id:
        fields["span_id"] = log.span_id.hex()
    if log.event_name:
        fields["event_name"] = log.event_name
    if log.attributes:
        fields["attributes"] = values.attributes(log.attributes)
    return fields


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _nanoseconds(time: str) -> int:
    """The moment of an RFC 3339 time."""
    return round(datetime.fromisoformat(time).timestamp() * 1000) * 1_000_000
