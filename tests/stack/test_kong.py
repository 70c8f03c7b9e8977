"""stack/kong: the file is right by our schema and keeps its promises: forged names, limits, one switch; a platform's own routes stay as they are."""

from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from localdev.functions import catalogue
from localdev.gateway import config, schema
from localdev.gateway.schema import ConfigError
from localdev.paths import STACK
from shared import dead_letters, envelope
from shared.contract import MAX_BODY_BYTES, PROXY_TENANT_HEADER, TENANT_HEADER, TOKEN_HEADER, EventType, Period, Reason, Source, Topic
from shared.delivery import REASON_HEADER
from tests.gateway import KONG, before, copied, mirror, plugin, seen

FILE = STACK / "kong" / "kong.yml"
SERVICES = {service["name"]: service for service in KONG["services"]}
ROUTES = config.load(FILE).routes


# The file


def test_file_is_right() -> None:
    schema.read(FILE)


def test_everything_customers_call_has_a_route_and_nothing_else() -> None:
    """Sinks, timers and the trigger are never reached from outside."""
    called = {function.host for function in catalogue() if function.trigger is None and function.every is None}
    assert {route.upstream.host for route in ROUTES} == called


def test_nothing_of_ours_reaches_beyond_our_own_services() -> None:
    """No plugin for all, and names that a platform hasn't: the file can be put beside its own."""
    assert "plugins" not in KONG
    routes = [route for service in KONG["services"] for route in service["routes"]]
    assert all(entry["name"].startswith("telemetry-") for entry in [*KONG["services"], *KONG["upstreams"], *routes])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_its_plugins(name: str) -> None:
    """Those that every request to us goes through; gRPC's limit answers what its clients try again after."""
    grpc = SERVICES[name]["protocol"] == "grpc"
    wanted = {"correlation-id", "rate-limiting", "request-transformer", "response-transformer", "request-termination", "prometheus"}
    assert {entry["name"] for entry in SERVICES[name]["plugins"]} == wanted | (set() if grpc else {"request-size-limiting"})
    plain, token = SERVICES[name]["routes"]
    assert (plain["paths"], list(token["headers"])) == (token["paths"], ["X-Obstack-Auth-Token"])
    limits = [plugin(entry, "rate-limiting")["config"] for entry in (SERVICES[name], token)]
    assert [limit["header_name"].lower() for limit in limits] == ["authorization", TOKEN_HEADER]
    assert {limit.get("error_code", 429) for limit in limits} == {503 if grpc else 429}


def test_size_limit_leaves_the_functions_theirs() -> None:
    assert all(route.plugins.max_body_bytes and route.plugins.max_body_bytes > MAX_BODY_BYTES for route in ROUTES if not route.grpc)


def test_every_name_that_anybody_believes_is_removed() -> None:
    """Of an event with all that it may have, of dead letters, of backends; each also with underscores. Tokens get through."""
    record = envelope.Record("1", EventType.LOGS, Source.OTLP, "now", "t", "k", Topic.LOGS, "key", b"", "00-1", {}, Period.WEEK)
    letter = envelope.dead_letter(record, envelope.Dead(b"", Reason.INVALID, "why", "400", "1"), "sink_loki")
    attributes = {*envelope.attributes(letter), *dead_letters._DEATH}
    names = {f"ce-{name}" for name in attributes} | {TENANT_HEADER, PROXY_TENANT_HEADER, REASON_HEADER, "forwarded", "x-prom-tenant"}
    for route in ROUTES:
        assert names | {name.replace("-", "_") for name in names} <= route.plugins.removed_headers
        assert not {TOKEN_HEADER, "authorization"} & route.plugins.removed_headers


def test_tls_is_1_2_or_newer_and_nothing_is_open_beside_it() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string("[kong]\n" + (STACK / "kong" / "kong.conf").read_text())
    settings = parser["kong"]
    assert set(settings["ssl_protocols"].split()) == {"TLSv1.2", "TLSv1.3"}
    assert (settings["ssl_cipher_suite"], settings["admin_listen"], settings["database"]) == ("intermediate", "off", "off")
    assert all("ssl" in listener.split() for listener in settings["proxy_listen"].split(","))


# The schema


def otlp(raw: dict[str, Any]) -> Any:
    return raw["services"][0]


