"""Who the attacker says he is: sessions taken apart and put together anew, tokens twice, and requests that hold another one."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt

from tests.e2e.probes import FORM, Probe

READS = (
    "/query/api/me",
    "/query/api/tokens",
    "/query/api/logs/search",
    "/query/loki/api/v1/labels",
    "/query/prometheus/api/v1/labels",
    "/query/tempo/api/search",
)
_REFUSED = frozenset({401})
_ANYTHING = frozenset({200, 400, 401, 403, 404})


@dataclass(frozen=True)
class Mine:
    """A's own: session, one that was logged out, token, and what no attacker has: the secret, to see whether it is enough."""

    session: str
    logged_out: str
    token: str
    secret: str


def of_identity(tenant: str, mine: Mine) -> Iterator[Probe]:
    """`tenant`: whose the attacker claims to be."""
    for place, forged in enumerate(_forged(tenant, mine)):
        for target in (READS[0], READS[1 + place % (len(READS) - 1)]):
            yield Probe(f"session {place}", "GET", target, (("Cookie", f"obstack_session={forged}"),), anonymous=True, status=_REFUSED)
    for cookies in _cookies(tenant, mine):
        for target in READS[1:4]:
            yield Probe("cookies", "GET", target, cookies, anonymous=True, status=_ANYTHING)
    for headers in _authorizations(tenant, mine):
        for target in READS[2:]:
            yield Probe("authorization", "GET", target, headers, anonymous=True, status=_ANYTHING)
    for target in READS:
        yield Probe("nobody", "GET", target, anonymous=True, status=_REFUSED)
    yield from _smuggled(tenant, mine)


