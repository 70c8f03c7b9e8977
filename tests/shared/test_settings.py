"""Settings: what is wrong ends the start, by name and with what is allowed."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from localdev.paths import ROOT
from shared.contract import Switch
from shared.settings import ArchiveSink, Ingest, LokiSink, OpenSearchSetup, OpenSearchSink, PrometheusSink, Sink, TempoSink, faults


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


def test_faults_are_named_as_the_environment_has_them_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once, with the values of switches and numbers."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker.invalid:9092")
    monkeypatch.setenv("TOKEN_TTL_SECONDS", "s3cret-in-the-wrong-place")
    monkeypatch.setenv("FLAGS_SECONDS", "60")
    monkeypatch.setenv("MEMORY_BYTES", "1 GB")
    monkeypatch.setenv("INGEST", "maybe")
    with pytest.raises(ValidationError) as raised:
        Ingest()
    told = faults(raised.value)
    assert "DATABASE_URL: Field required" in told
    assert "INGEST: 'maybe' is none of on, off" in told
    assert "TOKEN_TTL_SECONDS: Input should be a valid number" in told
    assert "FLAGS_SECONDS: '60': Input should be less than or equal to 7" in told
    assert "MEMORY_BYTES: '1 GB': Input should be a valid integer" in told
    assert "s3cret" not in told


def test_settings_that_contradict_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "http://opensearch.invalid")
    monkeypatch.setenv("OPENSEARCH_WARM_DAYS", "40")
    with pytest.raises(ValidationError) as raised:
        OpenSearchSetup()
    assert faults(raised.value) == "OPENSEARCH_WARM_DAYS must be less than OPENSEARCH_DELETE_DAYS"


A_URL = "a URL with http:// or https:// and a host is allowed"


@pytest.mark.parametrize(
    ("module", "wrong", "told"),
    [
        ("functions.ingest_otlp.main:app", {"INGEST": "maybe"}, "INGEST: 'maybe' is none of on, off"),
        ("functions.sink_loki.main:app", {"LOKI_WRITES": "off"}, "LOKI_WRITES: 'off' is none of on, hold, skip"),
        ("functions.sink_loki.main:app", {"LOG_LEVEL": "loud"}, "LOG_LEVEL: 'loud': Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("functions.sink_loki.main:app", {"MEMORY_BYTES": "1 GB"}, "MEMORY_BYTES: '1 GB': Input should be a valid integer"),
        ("functions.ingest_otlp_grpc.main", {"INGEST": "maybe"}, "INGEST: 'maybe' is none of on, off"),
        (
            "functions.sink_opensearch.setup",
            {"OPENSEARCH_URL": "http://x", "OPENSEARCH_DELETE_DAYS": "0"},
            "OPENSEARCH_DELETE_DAYS: '0': Input should be greater than or equal to 2",
        ),
        *(("functions.sink_loki.main:app", {"LOKI_URL": url}, f"LOKI_URL: {A_URL}") for url in ("loki:3100", "http://:3100", "tcp://loki")),
        ("functions.sink_loki.main:app", {"LOKI_URL": "http://loki:many"}, "LOKI_URL: Port could not be cast to integer value as 'many'"),
        ("functions.sink_loki.main:app", {"LOKI_URL": ""}, "LOKI_URL: String should have at least 1 character"),
    ],
)
def test_process_ends_and_says_why_without_a_trace(module: str, wrong: dict[str, str], told: str) -> None:
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": "broker.invalid:9092", "LOKI_URL": "http://loki.invalid"}
    given |= {"DATABASE_URL": "postgresql://database.invalid/x", **wrong}
    command = ["-m", "uvicorn", "--port", "0", module] if module.endswith(":app") else ["-m", module]
    done = subprocess.run([sys.executable, *command], env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert f"start failed: {told}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