def of(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return plugin(otlp(raw), name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("services"), "the file: 'services' is a required property"),
        (lambda raw: raw.update(_format_version="2.1"), "_format_version: '3.0' was expected"),
        (lambda raw: raw.update(consumers=[]), "the file: Additional properties are not allowed ('consumers' was unexpected)"),
        (lambda raw: raw.update({True: 1}), "the file: Additional properties are not allowed (True was unexpected)"),
        (lambda raw: raw["services"].append("x"), "services[4]: 'x' is not of type 'object'"),
        (lambda raw: otlp(raw).update(retry=1), "services.telemetry-ingest-otlp: Additional properties are not allowed ('retry' was unexpected)"),
        (lambda raw: otlp(raw).update(retries="many"), "services.telemetry-ingest-otlp.retries: 'many' is not of type 'integer'"),
        (lambda raw: otlp(raw).update(read_timeout=0), "services.telemetry-ingest-otlp.read_timeout: 0 is less than the minimum of 1"),
        (lambda raw: otlp(raw).update(protocol="tcp"), "services.telemetry-ingest-otlp.protocol: 'tcp' is not one of ['http', 'https', 'grpc', 'grpcs']"),
        (lambda raw: otlp(raw).update(url="http://a"), "there must be either url, or host with protocol, port and path"),
        (lambda raw: otlp(raw).update(host="elsewhere"), "services.telemetry-ingest-otlp.host: 'elsewhere' is the name of no upstream; there are: "),
        (lambda raw: otlp(raw)["routes"][0].pop("strip_path"), "routes.telemetry-ingest-otlp: 'strip_path' is a required property"),
        (lambda raw: otlp(raw)["routes"][0].update(paths=["ingest"]), "routes.telemetry-ingest-otlp.paths[0]: 'ingest' matches none of"),
        (lambda raw: otlp(raw)["routes"][0].update(paths=["/a//b"]), "routes.telemetry-ingest-otlp.paths[0]: '/a//b' matches none of"),
        (lambda raw: otlp(raw)["routes"][0].update(methods=["post"]), "routes.telemetry-ingest-otlp.methods[0]: 'post' does not match"),
        (lambda raw: otlp(raw)["routes"][1].update(name="telemetry-query"), "routes.telemetry-query: this name is there twice"),
        (lambda raw: raw["services"][1]["routes"][0].update(strip_path=True), "routes.telemetry-ingest-otlp-grpc.strip_path: False was expected"),
        (lambda raw: raw["services"][1]["routes"][0].pop("protocols"), "protocols: a grpc service's routes have [grpc, grpcs]"),
        (lambda raw: of(raw, "prometheus").update(name="prometeus"), "plugins.prometeus.name: 'prometeus' is not one of ['correlation-id', 'prometheus', "),
        (lambda raw: of(raw, "prometheus").update(name="rate-limiting"), "plugins.rate-limiting.config: "),
        (lambda raw: of(raw, "prometheus").pop("config"), "plugins.prometheus: 'config' is a required property"),
        (lambda raw: of(raw, "prometheus").update(enabled="no"), "plugins.prometheus.enabled: 'no' is not of type 'boolean'"),
        (lambda raw: otlp(raw)["plugins"].append(of(raw, "prometheus")), "plugins.prometheus: this name is there twice"),
        (lambda raw: of(raw, "rate-limiting")["config"].pop("second"), "there must be one of second, minute, hour, day, month, year"),
        (lambda raw: of(raw, "rate-limiting")["config"].pop("header_name"), "plugins.rate-limiting.config: 'header_name' is a required property"),
        (lambda raw: of(raw, "rate-limiting")["config"].update(policy="cluster"), "plugins.rate-limiting.config.policy: 'local' was expected"),
        (lambda raw: of(raw, "rate-limiting")["config"].update(minute=10), "config.minute: 10 is less than 5000, the limit of a second"),
        (lambda raw: of(raw, "request-size-limiting")["config"].update(size_unit="gb"), "size_unit: 'gb' is not one of ['megabytes', 'kilobytes', 'bytes']"),
        (lambda raw: of(raw, "request-termination")["config"].update(trigger="x"), "plugins.request-termination.config: Additional properties are not allowed"),
        (lambda raw: of(raw, "request-termination")["config"].update(body="x"), "there must be either message, or content_type with body"),
        (lambda raw: of(raw, "request-transformer")["config"]["remove"].update(headers=["ce-*"]), "config.remove.headers[0]: 'ce-*' does not match"),
        (lambda raw: of(raw, "response-transformer")["config"]["add"].update(headers=["Retry"]), "config.add.headers[0]: 'Retry' does not match"),
        (lambda raw: of(raw, "correlation-id")["config"].update(generator="random"), "config.generator: 'random' is not one of"),
        (lambda raw: raw["upstreams"][0].update(targets=[{"target": "a"}]), "upstreams.telemetry-ingest-otlp.targets[0].target: 'a' does not match"),
        (lambda raw: raw["upstreams"][0]["healthchecks"]["active"].update(http_path="readyz"), "healthchecks.active.http_path: 'readyz' does not match"),
        (lambda raw: raw["upstreams"].append({"name": "b", "targets": [{"target": "b:1"}]}), "upstreams.b: no service has this host"),
    ],
)
def test_wrong_file_is_refused_by_key_and_place(change: Callable[[dict[str, Any]], None], message: str) -> None:
    raw = copied()
    change(raw)
    with pytest.raises(ConfigError) as refused:
        schema.check(raw)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: None is not of type 'object'"),
        ("- a", "the file: ['a'] is not of type 'object'"),
        ("a: [", "not YAML: "),
        ("a: !!python/object/apply:os.getcwd []", "not YAML: "),
        ("a: &a [*a]", "the file: "),
        ("? [a]\n: b", "not YAML: "),
        ("services:\n  - name: a\n    retries: 1\n    retries: 2", "line 2: retries is there twice"),
    ],
)
def test_what_is_no_kong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "kong.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        schema.read(path)
    assert message in str(refused.value)