def _forged(tenant: str, mine: Mine) -> Iterator[str]:
    head, payload, signature = mine.session.split(".")
    claims = json.loads(_decode(payload))
    others = claims | {"tid": tenant}
    # Without the secret.
    for algorithm in ("none", "None", "NONE", "nOnE", "HS256", "RS256", "ES256", "EdDSA", "HS512", "", "hs256"):
        for end in ("", signature):
            yield f"{_encode({'alg': algorithm, 'typ': 'JWT'})}.{_encode(others)}.{end}"
    for key in ("", "secret", "obstack", "null", "changeme", mine.token, tenant, "obstack-query"):
        yield _sign({"alg": "HS256", "typ": "JWT"}, others, key.encode())
    for more in (
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT ''--"},
        {"kid": "0"},
        {"jwk": {"kty": "oct", "k": ""}},
        {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/x"},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ):
        yield _sign({"alg": "HS256", **more}, others, b"")
    yield f"{head}.{_encode(others)}.{signature}"
    yield f"{head}.{payload}."
    yield f"{head}.{payload}.{signature[:-4]}"
    yield f"{head}.{payload}.{signature}.{signature}"
    yield f"{head}.{_encode(claims)}={signature}"
    yield f"{payload}.{payload}.{payload}"
    yield mine.logged_out
    yield json.dumps(others).replace('"', "%22").replace(" ", "")
    # With it: a session is A's in the database, whatever a cookie says.
    now = int(time.time())
    for wrong in (
        {"tid": tenant},
        {"tid": tenant.upper()},
        {"tid": [claims["tid"], tenant]},
        {"tid": f"{claims['tid']}|{tenant}"},
        {"tid": "*"},
        {"tid": None},
        {"sub": tenant},
        {"sub": str(uuid4())},
        {"sub": "1 OR 1=1"},
        {"sid": str(uuid4())},
        {"sid": tenant},
        {"sid": "' OR '1'='1"},
        {"exp": now - 3600},
        {"exp": "never"},
        {"nbf": now + 3600},
        {"iat": now + 3600},
        {"iss": "other"},
        {"aud": "other"},
        {"aud": ["other", tenant]},
    ):
        yield _sign({"alg": "HS256", "typ": "JWT"}, claims | wrong, mine.secret.encode())
    for missing in ("exp", "iat", "iss", "aud", "sid", "sub", "tid"):
        yield _sign({"alg": "HS256", "typ": "JWT"}, {name: value for name, value in claims.items() if name != missing}, mine.secret.encode())
    yield jwt.encode(claims, mine.secret, algorithm="HS512")
    yield jwt.encode(others, mine.secret, algorithm="HS384")
    yield _sign({"alg": "HS256", "typ": "JWT"}, [claims], mine.secret.encode())


def _cookies(tenant: str, mine: Mine) -> Iterator[tuple[tuple[str, str], ...]]:
    good, bad = f"obstack_session={mine.session}", f"obstack_session={tenant}"
    forged = f"obstack_session={_sign({'alg': 'none'}, {'tid': tenant}, b'')}"
    for other in (bad, forged, f"tenant_id={tenant}", f"tid={tenant}", f"$Version=1; obstack_session={tenant}"):
        yield (("Cookie", f"{good}; {other}"),)
        yield (("Cookie", f"{other}; {good}"),)
        yield ("Cookie", good), ("Cookie", other)
        yield ("Cookie", other), ("cookie", good)
    yield (("Cookie", f"__Host-{good}"),)
    yield ("Cookie", f"__Host-{good}"), ("X-Forwarded-Proto", "https")
    yield ("Cookie", good), ("X-Forwarded-Proto", "HTTPS")
    yield (("Cookie", f'obstack_session="{mine.session}"; Path=/; Domain={tenant}'),)
    yield ("Cookie", good), ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")


def _authorizations(tenant: str, mine: Mine) -> Iterator[tuple[tuple[str, str], ...]]:
    good = f"Bearer {mine.token}"

    def basic(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    yield from (
        (("Authorization", good), ("Authorization", f"Bearer {tenant}")),
        (("Authorization", f"Bearer {tenant}"), ("Authorization", good)),
        (("Authorization", f"{good}, Bearer {tenant}"),),
        (("Authorization", f"Bearer {mine.token}\t"),),
        (("Authorization", f"bearer  {mine.token}"),),
        (("Authorization", f"Bearer{mine.token}"),),
        (("Authorization", basic(f"{tenant}:{mine.token}")),),
        (("Authorization", basic(f"{tenant}:{mine.token}:{tenant}")),),
        (("Authorization", basic(f"{mine.token}:{tenant}")),),
        (("Authorization", basic(f"{tenant}|x:{mine.token}")),),
        (("Authorization", f"Token {mine.token}"),),
        (("Authorization", f"Bearer {mine.session}"),),
        (("Authorization", f"Bearer {mine.token[:-1]}"),),
        (("Authorization", f"Bearer {mine.token} tenant={tenant}"),),
        (("X-Obstack-Auth-Token", mine.token), ("X-Obstack-Auth-Token", tenant)),
        (("X-Obstack-Auth-Token", tenant), ("Authorization", good)),
        (("X_Obstack_Auth_Token", mine.token),),
        (("X-Obstack-Auth-Token", f"{mine.token},{tenant}"),),
        (("Authorization", f"Bearer {tenant}"), ("Cookie", f"obstack_session={mine.session}")),
        (("Proxy-Authorization", good),),
    )


def _smuggled(tenant: str, mine: Mine) -> Iterator[Probe]:
    """Where two readers could disagree on where a request ends. Only the first one's answer counts as one; the second must not be another tenant's."""
    lines = "GET /query/loki/api/v1/labels HTTP/1.1", "Host: x", f"X-Scope-OrgID: {tenant}", f"Authorization: Bearer {mine.token}", "Connection: close"
    inner = "\r\n".join([*lines, "", ""]).encode()
    target, bearer = "/query/prometheus/api/v1/query", ("Authorization", f"Bearer {mine.token}")
    anything = frozenset({0, 200, 400, 401, 404, 413, 415, 417, 501})
    for headers in (
        (("Transfer-Encoding", "chunked"),),
        (("Transfer-Encoding", "chunked, identity"),),
        (("Transfer-Encoding", "xchunked"),),
        (("Transfer-Encoding ", "chunked"),),
        (("Transfer-Encoding", "identity"), ("Transfer-Encoding", "chunked")),
        (("Content-Length", "0"),),
        (("Content-Length", "8"), ("Content-Length", "0")),
        (("X", f"a\r\nX-Scope-OrgID: {tenant}"),),
        (("X", f"a\nX-Scope-OrgID: {tenant}"),),
        (("X", f"a\rX-Obstack-Tenant: {tenant}"),),
        (("X-Scope-OrgID", f"\r\n {tenant}"),),
        (("X-Scope-OrgID\t", tenant),),
        (("X-Scope-OrgID\x00", tenant),),
        ((" X-Scope-OrgID", tenant),),
        (("", tenant),),
    ):
        yield Probe("smuggled", "POST", target, (bearer, FORM, *headers), b"0\r\n\r\n" + inner, anonymous=True, status=anything)
        yield Probe("smuggled", "GET", f"{target}?query=up", (bearer, *headers), inner, anonymous=True, status=anything)


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _sign(head: Any, claims: Any, key: bytes) -> str:
    """HMAC with SHA-256, whatever the head says."""
    told = f"{_encode(head)}.{_encode(claims)}"
    return f"{told}.{base64.urlsafe_b64encode(hmac.digest(key, told.encode(), 'sha256')).rstrip(b'=').decode()}"
