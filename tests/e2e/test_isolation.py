"""A hostile user of tenant A, with a good session and a good token, gets nothing of tenant B's: some thousand probes at the real stack, others in each run.

B's data are marked by canaries (`probes_canaries`), the probes are in `probes*.py`. Of an answer to A three things are asked: there is nothing of B's in it;
it is no error of ours (5xx); and about B it is the same as about a tenant that never was, so that nothing shows even by a count. Half the probes go through the
gateway, half to the function itself, each with one of A's credentials, by chance.

OBSTACK_PROBES=20000 fires the whole catalogue and about so many generated ones, however long it takes; OBSTACK_SEED repeats a run, whose seed is printed.
"""

import asyncio
import base64
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from random import Random
from secrets import randbelow
from time import monotonic
from typing import Any

import aiohttp
import cramjam
import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from functions.query import opensearch, routes, tokens, usage
from functions.query.search_request import KNOWN
from localdev import backends, functions, passwords
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from tests.conftest import Stack
from tests.e2e import probes, probes_canaries, probes_generated, probes_identity, probes_wire
from tests.e2e.probes import Headers, Probe
from tests.e2e.probes_canaries import Canaries, Known, Oracle
from tests.e2e.probes_wire import Answer
from tests.waiting import until

SEED = int(os.environ.get("OBSTACK_SEED") or randbelow(2**32))
PROBES = int(os.environ.get("OBSTACK_PROBES", "0"))
LEAST, SECONDS, TOGETHER, GENERATED = 1000, 40.0, 8, 150
"""Probes of a usual run, and after how long no more are begun; so many at a time (a tenant may have 20 reads); generated examples of TOGETHER each."""
GENERATED_SECONDS = 15.0
AGAIN = 4
"""Times that an answer is asked for again that says "later", or isn't as its twin: the stack works on other tests' data at the same time."""


# --- two tenants of their own ---


@dataclass(frozen=True)
class Customer:
    """A tenant with an admin and a token of all scopes. `session`: the cookie's value."""

    id: str
    mail: str
    token_id: str
    token: str
    session: str = ""
    password: str = ""

    @property
    def credentials(self) -> dict[str, Headers]:
        basic = base64.b64encode(f"any:{self.token}".encode()).decode()
        return {
            "session": (("Cookie", f"obstack_session={self.session}"),),
            "bearer": (("Authorization", f"Bearer {self.token}"),),
            "basic": (("Authorization", f"Basic {basic}"),),
            "header": (("X-Obstack-Auth-Token", self.token),),
        }


@dataclass(frozen=True)
class World:
    """A, B and the stack."""

    stack: Stack
    a: Customer
    b: Customer
    canaries: Canaries
    nobody: Known
    """What B isn't, in the same shape."""
    oracle: Oracle
    now: float
    logged_out: str

    @property
    def ways(self) -> dict[str, str]:
        return {"gateway": self.stack.gateway, "function": self.stack.functions["query"]}

    def words(self, known: Known) -> dict[str, str]:
        """What templates may name."""
        start, end = self.now - 1800, self.now + 300
        times = {"s": str(int(start)), "e": str(int(end)), "ns": str(int(start) * 10**9), "ne": str(int(end) * 10**9)}
        other = {"TRACE": known.trace.upper(), "short": known.trace[1:], "TOKEN_ID": known.token_id.upper(), "MAIL": known.mail.upper(), "own": self.a.id}
        return {**known.words, **times, **other}


