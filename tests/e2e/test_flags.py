"""Each switch flipped while numbered records flow: nothing is lost, other parts don't notice, and the platform's own API and the page go on."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from typing import Any

import grpc
import httpx2
import pytest
import yaml
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from localdev import backfill, flags, functions
from localdev.chaos.load import Run, Sender
from localdev.chaos.seen import Reader, Sight
from localdev.gateway import __main__ as gateway
from localdev.gateway import config
from localdev.paths import STACK
from localdev.ports import free_port
from shared.contract import PROTOBUF, TOKEN_HEADER
from shared.signals import SIGNALS
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

PAIRS = [{"sink.loki": "loki", "sink.prom": "prometheus"}, {"sink.opensearch": "opensearch", "sink.tempo": "tempo"}]
"""Sinks that are held together: a topic's other sink and those of another topic go on beside each."""
HELD, SKIPPED = (f'obstack_sink_switched_records_total{{mode="{mode}"}}' for mode in ("hold", "skip"))


@contextmanager
def switched(name: str, value: str, *more: str) -> Iterator[None]:
    """The flag, as an operator sets it, until the end of the block; it ends by itself if this process is killed."""
    assert flags.main(["set", name, value, "--for", "5m", *more]) == 0
    try:
        yield
    finally:
        assert flags.main(["unset", name, *more]) == 0


@contextmanager
def platform(stack: Stack) -> Iterator[str]:
    """The gateway as kong.yml says, with the platform's own `/api` beside our routes: its address."""
    assert stack.tenants

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the platform's own")

        def log_message(self, *_: Any) -> None: ...

    raw = yaml.safe_load((STACK / "kong" / "kong.yml").read_text())
    route = {"name": "platform", "paths": ["/api"], "strip_path": False, "request_buffering": False, "response_buffering": False}
    ours = config.parse(raw)
    settings = config.parse({**raw, "services": [*raw["services"], {"name": "platform", "url": "http://platform:8000", "routes": [route]}]})
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        addresses = {**gateway.addresses(ours), "platform": f"http://127.0.0.1:{api.server_port}"}
        loop, stop, port, status_port = asyncio.new_event_loop(), asyncio.Event(), free_port(), free_port()
        thread = threading.Thread(target=lambda: loop.run_until_complete(gateway.serve(settings, addresses, port, status_port, stop)))
        thread.start()
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/api/health") == 200, what="the gateway is ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            loop.close()
            api.shutdown()


def answers(url: str) -> int | None:
    try:
        return httpx2.get(url, timeout=10).status_code
    except httpx2.TransportError:
        return None


def a_run() -> Run:
    return Run(f"run{token_hex(4)}", logs=4000, samples=4000, spans=1000)


def whole(look: Callable[[], Sight]) -> bool:
    try:
        sight = look()
    except (httpx2.HTTPError, KeyError):
        return False
    assert not sight.doubled
    return sight.whole


def post(stack: Stack, tenant: dict[str, str], path: str) -> httpx2.Response:
    return httpx2.post(f"{stack.gateway}{path}", headers={TOKEN_HEADER: tenant["token"], "content-type": PROTOBUF}, content=b"", timeout=10)


def metric(flag: str, line: str) -> float:
    """A sample of a sink's metrics by the beginning of its line; 0 when there is none."""
    text = httpx2.get(f"{stack_function(flag.replace('.', '_')).url}/metrics", timeout=10).text
    return float(next((found.rpartition(" ")[2] for found in text.splitlines() if found.startswith(f"{line} ")), "0"))


def stack_function(name: str) -> functions.Function:
    return next(one for one in functions.catalogue() if one.name == name)