# The switch, and the platform beside us

STREAMED = {"strip_path": False, "request_buffering": False, "response_buffering": False}
PLATFORM = {
    "name": "platform",
    "url": "http://platform:3000",
    "routes": [{"name": "platform-api", "paths": ["/api"], **STREAMED}, {"name": "platform-page", "paths": ["/"], **STREAMED}],
}
OURS = ["/ingest/otlp/v1/logs", "/ingest/prometheus/v1/write", "/query/", "/query", "/query/api/logs/search"]
THEIRS = ["/", "/api", "/api/v1/users?a=b", "/api/query/", "/queries", "/ingest", "/query-builder", "/metrics"]


def beside_the_platform(*, closed: bool) -> dict[str, Any]:
    """Our file with the switch turned as docs/gateway.md says, and the platform's own service in it."""
    text = FILE.read_text()
    assert text.count("&closed false") == 1
    raw: dict[str, Any] = yaml.safe_load(text.replace("&closed false", "&closed true") if closed else text)
    return {**raw, "services": [*raw["services"], PLATFORM]}


async def stub(request: web.BaseRequest) -> web.Response:
    """The platform: tells what it was asked."""
    response = await mirror(request)
    response.headers["X-From"] = "platform"
    return response


@pytest.mark.parametrize("closed", [False, True])
async def test_platforms_own_routes_are_left_alone(*, closed: bool) -> None:
    """Every path that isn't ours reaches it with all its headers, and its answer comes back as it is, whatever our switch says."""
    headers = {"X-Scope-OrgID": "its own", "ce-id": "1", "X-Request-Id": "its own", "Authorization": "Bearer t"}
    async with before(mirror, beside_the_platform(closed=closed), platform=stub) as kong:
        for path in THEIRS:
            async with kong.client.post(kong.url + path, headers=headers, data=b"x") as response:
                answer = await response.json()
            assert (response.status, response.headers["X-From"], answer["path"], answer["body"]) == (200, "platform", path, "78")
            assert {name: seen(answer)[name] for name in headers} == headers
            assert not {"X-Request-Id", "RateLimit-Limit", "Retry-After"} & set(response.headers)


async def test_switch_closes_all_of_ours_and_clients_keep_their_data() -> None:
    """503 with Retry-After, which OTLP and remote_write clients try again after; no function is asked."""
    asked: list[str] = []

    async def function(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with before(function, beside_the_platform(closed=True), platform=stub) as kong:
        for path in OURS:
            for headers in ({}, {"X-Obstack-Auth-Token": "t"}):
                async with kong.client.post(kong.url + path, headers=headers, data=b"x") as response:
                    told = await response.json()
                assert (response.status, response.headers["Retry-After"]) == (503, "30")
                assert told == {"message": "telemetry is closed for maintenance"}
    assert set(asked) <= {"/readyz"}


async def test_open_switch_adds_nothing() -> None:
    async with before(mirror, beside_the_platform(closed=False), platform=stub) as kong:
        for path in OURS:
            async with kong.client.post(kong.url + path, data=b"x") as response:
                assert (response.status, {"Retry-After", "X-From"} & set(response.headers)) == (200, set())


def test_switch_closes_grpc_too() -> None:
    """Which the stand-in doesn't serve."""
    assert all(route.plugins.closed for route in config.parse(beside_the_platform(closed=True)).routes if route.service != "platform")
    assert not any(route.plugins.closed for route in ROUTES)
