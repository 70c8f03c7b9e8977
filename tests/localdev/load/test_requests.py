"""Requests are what clients send, with the numbers, times and names that the readers of the backends count by."""

import gzip

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localdev.chaos.load import SPANS_PER_TRACE, Run
from localdev.load.profiles import LOGS, PROFILES, SAMPLES, SPANS
from localdev.load.requests import encode
from shared.codecs.compression import unsnappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.contract import MAX_RECORD_BYTES

RUN, OTHER = Run("one", 0, 0, 0), Run("other", 0, 0, 0)
NOW_NS = 1_700_000_000 * 10**9


def test_log_records_carry_run_number_and_a_time_of_their_own() -> None:
    encode(LOGS, OTHER, 7, 5, 1)  # the message is made once and used again
    resource = ExportLogsServiceRequest.FromString(gzip.decompress(encode(LOGS, RUN, 40, 5, NOW_NS).body)).resource_logs[0]
    records = resource.scope_logs[0].log_records
    assert [record.body.string_value for record in records] == [f"one {number}" for number in range(40, 45)]
    assert [record.time_unix_nano - NOW_NS for record in records] == [0, 1000, 2000, 3000, 4000]
    assert {"service.name": RUN.service}.items() <= {pair.key: pair.value.string_value for pair in resource.resource.attributes}.items()


def test_spans_are_in_the_trace_that_a_reader_asks_for() -> None:
    first = SPANS_PER_TRACE - 2
    spans = ExportTraceServiceRequest.FromString(gzip.decompress(encode(SPANS, RUN, first, 4, NOW_NS).body)).resource_spans[0].scope_spans[0].spans
    assert [int(span.name) for span in spans] == list(range(first, first + 4))
    assert [span.trace_id for span in spans] == [RUN.trace_id(0)] * 2 + [RUN.trace_id(1)] * 2
    assert len({span.span_id for span in spans}) == 4


@pytest.mark.parametrize("size", [1, 100, 250])
def test_no_series_has_two_samples_in_a_request(size: int) -> None:
    body = encode(SAMPLES, RUN, 300, size, NOW_NS).body
    series = WriteRequest.FromString(unsnappy(body, 10**6)).timeseries
    labels = [{label.name: label.value for label in one.labels} for one in series]
    assert len({one["series"] for one in labels}) == size
    assert {one["run"] for one in labels} == {"one"}
    assert all(list(one) == sorted(one) for one in labels)  # remote_write 1.0 wants them in order
    assert [(one.samples[0].value, one.samples[0].timestamp) for one in series] == [(number, NOW_NS // 10**6) for number in range(300, 300 + size)]


@pytest.mark.parametrize(("signal", "part"), [(LOGS, 0.8), (SAMPLES, 0.1), (SPANS, 0.2)])
def test_the_largest_requests_fit_into_a_record_and_are_a_good_part_of_it(signal: str, part: float) -> None:
    stream = PROFILES["huge"].streams[signal]
    body = encode(signal, RUN, 10**6, stream.batch, NOW_NS).body
    plain = unsnappy(body, 10**8) if signal == SAMPLES else gzip.decompress(body)
    assert part * MAX_RECORD_BYTES < len(plain) < 0.95 * MAX_RECORD_BYTES