def make_customer(stack: Stack, name: str, mail: str, tenant_id: str) -> Customer:
    """Its rows in the database, and its session."""
    password = passwords.create()
    with psycopg.connect(backends.postgres_url()) as connection:
        connection.execute("INSERT INTO tenants (id, name, plan) VALUES (%s, %s, 'large')", (tenant_id, name))
        connection.execute(
            "INSERT INTO users (tenant_id, email, hashed_password, roles) VALUES (%s, %s, %s, '[\"admin\"]')", (tenant_id, mail, passwords.hashed(password))
        )
    session = log_in(stack, mail, password)
    wanted = {"name": "everything", "scopes": ["logs", "metrics", "traces", "read"]}
    made = httpx2.post(f"{stack.gateway}{tokens.PATH}", json=wanted, headers={"cookie": f"obstack_session={session}"}, timeout=30)
    assert made.status_code == 201, made.text
    return Customer(tenant_id, mail, made.json()["id"], made.json()["token"], session, password)


def log_in(stack: Stack, mail: str, password: str) -> str:
    answer = httpx2.post(f"{stack.gateway}/query/api/login", json={"email": mail, "password": password}, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.cookies["obstack_session"])


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    """Both tenants with their data. B's are where he reads them before anything is tried."""
    canaries, now = Canaries(), time.time()
    secrets = canaries.secrets
    b = make_customer(stack, secrets["tenant_name"], canaries.known.mail, canaries.known.tenant)
    named = {"name": secrets["token_name"], "scopes": ["logs"]}
    token = httpx2.post(f"{stack.gateway}{tokens.PATH}", json=named, headers={"cookie": f"obstack_session={b.session}"}, timeout=30).json()
    canaries = replace(canaries, known=replace(canaries.known, token_id=token["id"]))
    a = make_customer(stack, "A of the isolation test", f"{probes_canaries.word()}@a.example", probes_canaries.uuid())
    send_all(stack, b, canaries, now)
    mine = Canaries(Known(tenant=a.id, metric="mine", service="mine", text="mine", span="mine"), {name: f"own{place}" for place, name in enumerate(secrets)})
    send_all(stack, a, replace(mine, secrets=mine.secrets | {name: probes_canaries.hex_id(size) for name, size in probes_canaries.IDS.items()}), now)
    over = log_in(stack, a.mail, a.password)
    httpx2.post(f"{stack.gateway}/query/api/logout", json={}, headers={"cookie": f"obstack_session={over}"}, timeout=30).raise_for_status()
    oracle = Oracle(canaries, **{"B's token": b.token, "B's session": b.session, "B's other token": token["token"], "the secret": functions.session_secret()})
    yield World(stack, a, b, canaries, canaries.known.twin(), oracle, now, over)
    with psycopg.connect(backends.postgres_url()) as connection:
        for table, column in (("telemetry.tokens", "tenant_id"), ("users", "tenant_id"), ("tenants", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s)", ([a.id, b.id],))  # noqa: S608 names from above


def send_all(stack: Stack, customer: Customer, canaries: Canaries, now: float) -> None:
    nano = int(now * 1e9)
    headers = {"authorization": f"Bearer {customer.token}"}
    for signal, batch in (("logs", probes_canaries.logs), ("metrics", probes_canaries.metrics), ("traces", probes_canaries.traces)):
        answer = httpx2.post(f"{stack.gateway}/ingest/otlp/v1/{signal}", json=batch(canaries, nano), headers=headers, timeout=30)
        assert (answer.status_code, "partialSuccess" in answer.text) == (200, False), answer.text
    secrets, written = canaries.secrets, WriteRequest()
    series = written.timeseries.add()
    labels = {"__name__": secrets["metric written_metric"], secrets["metric written_label"]: secrets["metric written_value"]}
    for name, value in sorted(labels.items()):
        series.labels.add(name=name, value=value)
    series.samples.add(value=1, timestamp=nano // 10**6)
    packed = bytes(cramjam.snappy.compress_raw(written.SerializeToString()))
    kind = {"content-type": "application/x-protobuf", "content-encoding": "snappy", "x-prometheus-remote-write-version": "0.1.0"}
    answer = httpx2.post(f"{stack.gateway}/ingest/prometheus/v1/write", content=packed, headers={**headers, **kind}, timeout=30)
    assert answer.status_code == 204, answer.text


# --- the probes can fail ---


def test_every_read_is_attacked_in_every_parameter() -> None:
    """A new route, or a new parameter of one, without hostile values of its own is a KeyError here."""
    words = {**Known().words, "own": "", "TRACE": "", "short": "", "TOKEN_ID": "", "MAIL": ""}
    attacked = {route: {probe.what for probe in probes.of_route(route, words)} for route in routes.ALLOWED}
    for route, tried in attacked.items():
        assert {f"{route.backend} {route.path} {name}" for name in route.parameters} <= tried
    assert len(probes.BENIGN) == len(routes.ALLOWED)
    assert set(probes.SEARCH_HOSTILE) == set(KNOWN)
    targets = {probe.target.partition("?")[0] for probe in probes.catalogue(words, {"token_id": "x"})}
    assert {opensearch.PATH, tokens.PATH, usage.PATH, "/query/api/login", "/query/api/me"} <= targets


@pytest.mark.parametrize(
    "encode",
    [
        str.encode,
        lambda text: text.upper().encode(),
        lambda text: text.encode().hex().encode(),
        lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
        lambda text: base64.urlsafe_b64encode(b"[1,\xff\xfe" + text.encode()),
        lambda text: "".join(f"\\u{ord(c):04X}" for c in text).encode(),
        lambda text: "".join(f"%{ord(c):02X}" for c in text).encode(),
        lambda text: text.encode("utf-16-le"),
    ],
)
def test_canary_is_found_however_it_is_written(encode: Callable[[str], bytes]) -> None:
    canaries = Canaries()
    oracle = Oracle(canaries)
    for name, text in canaries.secrets.items():
        assert oracle.leaks(b"before " + encode(text) + b" after") == [name]
        assert oracle.leaks(encode(text), asked=text.encode()) == [name]
    assert oracle.leaks(bytes.fromhex(canaries.secrets["trace"])) == ["trace"]
    assert oracle.leaks(b'{"status":"success","data":[]}') == []


def test_known_word_may_come_back_only_to_whoever_said_it() -> None:
    canaries = Canaries()
    oracle, metric = Oracle(canaries), canaries.known.metric.encode()
    assert oracle.leaks(metric) == ["known metric"]
    assert oracle.leaks(metric, asked=b"GET /?query=%257a" + metric[1:]) == []
    assert oracle.leaks(metric + canaries.known.tenant.encode(), asked=metric) == ["known tenant"]


CONTROLS = (
    "/query/loki/api/v1/query_range?query={service_name=~%22.%2B%22}&start=<ns>&end=<ne>",
    "/query/loki/api/v1/detected_fields?query={service_name=~%22.%2B%22}&start=<ns>&end=<ne>",
    "/query/api/logs/search?size=500&from=now-1h",
    "/query/prometheus/api/v1/series?match[]={__name__=~%22.%2B%22}&start=<s>&end=<e>",
    "/query/prometheus/api/v1/query_exemplars?query={__name__=~%22.%2B%22}&start=<s>&end=<e>",
    "/query/tempo/api/search?limit=1000&start=<s>&end=<e>",
    "/query/tempo/api/traces/<trace>",
    "/query/api/tokens",
    "/query/api/me",
)
"""By which B sees his own. Together they show every canary."""


@pytest.mark.stack
def test_owner_sees_every_canary(world: World) -> None:
    """Else a probe that finds none would prove nothing."""
    hidden = world.canaries.secrets["trace"]
    targets = [probes.fill(target, world.words(world.canaries.known)) for target in (*CONTROLS, f"/query/tempo/api/traces/{hidden}")]

    def unseen() -> set[str]:
        seen: set[str] = set()
        for target in targets:
            answer = fire(world, Probe("control", "GET", target), "gateway", world.b.credentials["session"])
            if answer.status == 503:  # an index that is being made: later
                return set(world.canaries.secrets)
            assert answer.status in {200, 404}, answer.body
            seen |= set(world.oracle.leaks(answer.shown))
        return set(world.canaries.secrets) - seen

    until(lambda: not unseen(), 60, "B seeing all canaries")


# --- one probe ---


def fire(world: World, probe: Probe, way: str, credentials: Headers) -> Answer:
    return probes_wire.send(wire(world, probe, way, credentials), world.ways[way], probe.method)


def wire(world: World, probe: Probe, way: str, credentials: Headers) -> bytes:
    return probes_wire.request(probe, world.ways[way].removeprefix("http://"), credentials)


def complaint(world: World, probe: Probe, twin: Probe, random: Random) -> str:
    """What is wrong with the answer, if anything. `twin`: the same about what nobody has; where that is no other request it isn't sent."""
    way = probe.only or random.choice(list(world.ways))
    kind = "session" if probe.session else random.choice(list(world.a.credentials))
    credentials = () if probe.anonymous else world.a.credentials[kind]
    said = ""
    for _ in range(AGAIN):
        answer = fire(world, probe, way, credentials)
        if leaks := world.oracle.leaks(answer.shown, wire(world, probe, way, credentials)):
            said = f"leaks {', '.join(leaks)}"
            break  # asked again it would be no better
        said = judge(probe, answer)
        if not said and twin != probe and probes_wire.gist(answer) != (other := probes_wire.gist(fire(world, twin, way, credentials))):
            said = f"tells B from nobody: {probes_wire.gist(answer)!s:.500} and {other!s:.500}"
        if not said:
            return ""
    return f"{probe.what} by {way} with {kind}: {said}\n    {probe.method} {probe.target[:600]} {probe.headers} {probe.body[:300]!r}"


def judge(probe: Probe, answer: Answer) -> str:
    """By its status: of B's nothing is forbidden, there is nothing; a request that no reader understands may end the connection."""
    odd = probe.what.startswith(("path", "method", "header"))
    right = answer.status in probe.status if probe.status else answer.status < 500 and (odd or answer.status not in {0, 403, 429})
    return "" if right else f"answers {answer.status}: {answer.body[:300]!r}"


def fire_all(world: World, pairs: Sequence[tuple[Probe, Probe]], seconds: float = inf) -> tuple[int, list[str]]:
    """How many were fired, and all complaints. After `seconds` none of those beyond LEAST is begun."""
    end, fired = monotonic() + seconds, []

    def one(place: int) -> str:
        if place >= LEAST and monotonic() > end:
            return ""
        fired.append(place)
        return complaint(world, *pairs[place], Random(f"{SEED}-{place}"))  # noqa: S311 no secret is made

    with ThreadPoolExecutor(TOGETHER) as threads:
        wrong = [found for found in threads.map(one, range(len(pairs))) if found]
    return len(fired), wrong


# --- many ---


def unhandled(world: World) -> float:
    """Defects that the function met."""
    text = httpx2.get(f"{world.ways['function']}/metrics", timeout=30).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("obstack_unhandled_errors_total"))


def by_turns(pairs: list[tuple[Probe, Probe]], random: Random) -> list[tuple[Probe, Probe]]:
    """One of each kind, then the others, all by chance: whoever stops somewhere has tried every kind."""
    mixed = random.sample(pairs, len(pairs))
    first = {pair[0].what: pair for pair in mixed}
    return [*first.values(), *(pair for pair in mixed if first[pair[0].what] is not pair)]


@pytest.mark.stack
def test_nothing_of_another_tenants_is_seen(world: World) -> None:
    test_owner_sees_every_canary(world)
    mine = probes_identity.Mine(world.a.session, world.logged_out, world.a.token, functions.session_secret())
    both = [
        [*probes.catalogue(world.words(known), {"token_id": world.a.token_id}), *probes_identity.of_identity(known.tenant, mine)]
        for known in (world.canaries.known, world.nobody)
    ]
    # Signatures, and what follows from their bytes, differ between twins.
    distinct = {probe: probe if probe.what.startswith("session") else twin for probe, twin in zip(*both, strict=True)}
    before = unhandled(world)
    count, wrong = fire_all(world, by_turns(list(distinct.items()), Random(SEED)), inf if PROBES else SECONDS)  # noqa: S311
    sys.stderr.write(f"{count} probes, OBSTACK_SEED={SEED}\n")
    assert not wrong, f"{len(wrong)} of {count} probes, OBSTACK_SEED={SEED}:\n" + "\n".join(wrong[:40])
    assert count >= LEAST
    assert unhandled(world) == before
    # B is as before: nothing was revoked, rotated or added.
    listed = httpx2.get(f"{world.stack.gateway}{tokens.PATH}", headers={"cookie": f"obstack_session={world.b.session}"}, timeout=30).json()["tokens"]
    assert sorted((token["name"], token["state"]) for token in listed) == sorted([("everything", "active"), (world.canaries.secrets["token_name"], "active")])


@pytest.mark.stack
def test_nothing_is_seen_by_what_nobody_thought_of(world: World) -> None:
    test_owner_sees_every_canary(world)
    tried: set[Probe] = set()
    end = inf if PROBES else monotonic() + GENERATED_SECONDS

    @seed(SEED)
    @settings(max_examples=max(GENERATED, PROBES // TOGETHER), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(probes_generated.templates(), min_size=TOGETHER, max_size=TOGETHER))
    def attack(templates: list[probes_generated.Template]) -> None:
        if monotonic() > end:
            return
        pairs = [(template.probe(world.words(world.canaries.known)), template.probe(world.words(world.nobody))) for template in templates]
        tried.update(probe for probe, _ in pairs)
        _, wrong = fire_all(world, pairs)
        assert not wrong, f"OBSTACK_SEED={SEED}:\n" + "\n".join(wrong)

    before = unhandled(world)
    attack()
    sys.stderr.write(f"{len(tried)} generated probes, OBSTACK_SEED={SEED}\n")
    assert unhandled(world) == before


@pytest.mark.stack
def test_usage_is_ones_own(world: World) -> None:
    """Its numbers are nobody's words: B's own, once they are there, must not be among A's."""

    def numbers(customer: Customer, more: str = "") -> dict[str, list[int]]:
        answer = httpx2.get(f"{world.stack.gateway}{usage.PATH}?step=day{more}", headers={"cookie": f"obstack_session={customer.session}"}, timeout=30)
        found = answer.json()["usage"]
        sums = {signal: [sum(one[what] for one in found if one["signal"] == signal) for what in ("records", "bytes")] for signal in ("logs", "traces")}
        return sums if all(map(all, sums.values())) else {}

    theirs = until(lambda: numbers(world.b), 60, "B's usage")
    own = until(lambda: numbers(world.a), 60, "A's usage")
    assert all(theirs[signal][1] != own[signal][1] for signal in own)
    for more in (f"&tenant_id={world.b.id}", f"&tenant={world.b.id}", f"&token_id={world.b.token_id}", "&tenant_id=*", "&all=1"):
        assert numbers(world.a, more) == own


# --- the tail ---

EVERYTHING = '{service_name=~".+"}'


@pytest.mark.stack
@pytest.mark.parametrize("way", ["gateway", "function"])
def test_tail_shows_ones_own_records(world: World, way: str) -> None:
    """All of A's tails listen while B, and then A, sends. Whoever sees A's record has been sent all that came before."""
    asyncio.run(_tail(world, way))


async def _tail(world: World, way: str) -> None:
    victim, bearer = world.b.id, {"Authorization": f"Bearer {world.a.token}"}
    cookie = {"Cookie": f"obstack_session={world.a.session}", "Origin": world.ways[way]}
    seeing: list[tuple[dict[str, str], str, dict[str, str]]] = [
        (bearer, EVERYTHING, {}),
        (bearer | {"X-Scope-OrgID": victim, "X_Scope_OrgID": victim}, EVERYTHING, {}),
        (bearer | {"X-Scope-OrgID": f"{world.a.id}|{victim}"}, EVERYTHING, {"X-Scope-OrgID": victim, "tenant_id": victim}),
        (bearer | {"Sec-WebSocket-Protocol": victim}, EVERYTHING, {"delay_for": "0"}),
        (cookie | {"X-Obstack-Tenant": victim}, EVERYTHING, {"start": str(int((world.now - 1800) * 1e9))}),
    ]
    blind = [
        (bearer, f'{{tenant_id="{victim}"}}', {}),
        (bearer, f'{{service_name="{world.canaries.known.service}"}}', {"limit": "5000", "start": "0"}),
        (bearer, f'{{service_name=~".+"}} |= "{world.canaries.known.text}"', {}),
    ]
    refused: list[tuple[dict[str, str], str, dict[str, str]]] = [
        (cookie | {"Origin": "https://evil.example"}, EVERYTHING, {}),
        ({"Cookie": cookie["Cookie"], "Origin": "null"}, EVERYTHING, {}),
        ({"Cookie": cookie["Cookie"]}, EVERYTHING, {}),
        ({"Authorization": f"Bearer {victim}"}, EVERYTHING, {}),
        ({"Sec-WebSocket-Protocol": f"bearer, {world.a.token}"}, EVERYTHING, {}),
        ({"Cookie": f"obstack_session={world.logged_out}", "Origin": world.ways[way]}, EVERYTHING, {}),
        ({"X-Scope-OrgID": victim}, EVERYTHING, {}),
        (bearer, "", {}),
        (bearer, "{", {}),
    ]
    url = world.ways[way] + "/query/loki/api/v1/tail"
    async with aiohttp.ClientSession() as client:
        for headers, query, more in refused:
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await client.ws_connect(url, headers=headers, params={"query": query, **more})
            assert error.value.status in {400, 401, 403}
        theirs = await client.ws_connect(url, headers={"Authorization": f"Bearer {world.b.token}"}, params={"query": EVERYTHING})
        tails = [await client.ws_connect(url, headers=headers, params={"query": query, **more}) for headers, query, more in (*seeing, *blind)]
        markers = {customer: probes_canaries.word() for customer in (world.b, world.a)}
        for customer, socket in ((world.b, theirs), (world.a, tails[0])):
            await _say(client, world.stack, customer, markers[customer], world.canaries.known)
            await _read_until(socket, markers[customer], world, customer)
        for socket in tails[1 : len(seeing)]:
            await _read_until(socket, markers[world.a], world, world.a)
        for socket in (theirs, *tails):
            await socket.close()
        for socket in tails:  # and what was still on its way, of the blind as well
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                _check(message.data, world)


async def _say(client: aiohttp.ClientSession, stack: Stack, customer: Customer, marker: str, known: Known) -> None:
    record = {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": f"{known.text if customer.id == known.tenant else 'mine'} {marker}"}}
    service = known.service if customer.id == known.tenant else "mine"
    batch = {
        "resourceLogs": [
            {"resource": {"attributes": probes_canaries.attributes(**{"service.name": service})}, "scopeLogs": [{"logRecords": [record]}]},
        ]
    }
    async with client.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"Authorization": f"Bearer {customer.token}"}) as answer:
        assert answer.status == 200


async def _read_until(socket: Any, marker: str, world: World, customer: Customer) -> None:
    async with asyncio.timeout(60):
        while True:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            if customer is world.a:
                _check(message.data, world)
            if marker in message.data:
                return


def _check(data: str, world: World) -> None:
    assert world.oracle.leaks(data.encode()) == []
