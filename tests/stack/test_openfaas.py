"""stack/openfaas, and a function's real server before what of-watchdog does to it: start, health, time limits, streamed bodies, stop.

Source: openfaas/of-watchdog (config/config.go, executor/http_runner.go): `fprocess` is split at single spaces, without a shell; SIGTERM is handed on at once.
"""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import time_ns

import pytest
import yaml

from localdev.manifests.rows import OPTIONAL, SECRETS, functions, settings
from localdev.paths import ROOT, STACK
from localdev.ports import free_port
from shared import settings as shared_settings
from shared.contract import EventType
from shared.envelope import Record
from tests import batches, waiting
from tests.backends import HttpBackend
from tests.stack.kustomize import Objects, check, of, pods, render

FPROCESS = f"sh {STACK}/image/start.sh"
ENTRIES = {
    name: entry for file in ("stack", "archive") for name, entry in yaml.safe_load((STACK / "openfaas" / f"{file}.yaml").read_text())["functions"].items()
}


class Watched:
    """A function as the watchdog runs it."""

    def __init__(self, backend: HttpBackend) -> None:
        self.port = free_port()
        self.backend = backend
        given = {"FUNCTION": "sink_loki", "HOST": "127.0.0.1", "PORT": str(self.port), "LOKI_URL": backend.url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(FPROCESS.split(" "), env={"PATH": path, "PYTHONPATH": str(ROOT), **given}, stdout=subprocess.DEVNULL)

    def get(self, path: str) -> int | None:
        """A health check's status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def status(self, record: Record) -> int:
        """Of a request's answer."""
        with closing(self.post(record)) as connection:
            return connection.getresponse().status

    def post(self, record: Record) -> http.client.HTTPConnection:
        """A request under way. Its body is streamed: Go's client doesn't know how long it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        pieces = iter([record.value[:7], record.value[7:]])
        connection.request("POST", "/", body=pieces, headers=batches.headers(record), encode_chunked=True)
        return connection


@pytest.fixture
def watched() -> Iterator[Watched]:
    with HttpBackend() as backend:
        function = Watched(backend)
        try:
            waiting.until(lambda: function.get("/_/ready") == 200, what="the function is ready")
            yield function
        finally:
            function.process.kill()
            function.process.wait()


def a_record() -> Record:
    return batches.record(EventType.LOGS, batches.logs("hello", at=time_ns()))


def test_health_paths_are_openfaas_own(watched: Watched) -> None:
    assert [watched.get(path) for path in ("/_/health", "/_/ready", "/healthz", "/readyz")] == [200] * 4


def test_streamed_body_is_taken_whole(watched: Watched) -> None:
    record = a_record()
    assert watched.status(record) == 204
    assert b"hello" in watched.backend.asked[-1].body


def test_request_that_ran_into_exec_timeout_harms_no_other(watched: Watched) -> None:
    """The watchdog answers 504 by itself and hangs up."""
    watched.backend.open.clear()
    connection = watched.post(a_record())
    assert watched.backend.reached.wait(10)
    connection.close()
    watched.backend.open.set()
    assert watched.status(a_record()) == 204
    assert watched.process.poll() is None


def test_stopping_finishes_what_is_under_way_and_takes_nothing_new(watched: Watched) -> None:
    """The function is told at once, while the watchdog waits; what it still sends is refused, which the trigger takes as a reason to come again."""
    watched.backend.open.clear()
    with closing(watched.post(a_record())) as connection:
        assert watched.backend.reached.wait(10)
        watched.process.send_signal(signal.SIGTERM)
        waiting.until(lambda: watched.get("/_/health") is None, what="nothing new is taken")
        watched.backend.open.set()
        assert connection.getresponse().status == 204
    assert watched.process.wait(20) in {0, -signal.SIGTERM}


def test_stack_file_has_every_function_but_grpc_with_strings_alone() -> None:
    assert ENTRIES.keys() == {row.host for row in functions() if not row.is_grpc}
    for row in functions():
        if row.is_grpc:
            continue
        entry = ENTRIES[row.host]
        assert all(isinstance(value, str) for name in ("environment", "labels", "limits", "requests") for value in entry[name].values())
        assert entry["environment"].keys() == set(row.settings) - SECRETS.keys()


def test_nothing_is_asked_for_that_openfaas_refuses() -> None:
    """faas-netes, pkg/handlers: a secret that isn't there is refused, so none is named that one can do without; `target` and `type` are, and several topics."""
    for row in functions():
        if row.is_grpc:
            continue
        entry = ENTRIES[row.host]
        assert entry.get("secrets", []) == sorted(name.lower().replace("_", "-") for name in row.settings if name in SECRETS and name not in OPTIONAL)
        assert entry["labels"].keys() == {"com.openfaas.scale.min", "com.openfaas.scale.max"}
        assert 1 <= int(entry["labels"]["com.openfaas.scale.min"]) <= int(entry["labels"]["com.openfaas.scale.max"]) <= 5
        assert "annotations" not in entry


@pytest.fixture(scope="session")
def rest() -> Objects:
    """What isn't a function."""
    return render("openfaas")


def test_rest_fits_its_schemas_and_has_nothing_of_knative(rest: Objects) -> None:
    check(rest)
    assert {one["kind"] for one in rest if ".knative.dev/" in one["apiVersion"]} == set()


def test_jobs_are_those_of_knative_with_all_that_they_name(rest: Objects) -> None:
    """Secrets apart, which are in no repository."""
    jobs = {name: pod for name, pod in pods(rest).items() if name != "telemetry-trigger"}
    assert jobs.keys() == {"migrate", "opensearch-setup", "opensearch-prune"}
    (config,) = of(rest, "ConfigMap").values()
    for pod in jobs.values():
        assert pod["serviceAccountName"] in of(rest, "ServiceAccount")
        for source in (env["valueFrom"] for env in pod["containers"][0]["env"]):
            if "configMapKeyRef" in source:
                assert source["configMapKeyRef"]["name"] == config["metadata"]["name"]
                assert source["configMapKeyRef"]["key"] in config["data"]
    assert {one["metadata"]["namespace"] for kind in ("Job", "CronJob", "ConfigMap", "ServiceAccount") for one in of(rest, kind).values()} == {"telemetry"}
    assert "telemetry" in of(rest, "Namespace")


def test_broker_lets_its_clients_in(rest: Objects) -> None:
    port = int(settings()["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2])
    (rule,) = [rule for rule in of(rest, "NetworkPolicy")["brokers"]["spec"]["ingress"] if {"port": port} in rule.get("ports", [])]
    peers = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"]}
    assert {of(rest, "Deployment")["telemetry-trigger"]["metadata"]["namespace"], "openfaas-fn"} < peers


def test_trigger_is_the_connector(rest: Objects) -> None:
    (container,) = pods(rest)["telemetry-trigger"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given == {"KAFKA_BOOTSTRAP_SERVERS": settings()["KAFKA_BOOTSTRAP_SERVERS"], "SINK_URLS": ENTRIES["replay"]["environment"]["SINK_URLS"]}


def test_secrets_are_read_from_openfaas_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(shared_settings, "MOUNTED", tmp_path)
    (tmp_path / "database-url").write_text("postgresql://from.file/obstack\n")
    assert shared_settings.Database().database_url.get_secret_value() == "postgresql://from.file/obstack"
    monkeypatch.setenv("DATABASE_URL", "postgresql://from.environment/obstack")
    assert shared_settings.Database().database_url.get_secret_value() == "postgresql://from.environment/obstack"
