"""Whatever a batch of logs holds, its documents say what the records, scopes and resources say: compared with a plain reading of the same batch."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from functions.sink_opensearch import documents, values
from shared.contract import EventType
from tests import batches
from tests.fuzz.otlp import messages

TENANT = "018f2f7e-0000-7000-8000-000000000001"
LIFTED = {"service.name": "service_name"}
"""Of those that have a field of their own the one that the examples have."""


@given(batch=messages(ExportLogsServiceRequest), begin=st.integers(0, 2))
def test_documents_say_what_the_batch_says(batch: ExportLogsServiceRequest, begin: int) -> None:
    record = batches.record(EventType.LOGS, b"", TENANT)
    everything = [(resource, scope, log) for resource in batch.resource_logs for scope in resource.scope_logs for log in scope.log_records]
    found = list(documents.documents(record, batch, begin))
    assert [one.position for one in found] == list(range(begin, len(everything)))
    assert [one.id for one in found] == [f"{record.id}-{one.position}" for one in found]
    for one in found:
        resource, scope, log = everything[one.position]
        at = log.time_unix_nano or log.observed_time_unix_nano
        expected = {"tenant_id": TENANT, "record_id": one.id, **of_record(log), **of_scope(scope.scope), **of_resource(resource.resource.attributes)}
        assert orjson.loads(one.source) == expected | {"@timestamp": documents.timestamp(at) if at else orjson.loads(one.source)["@timestamp"]}


def of_record(log: Any) -> dict[str, Any]:
    fields = {
        "severity_number": log.severity_number,
        "flags": log.flags,
        "body": values.text(log.body) if log.HasField("body") else None,
        "severity_text": log.severity_text,
        "observed_timestamp": documents.timestamp(log.observed_time_unix_nano) if 0 < log.observed_time_unix_nano < 2**63 else None,
        "trace_id": log.trace_id.hex(),
        "span_id": log.span_id.hex(),
        "event_name": log.event_name,
        "attributes": plain(log.attributes),
    }
    return {name: value for name, value in fields.items() if value or name in {"severity_number", "flags"} or (name == "body" and value is not None)}


def of_scope(scope: Any) -> dict[str, Any]:
    fields = {"name": scope.name, "version": scope.version, "attributes": plain(scope.attributes)}
    kept = {name: value for name, value in fields.items() if value}
    return {"scope": kept} if kept else {}


def of_resource(pairs: Any) -> dict[str, Any]:
    lifted = {LIFTED[pair.key]: values.text(pair.value) for pair in pairs if pair.key in LIFTED}
    return {**lifted, "resource": plain(pairs)} if pairs else {}


def plain(pairs: Any, depth: int = 1) -> dict[str, Any]:
    """Attributes, a value at a time by what its oneof says."""
    return {pair.key: _value(pair.value, depth) for pair in pairs}


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind not in {"kvlist_value", "array_value"}:
        return values.whole(value)
    if depth >= values.MOST_DEPTH:
        return values.text(value)
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values, depth + 1)
    return [_value(item, depth + 1) for item in value.array_value.values]
