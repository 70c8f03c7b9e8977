"""Kong's stand-in: routes as kong.yml says and refuses what it doesn't implement, streams untouched bodies, keeps forged identities out, fails as Kong does."""

import asyncio
import gzip
import io
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from localdev.gateway import __main__ as gateway
from localdev.gateway import config
from localdev.gateway.headers import normalize
from localdev.gateway.limits import Limiter
from localdev.gateway.schema import ConfigError
from localdev.paths import STACK
from localdev.ports import free_port
from tests.gateway import KONG, before, changed, copied, mirror, plugin, seen
from tests.waiting import until

# Configuration


def test_projects_kong_file_is_accepted() -> None:
    """And every host in it is a function."""
    settings = config.load(STACK / "kong" / "kong.yml")
    assert {route.path for route in settings.routes if not route.grpc} == {"/ingest/otlp/", "/ingest/prometheus/", "/query/", "/query"}
    assert gateway.addresses(settings)


OTLP = "services.telemetry-ingest-otlp"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda service, _: service["routes"][0].pop("request_buffering"), f"{OTLP}.routes.telemetry-ingest-otlp.request_buffering: None; "),
        (lambda service, _: service["routes"][0].update(methods=["POST"]), f"{OTLP}.routes.telemetry-ingest-otlp: the stand-in doesn't know methods"),
        (lambda service, _: service["routes"][0].update(paths=["~/a.*"]), f"{OTLP}.routes.telemetry-ingest-otlp.paths: '~/a.*'; "),
        (lambda service, _: service["routes"][0].update(protocols=["https"]), f"{OTLP}.routes.telemetry-ingest-otlp.protocols: the stand-in has no TLS"),
        (lambda service, _: service["routes"][0].update(headers={"a": ["b", "c"]}), f"{OTLP}.routes.telemetry-ingest-otlp.headers.a: "),
        (lambda service, _: service["routes"][0].update(headers={"a": ["~*("]}), "'~*(' is no regular expression"),
        (lambda service, _: service.update(tls_verify=True), f"{OTLP}: the stand-in doesn't know tls_verify"),
        (lambda service, _: service.update(protocol="https"), f"{OTLP}.protocol: the stand-in knows only http"),
        (lambda service, _: service.update(enabled=False), f"{OTLP}: the stand-in doesn't know enabled"),
        (lambda service, _: plugin(service, "correlation-id")["config"].update(generator="tracker"), "correlation-id.config.generator: 'tracker'; "),
        (lambda service, _: plugin(service, "prometheus")["config"].update(per_consumer=True), "prometheus.config: the stand-in doesn't know per_consumer"),
        (lambda service, _: plugin(service, "rate-limiting")["config"].update(limit_by="service"), "rate-limiting.config.limit_by: 'service'; "),
        (lambda service, _: plugin(service, "rate-limiting")["config"].update(month=9000), "rate-limiting.config: the stand-in doesn't know month"),
        (lambda service, _: plugin(service, "rate-limiting").update(protocols=["http"]), "rate-limiting: the stand-in doesn't know protocols"),
        (lambda service, _: plugin(service, "request-transformer")["config"].update(add={"headers": ["a:b"]}), "the stand-in doesn't know add"),
        (lambda service, _: plugin(service, "response-transformer")["config"].update(remove={"headers": ["a"]}), "the stand-in doesn't know remove"),
        (lambda _, raw: raw.update(_transform=False), "kong.yml: the stand-in doesn't know _transform"),
        (lambda _, raw: raw["upstreams"][0]["targets"].append({"target": "b:80"}), "upstreams.telemetry-ingest-otlp.targets: the stand-in knows only one"),
        (lambda _, raw: raw["upstreams"][0]["healthchecks"].update(passive={}), "healthchecks: the stand-in doesn't know passive"),
        (lambda _, raw: raw["upstreams"][0]["healthchecks"]["active"].update(type="grpc"), "healthchecks.active.type: 'grpc'; "),
    ],
)
def test_what_it_does_not_implement_is_refused(change: Callable[[dict[str, Any], dict[str, Any]], None], message: str) -> None:
    """Never ignored, however right for Kong: a rule that silently does nothing here would first be seen in production."""
    raw = copied()
    change(raw["services"][0], raw)
    with pytest.raises(ConfigError) as refused:
        config.parse(raw)
    assert message in str(refused.value)


