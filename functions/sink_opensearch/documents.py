"""Batch of logs → documents: index by the record's own date and its index period, id by batch and place in it (`identity`), fields as in `template.json`.

The tenant comes from the event alone; what a customer calls tenant_id stays inside `attributes` or `resource`. Fields are read directly and JSON is written by
orjson: 150,000 records a second, where protobuf's MessageToDict makes 20,000. Source: OpenTelemetry logs data model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from functions.sink_opensearch import identity, indices, values
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

_DAY: Final = 86_400_000_000_000
_LAST_NANO: Final = 2**63 - 1
"""The latest moment that date_nanos holds: in the year 2262."""


@dataclass(slots=True)  # frozen, it would take twice as long to make
class Document:
    """A log record for OpenSearch. `position`: its place in the batch; `origin`: the ResourceLogs and ScopeLogs that it is in, and the place of their first."""

    position: int
    index: str
    id: str
    source: bytes
    origin: tuple[Any, Any, int]


def documents(record: Record, request: ExportLogsServiceRequest, begin: int = 0) -> Iterator[Document]:
    """The batch's log records from a place on, in order, each made when it is asked for: together they may be many times as large as the batch.

    Equal batches give equal documents: ids and indices don't depend on when this runs.
    """
    id_of, received, index = identity.ids(record), _nanoseconds(record.time), _index_of(record)
    position = -1
    for resource, around, scope in _walk(request, record):
        rest, origin = _common(_scope(scope.scope)) + around, (resource, scope, position + 1)
        for log in scope.log_records:
            position += 1
            if position < begin:
                continue
            time, observed = log.time_unix_nano, log.observed_time_unix_nano
            at, id_ = time or observed or received, id_of(time, observed, position)
            yield Document(position, index(at // _DAY), id_, orjson.dumps(_fields(log, at, id_))[:-1] + rest, origin)


def alone(document: Document) -> bytes:
    """A batch with only the document's record, its resource and scope around it."""
    resource, scope, begin = document.origin
    only = ExportLogsServiceRequest()
    kept = only.resource_logs.add(schema_url=resource.schema_url)
    kept.resource.CopyFrom(resource.resource)
    inner = kept.scope_logs.add(schema_url=scope.schema_url)
    inner.scope.CopyFrom(scope.scope)
    inner.log_records.append(scope.log_records[document.position - begin])
    return bytes(only.SerializeToString())


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits."""
    digits = str(nanoseconds).zfill(10)
    return f"{_second(digits[:-9])}.{digits[-9:]}Z"


def part_of(record: Record, document: Document) -> str:
    """Which part of the record's batch a document is: by its place, which is its id's too."""
    return "" if "part" in record.extensions else str(document.position)


def _index_of(record: Record) -> Callable[[int], str]:
    """Name of the index for a day, counted from 1970 (UTC)."""
    prefix = f"{LOGS_INDEX}{record.tenant_id}-"
    return cache(lambda day: prefix + indices.suffix(record.index_period, day))


def _walk(request: ExportLogsServiceRequest, record: Record) -> Iterator[tuple[Any, bytes, Any]]:
    """Every scope that has log records, with its resource, and the end of their documents, which is written once for all scopes of a resource."""
    for resource in request.resource_logs:
        around = b""
        for scope in resource.scope_logs:
            if scope.log_records:
                around = around or _common({TENANT_LABEL: record.tenant_id, **_resource(resource.resource.attributes)}) + b"}"
                yield resource, around, scope


def _common(fields: dict[str, Any]) -> bytes:
    """Fields that many documents have, as JSON from the comma before them on."""
    return b"," + orjson.dumps(fields)[1:-1] if fields else b""


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


def _fields(log: Any, at: int, id_: str) -> dict[str, Any]:
    """Fields of the record itself; what it doesn't say is left out."""
    fields: dict[str, Any] = {"@timestamp": timestamp(at), "record_id": id_, "severity_number": log.severity_number, "flags": log.flags}
    if body := log.body.string_value:
        fields["body"] = body
    elif log.HasField("body"):
        fields["body"] = values.text(log.body)
    if severity := log.severity_text:
        fields["severity_text"] = severity
    if 0 < (observed := log.observed_time_unix_nano) <= _LAST_NANO:
        fields["observed_timestamp"] = timestamp(observed)
    if trace_id := log.trace_id:
        fields["trace_id"] = trace_id.hex()
    if span_id := log.span_id:
        fields["span_id"] = span_id.hex()
    if event_name := log.event_name:
        fields["event_name"] = event_name
    if attributes := values.attributes(log.attributes):
        fields["attributes"] = attributes
    return fields


@lru_cache(maxsize=4096)
def _second(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _nanoseconds(time: str) -> int:
    """The moment of an RFC 3339 time."""
    return round(datetime.fromisoformat(time).timestamp() * 1000) * 1_000_000
