"""remote_write 2.0 from the gateway to Prometheus and back: what 2.0 has beyond plain samples arrives bit by bit, under the tenant's label."""

import struct
from time import time_ns
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import cramjam
import httpx2
import pytest

from shared.codecs.prompb.remote2_pb2 import Request
from tests.conftest import Stack
from tests.contract.rigs import get
from tests.waiting import until

pytestmark = pytest.mark.stack

HEADERS = {
    "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "2.0.0",
}
STALE = bytes.fromhex("020000000000f07f")


class Sender:
    """Builds one request, symbol by symbol."""

    def __init__(self) -> None:
        self.request = Request(symbols=[""])

    def refs(self, **labels: str) -> list[int]:
        found = []
        for text in (text for pair in sorted(labels.items()) for text in pair):
            if text not in self.request.symbols:
                self.request.symbols.append(text)
            found.append(list(self.request.symbols).index(text))
        return found

    def series(self, name: str, **labels: str) -> Any:
        return self.request.timeseries.add(labels_refs=self.refs(__name__=name, **labels))


def test_all_that_2_0_has_arrives(stack: Stack) -> None:
    """Native histograms with exponential and with custom buckets, of integers and of floats; exemplars; a stale marker; a counter with its start."""
    tenant, run, now = stack.tenants[0], f"r{uuid4().hex[:10]}", time_ns() // 1_000_000
    sender = Sender()
    # Labels on both sides of tenant_id, in the order of names.
    counter = sender.series(f"{run}_total", job="shop", zone="z1")
    counter.samples.add(value=7, timestamp=now, start_timestamp=now - 60_000)
    counter.exemplars.add(labels_refs=sender.refs(trace_id="5b8efff798038103d269b633813fc60c"), value=0.25, timestamp=now)
    counter.metadata.type = 1
    gone = sender.series(f"{run}_gone")
    gone.samples.add(value=1, timestamp=now - 1000)
    gone.samples.add(value=12.5, timestamp=now)
    exponential = sender.series(f"{run}_exponential").histograms.add(
        count_int=6, sum=18.5, schema=1, zero_threshold=1e-128, zero_count_int=1, positive_deltas=[2, 1], timestamp=now
    )
    exponential.positive_spans.add(offset=0, length=2)
    custom = sender.series(f"{run}_custom").histograms.add(
        count_float=3.5, sum=4.5, schema=-53, zero_count_float=0, custom_values=[1.0, 2.5], positive_counts=[1.0, 2.5], timestamp=now
    )
    custom.positive_spans.add(offset=0, length=2)
    body = sender.request.SerializeToString().replace(struct.pack("<d", 12.5), STALE)
    headers = {**HEADERS, "authorization": f"Bearer {tenant['token']}"}
    answer = httpx2.post(f"{stack.gateway}/ingest/prometheus/v1/write", content=bytes(cramjam.snappy.compress_raw(body)), headers=headers)
    assert answer.status_code == 204, answer.text

    def ask(path: str, **parameters: str | int) -> Any:
        return get(f"{stack.backends['prometheus']}/api/v1/{path}?{urlencode(parameters)}")["data"]

    def found(name: str) -> dict[str, Any]:
        return {one["metric"]["__name__"].removeprefix(f"{run}_"): one for one in ask("query", query=name, time=now // 1000 + 1)["result"]}

    everything = f'{{__name__=~"{run}_.*"}}'
    until(lambda: len(found(everything)) >= 3, what="the series are in Prometheus")
    series = found(everything)
    assert {one["metric"]["tenant_id"] for one in series.values()} == {tenant["id"]}
    assert series["total"]["metric"] == {"__name__": f"{run}_total", "job": "shop", "zone": "z1", "tenant_id": tenant["id"]}
    assert series["total"]["value"][1] == "7"
    assert {name: (one["histogram"][1]["count"], one["histogram"][1]["sum"]) for name, one in series.items() if "histogram" in one} == {
        "exponential": ("6", "18.5"),
        "custom": ("3.5", "4.5"),
    }
    assert len(series["exponential"]["histogram"][1]["buckets"]) == 3
    assert [bucket[1:] for bucket in series["custom"]["histogram"][1]["buckets"]] == [["-Inf", "1", "1"], ["1", "2.5", "2.5"]]
    assert "gone" not in series
    [before] = ask("query", query=f"{run}_gone[1m]", time=now // 1000 + 1)["result"]
    assert [value for _, value in before["values"]] == ["1"]
    [exemplars] = ask("query_exemplars", query=f"{run}_total", start=now // 1000 - 60, end=now // 1000 + 60)
    assert exemplars["seriesLabels"]["tenant_id"] == tenant["id"]
    assert [(one["labels"], one["value"]) for one in exemplars["exemplars"]] == [({"trace_id": "5b8efff798038103d269b633813fc60c"}, "0.25")]
