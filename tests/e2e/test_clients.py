"""The customers' own command line clients, unchanged: logcli of Loki and promtool of Prometheus, through the gateway with nothing but a token that may read.

What they print is compared with what was sent.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx2
import pytest

from localdev.install import servers
from localdev.install.go_build import GoBuild
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

BASES = ("/query", "/query/loki")
"""Loki's, as a data source may be given them."""


@dataclass(frozen=True)
class Sent:
    """What tenant 1 sent: three lines, twenty seconds apart, and one metric."""

    service: str
    metric: str
    lines: tuple[str, ...]


def binary(build: GoBuild) -> str:
    servers.install(build, lambda _: None)
    return str(build.binary())


def send(stack: Stack, service: str, lines: tuple[str, ...], now: float) -> None:
    """Log lines of tenant 1, the last one at `now`."""
    records = [{"timeUnixNano": str(int((now - 20 * back) * 1e9)), "body": {"stringValue": line}} for back, line in enumerate(reversed(lines))]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    batch = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    headers = {"x-obstack-auth-token": stack.tenants[0]["token"]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers=headers).raise_for_status()


@pytest.fixture(scope="module")
def sent(stack: Stack) -> Sent:
    for build in (servers.logcli, servers.promtool):  # before anything is sent: where they must be compiled first that takes longer than clients look back
        binary(build)
    # Other tests kill and stop what this one reads; the gateway's health checks notice a little later that it is back.
    token = {"x-obstack-auth-token": stack.tenants[0]["token"]}
    paths = [f"{stack.gateway}/query/{backend}/api/v1/labels" for backend in ("loki", "prometheus")]
    until(lambda: all(httpx2.get(path, headers=token, timeout=30).status_code == 200 for path in paths), what="both can be read")
    word, now = token_hex(6), time.time()
    sent = Sent(f"service-{word}", f"clients_{word}", tuple(f"{number} of {word} <é>" for number in range(3)))
    send(stack, sent.service, sent.lines, now)
    gauge = {"dataPoints": [{"timeUnixNano": str(int(now * 1e9)), "asDouble": 42}]}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": sent.service}}]}
    batch = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [{"name": sent.metric, "gauge": gauge}]}]}]}
    headers = {"x-obstack-auth-token": stack.tenants[0]["token"]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/metrics", json=batch, headers=headers).raise_for_status()
    return sent


@dataclass(frozen=True)
class Logcli:
    """logcli as one tenant."""

    command: tuple[str, ...]

    def __call__(self, *arguments: str) -> str:
        """What it prints. Its success is asked for: an error that shows nothing would look like an empty answer."""
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def logcli_of(stack: Stack, tenant: int, base: str, how: str) -> Logcli:
    token = stack.tenants[tenant]["token"]
    who = ["--bearer-token", token] if how == "bearer" else ["--username", "grafana", "--password", token]
    return Logcli((binary(servers.logcli), f"--addr={stack.gateway}{base}", "--quiet", *who))


@pytest.fixture(scope="module")
def logcli(stack: Stack, sent: Sent) -> Logcli:
    """Tenant 1's, once what it sent is there."""
    made = logcli_of(stack, 0, "/query", "bearer")
    until(lambda: len(made("query", f'{{service_name="{sent.service}"}}', "--output=raw").splitlines()) == len(sent.lines), what="logcli finds the lines")
    return made


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("how", ["bearer", "basic"])
def test_logcli_prints_the_lines_in_their_order(stack: Stack, logcli: Logcli, sent: Sent, base: str, how: str) -> None:
    printed = logcli_of(stack, 0, base, how)("query", f'{{service_name="{sent.service}"}} |= "of"', "--output=raw", "--forward", "--since=10m")
    assert printed.splitlines() == list(sent.lines)
    assert not logcli_of(stack, 1, base, how)("query", f'{{service_name="{sent.service}"}}', "--output=raw")


def test_logcli_counts(logcli: Logcli, sent: Sent) -> None:
    answer = json.loads(logcli("instant-query", f'sum by (service_name) (count_over_time({{service_name="{sent.service}"}}[10m]))'))
    assert [(one["metric"], one["value"][1]) for one in answer] == [({"service_name": sent.service}, "3")]


def test_logcli_lists_labels_and_series(logcli: Logcli, sent: Sent) -> None:
    assert "service_name" in logcli("labels").split()
    assert sent.service in logcli("labels", "service_name").split()
    assert f'service_name="{sent.service}"' in logcli("series", f'{{service_name="{sent.service}"}}')
    assert f'service_name="{sent.service}"' in logcli("series", "{}", "--since=10m")


def test_logcli_tells_stats_and_volume(logcli: Logcli, sent: Sent) -> None:
    selector = f'{{service_name="{sent.service}"}}'
    assert "streams" in logcli("stats", selector, "--since=10m")
    assert [one["metric"] for one in json.loads(logcli("volume", selector, "--since=10m"))] == [{"service_name": sent.service}]
    assert json.loads(logcli("volume_range", selector, "--since=10m", "--step=1m"))


def test_logcli_shows_what_loki_has_against_a_query(logcli: Logcli) -> None:
    done = subprocess.run([*logcli.command, "query", "{a="], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "parse error" in done.stderr


@pytest.fixture(params=[("bearer", "/query"), ("basic", "/query/loki")], ids=["bearer", "basic"])
def tailing(stack: Stack, logcli: Logcli, sent: Sent, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """`logcli --tail` at work; the file that it prints into."""
    printed = tmp_path / "printed"
    with printed.open("w") as out, (tmp_path / "errors").open("w") as errors:
        how, base = request.param
        command = [*logcli_of(stack, 0, base, how).command, "query", f'{{service_name=~"{sent.service}.*"}}', "--tail", "--output=raw", "--since=10m"]
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        try:
            yield printed
        finally:
            process.terminate()
            process.wait(10)
    assert not (tmp_path / "errors").read_text()


def test_logcli_tails_what_is_there_and_what_comes(stack: Stack, sent: Sent, tailing: Path) -> None:
    until(lambda: set(sent.lines) <= set(tailing.read_text().splitlines()), what="the tail begins with what is there")
    for number in range(3):
        line = f"live {number} {token_hex(4)}"
        send(stack, f"{sent.service}-live", (line,), time.time())
        until(lambda line=line: line in tailing.read_text().splitlines(), what=f"{line} is printed")  # type: ignore[misc]


@pytest.mark.parametrize("how", ["bearer", "basic"])
def test_tail_of_a_query_that_is_wrong_says_why(stack: Stack, how: str) -> None:
    done = subprocess.run([*logcli_of(stack, 0, "/query", how).command, "query", "{a=", "--tail"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "parse error" in done.stderr


@dataclass(frozen=True)
class Promtool:
    """promtool as tenant 1."""

    tool: str
    config: Path
    url: str

    def __call__(self, *arguments: str) -> str:
        command = [self.tool, "query", arguments[0], f"--http.config.file={self.config}", *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["bearer", "basic"])
def promtool(stack: Stack, sent: Sent, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Promtool:
    config, token = tmp_path_factory.mktemp("promtool") / "http.yml", stack.tenants[0]["token"]
    who = {"authorization": {"credentials": token}} if request.param == "bearer" else {"basic_auth": {"username": "any", "password": token}}
    config.write_text(json.dumps(who))
    made = Promtool(binary(servers.promtool), config, f"{stack.gateway}/query/prometheus")
    until(lambda: sent.metric in made("instant", made.url, f"last_over_time({sent.metric}[10m])"), what="promtool finds the metric")
    return made


def test_promtool_queries(promtool: Promtool, sent: Sent) -> None:
    assert " => 42 @" in promtool("instant", promtool.url, f'last_over_time({sent.metric}{{service_name="{sent.service}"}}[10m])')
    start, end = str(int(time.time()) - 60), str(int(time.time()))
    printed = promtool("range", f"--start={start}", f"--end={end}", "--step=15s", promtool.url, f"last_over_time({sent.metric}[10m])")
    assert "42 @" in printed


def test_promtool_lists_series_and_labels(promtool: Promtool, sent: Sent) -> None:
    assert sent.metric in promtool("series", f"--match={sent.metric}", promtool.url)
    assert sent.metric in promtool("labels", promtool.url, "__name__").split()
    assert sent.service in promtool("labels", promtool.url, "service_name").split()


def test_promtool_shows_what_is_wrong(promtool: Promtool) -> None:
    command = [promtool.tool, "query", "instant", f"--http.config.file={promtool.config}", promtool.url, "sum("]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "parse error" in done.stderr