def test_host_that_is_no_function_is_refused() -> None:
    """A renamed function must not become a 502."""
    raw = copied()
    raw["upstreams"][0]["targets"] = [{"target": "ingest-old:8080"}]
    with pytest.raises(ConfigError, match="ingest-old"):
        gateway.addresses(config.parse(raw))


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/query", "/query"),
        ("/query/", "/query/"),
        ("/query/../metrics", "/metrics"),
        ("/query/%2e%2e/metrics", "/metrics"),
        ("/query/.%2E/metrics", "/metrics"),
        ("/query/..", "/"),
        ("/query/.", "/query/"),
        ("/../../metrics", "/metrics"),
        ("//query///a", "/query/a"),
        ("/query/%7Euser/%2f%3f", "/query/~user/%2F%3F"),
        ("/query/label/%E2%82%AC/values", "/query/label/%E2%82%AC/values"),
        ("/query/%zz", "/query/%zz"),
        ("/", "/"),
    ],
)
def test_path_is_normalized_as_kong_does(path: str, normal: str) -> None:
    """RFC 3986, 6.2.2: what is equal is matched as equal, what is reserved stays as it came."""
    assert normalize(path) == normal


# Routing


@pytest.mark.parametrize(("prefix", "host"), [("/ingest/otlp", "ingest-otlp"), ("/ingest/prometheus", "ingest-prom"), ("/query", "query")])
@pytest.mark.parametrize("headers", [{}, {"x-obstack-auth-token": "obs_1"}])
async def test_request_reaches_its_function_unchanged(prefix: str, host: str, headers: dict[str, str]) -> None:
    """Method, path, query string and body; a function knows its public prefix."""
    url = f"{prefix}/v1/x?a=b%20c&a=%7Bd%3D%22e%22%7D"
    async with before(mirror) as kong, kong.client.put(kong.url + url, data=b"\x00\xff", headers=headers) as response:
        answer = await response.json()
    assert (answer["method"], answer["path"], answer["body"]) == ("PUT", url, "00ff")
    assert seen(answer)["Host"] == f"{host}:8080"


@pytest.mark.parametrize(
    "path",
    ["/", "/metrics", "/healthz", "/readyz", "/ingest", "/ingest/otl", "/queryx", "/ingest/otlpx", "/query/../metrics", "/ingest/otlp/%2e%2e/%2e%2e/readyz"],
)
async def test_functions_own_paths_are_out_of_reach(path: str) -> None:
    """404 in Kong's form for everything that is not a public prefix."""
    async with before(mirror) as kong:
        answer = await kong.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b'{"message": "no Route matched with those values"}')


# Headers


async def test_forged_identity_does_not_get_through() -> None:
    """Every name in kong.yml's list, in whatever case; both spellings, since some servers take an underscore for a dash."""
    names = plugin(KONG["services"][0], "request-transformer")["config"]["remove"]["headers"]
    async with before(mirror) as kong:
        headers = {name.upper(): "someone-else" for name in names} | {"X-Other": "kept", "Authorization": "Bearer t"}
        async with kong.client.get(f"{kong.url}/query", headers=headers) as response:
            answer = await response.json()
    assert "someone-else" not in json.dumps(answer)
    assert (seen(answer)["X-Other"], seen(answer)["Authorization"]) == ("kept", "Bearer t")


async def test_hop_by_hop_headers_end_here() -> None:
    """In both directions, those that Connection names too; repeated headers stay repeated."""

    async def function(request: web.BaseRequest) -> web.Response:
        response = await mirror(request)
        response.headers.update({"Connection": "X-Private", "X-Private": "1", "Keep-Alive": "timeout=1"})
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response

    headers = CIMultiDict([("Connection", "close, X-Mine"), ("X-Mine", "1"), ("TE", "trailers"), ("Upgrade", "h2c"), ("X-Twice", "a"), ("X-Twice", "b")])
    async with before(function) as kong, kong.client.get(f"{kong.url}/query", headers=headers) as response:
        answer = await response.json()
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert not {"X-Private", "Keep-Alive"} & set(response.headers)
    assert not {"x-mine", "te", "upgrade", "connection"} & {name.lower() for name in seen(answer)}
    assert seen(answer).getall("X-Twice") == ["a", "b"]