def by_grpc(stack: Stack) -> tuple[grpc.StatusCode, bool]:
    """A request's status, and whether it names a time to wait."""
    port = stack_function("ingest_otlp_grpc").port
    metadata = ((TOKEN_HEADER, stack.tenants[0]["token"]),)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:  # type: ignore[no-untyped-call]
        call: Any = channel.unary_unary(SIGNALS[0].method)
        try:
            call(ExportLogsServiceRequest().SerializeToString(), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            told: Any = error
            status = Status.FromString(dict(told.trailing_metadata()).get("grpc-status-details-bin", b""))
            return told.code(), any(detail.Unpack(RetryInfo()) for detail in status.details)
    return grpc.StatusCode.OK, False


def test_ingest_off_keeps_everything_with_the_clients(stack: Stack) -> None:
    """Each protocol is refused in its own form, the platform's API, the page and what was taken before are as ever; then all of it is taken."""
    tenant, run = stack.tenants[0], a_run()
    with platform(stack) as public, Sender(stack.gateway, tenant["token"], run, 2, 60) as sender, Reader(stack.backends, tenant["id"], run) as reader:
        for future in sender.start(0, 1):
            future.result()
        with switched("ingest", "off"):
            paths = [*(f"/ingest/otlp{signal.path}" for signal in SIGNALS), "/ingest/prometheus/v1/write"]
            until(lambda: {post(stack, tenant, path).status_code for path in paths} == {503}, 15, "ingest is off")
            assert {post(stack, tenant, path).headers["retry-after"] for path in paths} == {"5"}
            until(lambda: by_grpc(stack) == (grpc.StatusCode.UNAVAILABLE, True), 15, "OTLP/gRPC is off")
            under_way = sender.start(1, 0)
            assert [answers(public + path) for path in ("/api/health", "/query/")] == [200, 200]
            credentials = {name: tenant[name] for name in ("email", "password")}
            assert httpx2.post(f"{public}/query/api/login", json=credentials, timeout=10).status_code in {200, 204}
            until(lambda: sender.again >= 3, 15, "batches were refused")
            assert not any(future.done() for future in under_way)
        for future in under_way:
            future.result()
        for backend, look in reader.looks().items():
            until(lambda look=look: whole(look), 40, f"{backend} has all")  # type: ignore[misc]
    until(lambda: by_grpc(stack)[0] is grpc.StatusCode.OK, 15, "OTLP/gRPC is on")


def test_one_protocol_and_one_tenant_are_off_alone(stack: Stack) -> None:
    acme, globex = stack.tenants[:2]
    with switched("ingest.otlp", "off", "--tenant", acme["name"]):
        until(lambda: post(stack, acme, "/ingest/otlp/v1/logs").status_code == 503, 15, "it is off")
        assert post(stack, globex, "/ingest/otlp/v1/logs").status_code == 200
        assert post(stack, acme, "/ingest/prometheus/v1/write").status_code != 503
    until(lambda: post(stack, acme, "/ingest/otlp/v1/logs").status_code == 200, 15, "it is on")


@pytest.mark.parametrize("held", PAIRS, ids=" ".join)
def test_held_sink_loses_nothing_and_keeps_no_other_waiting(stack: Stack, held: dict[str, str]) -> None:
    tenant, run = stack.tenants[0], a_run()
    with Sender(stack.gateway, tenant["token"], run, 1, 60) as sender, Reader(stack.backends, tenant["id"], run) as reader, ExitStack() as switches:
        looks = reader.looks()
        for flag in held:
            switches.enter_context(switched(flag, "hold"))
        for flag in held:
            until(lambda flag=flag: metric(flag, f'obstack_flag{{flag="{flag}",value="hold"}}') == 1, 15, f"{flag} is on hold")  # type: ignore[misc]
        before = {flag: metric(flag, HELD) for flag in held}
        for future in sender.start(0, 1):
            future.result()
        for other in looks.keys() - held.values():
            until(lambda look=looks[other]: whole(look), 40, f"{other} has all")  # type: ignore[misc]
        for flag, backend in held.items():
            until(lambda flag=flag: metric(flag, HELD) > before[flag], 15, "events are held")  # type: ignore[misc]
            assert len(looks[backend]().missing) == looks[backend]().expected
        switches.close()
        for backend in held.values():
            until(lambda look=looks[backend]: whole(look), 40, f"{backend} has all")  # type: ignore[misc]


def test_skipped_tenant_is_let_go_and_the_other_is_not(stack: Stack) -> None:
    """Counted where it is skipped; the other sink of the same topic has it."""
    runs = [a_run(), a_run()]
    with switched("sink.loki", "skip", "--tenant", stack.tenants[0]["name"]):
        until(lambda: metric("sink.loki", 'obstack_flag_tenants{flag="sink.loki"}') == 1, 15, "it is skipped")
        before = metric("sink.loki", SKIPPED)
        for tenant, run in zip(stack.tenants, runs, strict=False):
            with Sender(stack.gateway, tenant["token"], run, 1, 60) as sender:
                for future in sender.start(0, 0):
                    future.result()
        with Reader(stack.backends, stack.tenants[1]["id"], runs[1]) as reader:
            until(lambda: whole(reader.loki), 40, "Loki has the other's")
        with Reader(stack.backends, stack.tenants[0]["id"], runs[0]) as reader:
            until(lambda: whole(reader.opensearch), 40, "OpenSearch has all")
            until(lambda: metric("sink.loki", SKIPPED) >= before + 20, 15, "all batches were skipped")
            assert len(reader.loki().missing) == runs[0].logs
    # Whoever comes next sends as this tenant, too.
    until(lambda: metric("sink.loki", 'obstack_flag_tenants{flag="sink.loki"}') == 0, 15, "it is skipped no longer")


def test_what_was_let_go_is_stored_once_by_backfill(stack: Stack) -> None:
    """Of one tenant, in every backend, from the topics; a second backfill changes nothing."""
    tenant, run = stack.tenants[0], a_run()
    batches = {"sink.loki": 20, "sink.opensearch": 20, "sink.prom": 8, "sink.tempo": 5}
    with ExitStack() as switches, Reader(stack.backends, tenant["id"], run) as reader:
        for flag in batches:
            switches.enter_context(switched(flag, "skip", "--tenant", tenant["name"]))
        for flag in batches:
            until(lambda flag=flag: metric(flag, f'obstack_flag_tenants{{flag="{flag}"}}') == 1, 15, f"{flag} is skipped")  # type: ignore[misc]
        before = {flag: metric(flag, SKIPPED) for flag in batches}
        with Sender(stack.gateway, tenant["token"], run, 1, 60) as sender:
            for future in sender.start(0, 0):
                future.result()
        for flag, count in batches.items():
            until(lambda flag=flag, count=count: metric(flag, SKIPPED) >= before[flag] + count, 30, f"all were let go: {flag}")  # type: ignore[misc]
        assert [len(look().missing) for look in reader.looks().values()] == [look().expected for look in reader.looks().values()]
        switches.close()
        for flag in batches:
            until(lambda flag=flag: metric(flag, f'obstack_flag_tenants{{flag="{flag}"}}') == 0, 15, f"{flag} is on")  # type: ignore[misc]
        for _ in range(2):
            for flag in batches:
                assert backfill.main(["--sink", flag.removeprefix("sink."), "--from", "5m", "--tenant", tenant["name"]]) == 0
            for backend, look in reader.looks().items():
                until(lambda look=look: whole(look), 40, f"{backend} has all, once")  # type: ignore[misc]
