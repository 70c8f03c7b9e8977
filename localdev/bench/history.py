"""What is read: an hour of made-up logs, metrics and traces of some tenants, brought to the backends by the sinks themselves."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from time import time_ns
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_ERROR
from uuid_utils import uuid7

from localdev.bench import bodies
from localdev.bench.events import Series
from localdev.bench.questions import Question, ask, asker
from shared import envelope
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.contract import EventType, Source, Topic
from shared.envelope import Record
from shared.tenant import Tenant

SINKS: Final = ("sink_loki", "sink_opensearch", "sink_prom", "sink_tempo")
BACKENDS: Final = ("kafka", "postgres", "opensearch", "loki", "prometheus", "tempo", "prom_label_proxy")
"""The sinks have Kafka for dead letters."""

SECONDS: Final = 3600
SERVICES: Final = ("checkout", "cart", "payments", "shipping")
BATCHES: Final = 12
LINES: Final = 512
"""Log records of a batch."""
SERIES: Final = 200
STEP: Final = 15
"""Seconds from one sample to the next."""
TRACES: Final = 50
SPANS, MANY_SPANS = 20, 1000
"""Of each trace; of one large one."""

LARGE_TRACE: Final = "ff" * 16


def trace_id(number: int) -> str:
    """Of the trace with this number."""
    return f"{number + 1:032x}"


async def fill(ports: Mapping[str, int], tenants: Sequence[str]) -> int:
    """Give each of the tenants its hour through the sinks, which listen on these ports; when it ended, in nanoseconds since 1970. Raises LoadError."""
    end = time_ns()
    async with asker() as session:

        async def post(sink: str, records: list[Record]) -> None:
            for record in records:
                event = Series.of(record, ports[sink])
                await ask(session, Question("POST", event.port, event.path, dict(event.headers), event.body))

        for tenant in tenants:
            batches = [_record(tenant, EventType.LOGS, Topic.LOGS, value) for value in logs(end)]
            spans = [_record(tenant, EventType.TRACES, Topic.TRACES, value) for value in traces()]
            series = [_record(tenant, EventType.REMOTE_WRITE_1, Topic.REMOTE_WRITE, samples(end))]
            await asyncio.gather(*map(post, SINKS, (batches, batches, series, spans)))
    return end


def _record(tenant_id: str, kind: EventType, topic: Topic, value: bytes) -> Record:
    source = Source.PROMETHEUS if topic is Topic.REMOTE_WRITE else Source.OTLP
    return envelope.new(Tenant(tenant_id, str(uuid7()), frozenset()), kind, source, topic, value, key=envelope.key_of(tenant_id, b""))


def logs(end: int) -> Iterator[bytes]:
    """Batches of the services in turn, evenly over the hour; every twentieth record is an error."""
    step = SECONDS * 10**9 // (BATCHES * LINES)
    for batch in range(BATCHES):
        request = ExportLogsServiceRequest.FromString(bodies.logs(LINES))
        (resource,) = request.resource_logs
        resource.resource.attributes[0].value.string_value = SERVICES[batch % len(SERVICES)]
        for number, record in enumerate(resource.scope_logs[0].log_records):
            record.time_unix_nano = end - (BATCHES * LINES - batch * LINES - number) * step
            if number % 20 == 0:
                record.severity_number, record.severity_text = SEVERITY_NUMBER_ERROR, "ERROR"
        yield request.SerializeToString()


def samples(end: int) -> bytes:
    """Counters that grow."""
    request, last = WriteRequest.FromString(bodies.series_1(SERIES)), end // 10**6
    for number, series in enumerate(request.timeseries):
        del series.samples[:]
        for place in range(SECONDS // STEP):
            series.samples.add(value=float(place * (number + 1)), timestamp=last - SECONDS * 1000 + (place + 1) * STEP * 1000)
    return request.SerializeToString()


def traces() -> Iterator[bytes]:
    """Traces of a root and its children, and the large one."""
    for ids, spans in (([trace_id(number) for number in range(TRACES)], SPANS), ([LARGE_TRACE], MANY_SPANS)):
        request = ExportTraceServiceRequest.FromString(bodies.traces(len(ids) * spans))
        made = request.resource_spans[0].scope_spans[0].spans
        for number, span in enumerate(made):
            span.trace_id = bytes.fromhex(ids[number // spans])
            span.parent_span_id = made[number - number % spans].span_id if number % spans else b""
        yield request.SerializeToString()