async def test_function_is_told_who_asked_for_what() -> None:
    """X-Forwarded-For grows, the rest replaces what the client claims."""
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Real-IP": "203.0.113.9"}
    async with before(mirror) as kong, kong.client.get(f"{kong.url}/query/page?x=1", headers={**claims, "Host": "telemetry.example:8443"}) as response:
        told = seen(await response.json())
    assert told["X-Forwarded-For"] == "203.0.113.9, 127.0.0.1"
    assert (told["X-Forwarded-Host"], told["X-Forwarded-Port"], told["X-Forwarded-Proto"]) == ("telemetry.example", "8443", "http")
    assert (told["X-Real-IP"], told["X-Forwarded-Path"], told["X-Forwarded-Prefix"]) == ("127.0.0.1", "/query/page", "/query/")


async def test_request_id_is_made_once_and_echoed() -> None:
    """One that came is kept; the function and the client see the same."""
    async with before(mirror) as kong:
        async with kong.client.get(f"{kong.url}/query") as response:
            assert seen(await response.json())["X-Request-Id"] == response.headers["X-Request-Id"]
            assert len(response.headers["X-Request-Id"]) == 36
        async with kong.client.get(f"{kong.url}/query", headers={"X-Request-Id": "mine"}) as response:
            assert (seen(await response.json())["X-Request-Id"], response.headers["X-Request-Id"]) == ("mine", "mine")


