"""This machine or a cluster: never some of each."""

import pytest

from localdev import where
from localdev.admin import Failure
from localdev.functions import Function

LOKI = Function("sink_loki", 8111, (), None)
PLACES = ("SINK_URLS", "S3_BUCKET", "S3_ENDPOINT_URL", "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_word_it_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for whoever has exported the database's and the broker's address for a function that he runs here."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    assert where.sink_url(LOKI) == "http://127.0.0.1:8111"
    assert where.bootstrap_servers().startswith("127.0.0.1:")
    assert "./task up" in where.remedy("s3")


@pytest.mark.parametrize("urls", ["http://{sink}.telemetry.svc.cluster.local", '{"sink_loki": "http://sink-loki.telemetry.svc.cluster.local"}'])
def test_in_a_cluster_the_environment_says_where(urls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(PLACES, (urls, "letters", "https://s3.example", "postgresql://db.example/obstack", "kafka.example:9092"), strict=True):
        monkeypatch.setenv(name, value)
    assert where.sink_url(LOKI) == "http://sink-loki.telemetry.svc.cluster.local"
    assert (where.object_store().s3_bucket, where.object_store().s3_endpoint_url) == ("letters", "https://s3.example")
    assert where.database_url() == "postgresql://db.example/obstack"
    assert where.bootstrap_servers() == "kafka.example:9092"


@pytest.mark.parametrize(
    ("given", "missing"), [("S3_BUCKET", "SINK_URLS"), ("SINK_URLS", "S3_BUCKET"), ("SINK_URLS", "DATABASE_URL"), ("SINK_URLS", "KAFKA_BOOTSTRAP_SERVERS")]
)
def test_what_a_cluster_lacks_this_machine_does_not_give(given: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(given, "http://{sink}.example")
    asks = {"SINK_URLS": lambda: where.sink_url(LOKI), "S3_BUCKET": where.object_store, "DATABASE_URL": where.database_url}
    with pytest.raises(Failure, match=missing):
        asks.get(missing, where.bootstrap_servers)()


@pytest.mark.parametrize("urls", ['{"sink_tempo": "http://sink-tempo.example"}', "http://sinks.example", "{", ""])
def test_urls_without_this_sink_are_refused(urls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "letters")
    monkeypatch.setenv("SINK_URLS", urls)
    with pytest.raises(Failure, match="SINK_URLS"):
        where.sink_url(LOKI)
