"""Settings: what is wrong ends the start, by name and with what is allowed."""

import pytest
from pydantic import ValidationError

from shared.contract import Switch
from shared.settings import ArchiveSink, Ingest, LokiSink, OpenSearchSink, PrometheusSink, Sink, TempoSink


@pytest.mark.parametrize(
    ("part", "name", "value", "allowed"),
    [
        (LokiSink, "LOKI_WRITES", "off", "on, hold, skip"),
        (OpenSearchSink, "OPENSEARCH_WRITES", "off", "on, hold, skip"),
        (PrometheusSink, "PROMETHEUS_WRITES", "no", "on, hold, skip"),
        (TempoSink, "TEMPO_WRITES", "", "on, hold, skip"),
        (ArchiveSink, "ARCHIVE_WRITES", "Hold", "on, hold, skip"),
        (Ingest, "INGEST", "hold", "on, off"),
    ],
)
def test_wrong_switch_ends_the_start(part: type[Sink] | type[Ingest], name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not mean that data is stored, or lost. The message has the setting's name, its value, and what it may be."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        part()
    (told,) = [error for error in raised.value.errors(include_input=False) if error["loc"] == (name.lower(),)]
    assert f"{value!r} is none of {allowed}" in told["msg"]


def test_switch_is_on_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker.invalid:9092")
    monkeypatch.setenv("LOKI_URL", "http://loki.invalid")
    assert LokiSink().loki_writes is Switch.ON
    monkeypatch.setenv("LOKI_WRITES", "skip")
    assert LokiSink().loki_writes is Switch.SKIP