async def test_no_header_is_invented() -> None:
    """A request without Accept, User-Agent and Content-Type arrives without them."""
    async with before(mirror) as kong:
        answer = await kong.raw(b"POST /query HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
    names = {name.lower() for name in seen(json.loads(answer.partition(b"\r\n\r\n")[2]))}
    assert not {"accept", "accept-encoding", "user-agent", "content-type"} & names


# Bodies


async def test_bodies_are_not_decompressed() -> None:
    """Nor compressed: the bytes and their encoding pass both ways."""
    packed = gzip.compress(b"batch")

    async def function(request: web.BaseRequest) -> web.Response:
        assert request.headers["Content-Encoding"] == "gzip"
        return web.Response(body=await request.read(), headers={"Content-Encoding": "gzip"})

    async with before(function) as kong, kong.client.post(f"{kong.url}/ingest/otlp/", data=packed, headers={"Content-Encoding": "gzip"}) as response:
        assert (await response.read(), response.headers["Content-Encoding"]) == (packed, "gzip")


async def test_bodies_are_streamed() -> None:
    """The function answers the first piece before the client has sent the second, and the client sees that answer before the function has ended."""
    first_answered = asyncio.Event()

    async def function(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece.upper())
        return response

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.wait_for(first_answered.wait(), 5)
        yield b"two"

    async with before(function) as kong, kong.client.post(f"{kong.url}/query", data=pieces()) as response:
        assert await response.content.readany() == b"ONE"
        first_answered.set()
        assert await response.content.read() == b"TWO"


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_answers_without_body_end(method: str, status: int) -> None:
    """HEAD, 204 and 304: nothing follows the headers, and the connection goes on."""

    async def function(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=b"1234" if status == 200 else None)

    async with before(function) as kong:
        for _ in range(2):
            async with kong.client.request(method, f"{kong.url}/query", timeout=aiohttp.ClientTimeout(5)) as response:
                assert (response.status, await response.read()) == (status, b"1234" if (status, method) == (200, "GET") else b"")


async def test_too_large_body_is_refused_unread() -> None:
    """By its Content-Length, in Kong's form, before the function is asked."""
    async with before(mirror) as kong, kong.client.post(f"{kong.url}/query", data=bytes(1001)) as response:
        assert (response.status, await response.json()) == (413, {"message": "Request size limit exceeded"})


async def test_too_large_chunked_body_is_cut_off() -> None:
    """It says its size only at its end; the function never gets a complete request."""
    complete = []

    async def function(request: web.BaseRequest) -> web.Response:
        complete.append(await request.read())
        return web.Response()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(400)

    async with before(function) as kong, kong.client.post(f"{kong.url}/query", data=pieces()) as response:
        assert response.status == 413
    assert complete == []


@asynccontextmanager
async def hasty(limit: int) -> AsyncIterator[str]:
    """A function's server that refuses by length before reading anything, and closes at once; else it asks for the body and tells its size."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if length > limit:
            writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nours")
        else:
            if b"expect: 100-continue" in head:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            size = str(len(await reader.readexactly(length))).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(size), size))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_functions_own_413_gets_through() -> None:
    """A function that refuses without reading and closes: the client sees its answer, not a broken connection, and the other bodies arrive."""
    async with hasty(5_000_000) as function, before(function, changed(65 << 20)) as kong:
        for size, answer in [(8_000_000, (413, "ours")), (4_000_000, (200, "4000000")), (1000, (200, "1000"))] * 5:
            async with kong.client.post(f"{kong.url}/ingest/otlp/", data=io.BytesIO(bytes(size))) as response:
                assert (response.status, await response.text()) == answer


async def test_client_that_expects_is_told_to_continue() -> None:
    """And one whose body would be too large is told not to."""
    async with before(mirror) as kong:
        async with kong.client.post(f"{kong.url}/query", data=b"x", expect100=True) as response:
            answer = await response.json()
        assert (answer["body"], "Expect" in seen(answer)) == ("78", False)
        async with kong.client.post(f"{kong.url}/query", data=bytes(1001), headers={"Expect": "100-continue"}) as response:
            assert response.status == 417


async def test_ambiguous_length_is_refused() -> None:
    """Content-Length and Transfer-Encoding together: request smuggling."""
    reached = []

    async def function(request: web.BaseRequest) -> web.Response:
        reached.append(request.raw_path)
        return web.Response()

    async with before(function) as kong:
        answer = await kong.raw(
            b"POST /query HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"
        )
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert reached == []


# Failures


async def test_function_that_is_down_is_502() -> None:
    """In Kong's form, and the gateway goes on."""
    async with before(f"http://127.0.0.1:{free_port()}") as kong:
        for _ in range(2):
            async with kong.client.post(f"{kong.url}/ingest/otlp/", data=b"x") as response:
                assert (response.status, await response.json()) == (502, {"message": "An invalid response was received from the upstream server"})


async def test_function_that_hangs_up_is_502() -> None:
    """A request that was sent is not sent twice."""
    requests = []

    async def function(request: web.BaseRequest) -> web.Response:
        requests.append(await request.read())
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with before(function) as kong, kong.client.post(f"{kong.url}/ingest/otlp/", data=b"x") as response:
        assert response.status == 502
    assert requests == [b"x"]


async def test_function_that_is_silent_is_504() -> None:
    """After the service's read_timeout."""
    release = asyncio.Event()

    async def function(_: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response()

    async with before(function, changed(read_timeout=100)) as kong, kong.client.get(f"{kong.url}/query") as response:
        assert (response.status, await response.json()) == (504, {"message": "The upstream server is timing out"})
        release.set()


async def test_answer_that_breaks_off_breaks_off_here() -> None:
    """Half an answer must not look like a whole one."""

    async def function(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport
        request.transport.abort()
        return response

    async with before(function) as kong, kong.client.get(f"{kong.url}/query") as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_request_under_way_is_finished_on_stop() -> None:
    """SIGTERM drains."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def function(_: web.BaseRequest) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="done")

    async with before(function) as kong:
        request = asyncio.create_task(kong.client.get(f"{kong.url}/query"))
        await arrived.wait()
        kong.stop.set()
        await asyncio.sleep(0)
        release.set()
        response = await request
        assert await response.text() == "done"


async def test_access_log_holds_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """One line a request; no query string, no header values, no body."""
    caplog.set_level(logging.INFO)
    async with before(mirror) as kong:
        headers = {"Authorization": "Bearer hidden-token"}
        async with kong.client.post(f"{kong.url}/query/a?token=hidden-token", data=b"hidden-token", headers=headers) as response:
            size = len(await response.read())
    (line,) = [record.__dict__ for record in caplog.records if record.name == "gateway"]
    assert (line["method"], line["path"], line["status"], line["bytes_in"], line["bytes"]) == ("POST", "/query/a", 200, 12, size)
    assert line["ms"] > 0
    assert "hidden" not in str(line)


# Plugins and health checks


def test_requests_are_counted_in_periods_of_the_clock() -> None:
    """By who sends them; a refused one costs nothing, and with the period the count is over."""
    now = [1000.25]
    rule = config.RateLimit("here", "Authorization", (("second", 1, 2), ("minute", 60, 3)), 429, "")
    limiter = Limiter(lambda: now[0])
    assert [limiter.take(rule, who)[0] for who in ("a", "a", "a", "b")] == [True, True, False, True]
    now[0] = 1001.0
    passes, told = limiter.take(rule, "a")
    assert passes
    assert (told["X-RateLimit-Limit-Minute"], told["X-RateLimit-Remaining-Minute"], told["X-RateLimit-Remaining-Second"]) == ("3", "0", "1")
    passes, told = limiter.take(rule, "a")
    assert (passes, told["RateLimit-Limit"], told["Retry-After"], told["RateLimit-Reset"]) == (False, "3", "19", "19")
    now[0] = 1020.0
    assert limiter.take(rule, "a")[0]


async def test_each_token_has_a_limit_of_its_own_wherever_it_is() -> None:
    """In Authorization or in our header; those without count by address, and are told when to come again."""
    raw = changed()
    for entry in (raw["services"][0], raw["services"][0]["routes"][1]):
        limit = plugin(entry, "rate-limiting")["config"]
        del limit["second"]
        limit["day"] = 2
    callers = [{"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}, {"X-Obstack-Auth-Token": "a"}, {"X-Obstack-Auth-Token": "b"}, {}]
    async with before(mirror, raw) as kong:
        for headers in callers:
            answers = []
            for _ in range(3):
                async with kong.client.post(f"{kong.url}/ingest/otlp/v1/logs", headers=headers) as response:
                    answers.append((response.status, response.headers["RateLimit-Remaining"], "Retry-After" in response.headers))
                    told = await response.json()
            assert answers == [(200, "1", False), (200, "0", False), (429, "0", True)]
            assert (told, "X-Request-Id" in response.headers) == ({"message": "API rate limit exceeded"}, True)


async def test_grpc_is_not_served_here_but_its_paths_are_known() -> None:
    """As Kong answers who comes by HTTP/1.1; a laptop's gRPC clients go to the function's own port."""
    url = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    async with before(mirror) as kong:
        for kind, status in [("application/grpc+proto", 426), ("application/x-protobuf", 415)]:
            async with kong.client.post(kong.url + url, data=b"", headers={"Content-Type": kind}) as response:
                assert response.status == status


async def test_frozen_function_gets_no_requests_until_it_answers_again() -> None:
    """Kong's answer comes at once, and can be tried again; a function that is thawed is found by the checks."""
    frozen, thawed = False, asyncio.Event()

    async def function(request: web.BaseRequest) -> web.Response:
        if frozen:
            await thawed.wait()
        return web.Response(status=200 if request.path in {"/readyz", "/query/"} else 404)

    raw = changed()
    for upstream in raw["upstreams"]:
        upstream["healthchecks"]["active"].update(timeout=0.05, healthy={"interval": 0.02, "successes": 2}, unhealthy={"interval": 0.02, "timeouts": 2})
    async with before(function, raw) as kong, asyncio.timeout(20):

        async def becomes(status: int) -> str:
            while True:
                async with kong.client.get(f"{kong.url}/query/") as response:
                    body = await response.text()
                    if response.status == status:
                        return body

        await becomes(200)
        frozen = True
        assert "failure to get a peer from the ring-balancer" in await becomes(503)
        async with kong.client.get(f"{kong.status_url}/metrics") as told:
            assert 'kong_upstream_target_health{state="unhealthy",upstream="query"} 1.0' in await told.text()
        frozen = False
        thawed.set()
        await becomes(200)


async def test_status_listener_tells_what_was_done() -> None:
    """Requests by status and bytes, by Kong's names, and on a port of its own alone."""
    async with before(mirror) as kong:
        async with kong.client.post(f"{kong.url}/ingest/otlp/v1/logs", data=b"12345") as response:
            await response.read()
        await kong.raw(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        async with kong.client.get(f"{kong.status_url}/metrics") as response:
            told = await response.text()
        async with kong.client.get(f"{kong.status_url}/status/ready") as response:
            assert response.status == 200
    of = 'route="telemetry-ingest-otlp",service="telemetry-ingest-otlp"'
    assert f'kong_http_requests_total{{code="200",{of}}} 1.0' in told
    assert f'kong_bandwidth_bytes_total{{direction="ingress",{of}}} 5.0' in told
    assert f"kong_request_latency_ms_count{{{of}}} 1.0" in told
    assert "nowhere" not in told


# WebSockets


async def repeat(request: web.BaseRequest) -> web.StreamResponse:
    """A function that says again what it hears, beginning with what it was asked for; "end" makes it close."""
    socket = web.WebSocketResponse(autoping=False)
    await socket.prepare(request)
    await socket.send_json({"path": request.raw_path, "headers": [[name.decode(), value.decode()] for name, value in request.raw_headers]})
    async for message in socket:
        if message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
        elif message.data == "end":
            await socket.close(code=4321, message=b"as you say")
        else:
            await socket.send_str(message.data)
    return socket


async def test_websocket_passes_in_both_directions() -> None:
    async with (
        before(repeat) as gateway,
        gateway.client.ws_connect(f"{gateway.url}/query/loki/api/v1/tail?query=x", headers={"x-scope-orgid": "forged"}) as socket,
    ):
        asked = json.loads(await socket.receive_str())
        assert asked["path"] == "/query/loki/api/v1/tail?query=x"
        assert "x-scope-orgid" not in seen(asked)
        assert seen(asked)["x-request-id"]
        for text in ("hello", "x" * 1_000_000, ""):
            await socket.send_str(text)
            assert await socket.receive_str() == text
        await socket.send_str("end")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4321


async def test_websocket_of_a_client_that_leaves_ends_at_the_function() -> None:
    ended: list[int | None] = []

    async def listen(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        ended.append(socket.close_code)
        return socket

    async with before(listen) as gateway:
        socket = await gateway.client.ws_connect(f"{gateway.url}/query/")
        await socket.close()
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /query/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
        writer.write(b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
        writer.transport.abort()
        await asyncio.to_thread(until, lambda: 1000 in ended, 5)


async def test_refused_handshake_is_an_answer_like_others() -> None:
    async def refuse(_: web.BaseRequest) -> web.Response:
        return web.Response(status=429, headers={"retry-after": "1"}, text="over 10 tails")

    async with before(refuse) as gateway:
        asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
        async with gateway.client.get(f"{gateway.url}/query/", headers=asked) as answer:
            assert (answer.status, answer.headers["retry-after"], await answer.text()) == (429, "1", "over 10 tails")


async def test_websocket_without_traffic_ends_after_kongs_read_timeout() -> None:
    async with before(repeat, changed(read_timeout=200)) as gateway, gateway.client.ws_connect(f"{gateway.url}/query/") as socket:
        await socket.receive_str()
        async with asyncio.timeout(5):
            assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}
        assert socket.close_code == 1006


async def test_other_upgrades_are_not_passed_on() -> None:
    async with before(mirror) as gateway, gateway.client.get(f"{gateway.url}/query/", headers={"Upgrade": "h2c", "Connection": "Upgrade"}) as answer:
        assert "upgrade" not in seen(await answer.json())


async def test_gateway_that_stops_ends_websockets() -> None:
    async with before(repeat) as gateway:
        socket = await gateway.client.ws_connect(f"{gateway.url}/query/")
        await socket.receive_str()
        gateway.stop.set()
        async with asyncio.timeout(20):
            await socket.receive()
        await socket.close()
