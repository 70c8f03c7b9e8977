"""Log in, log out, who am I: a signed cookie that names session, user and tenant (JWT, HS256), checked against the database at every use.

The cookie is HttpOnly and SameSite=Strict: links from elsewhere still work, since the page itself needs no cookie and asks for data from its own origin.
Over HTTPS its name begins with __Host-, so that no other host of the domain can plant one (RFC 6265bis, section 4.1.3.2). Each log-in makes a new session.
Log-in and log-out are JSON requests of the page's own origin only; another site can send neither without a preflight, which nobody here answers.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers, parameters
from functions.query.throttle import Throttle
from functions.query.users import User, Users
from shared import bodies
from shared.contract import JSON, QUERY_PREFIX, Reason, Role
from shared.errors import Later, Refused
from shared.settings import Sessions as Settings
from shared.telemetry import metrics

COOKIE, SECURE_COOKIE = "obstack_session", "__Host-obstack_session"
_ISSUER, _AUDIENCE = "obstack", "obstack-query"
_CLAIMS = ("sid", "sub", "tid")
"""Session, user, tenant."""


class Sessions:
    """Makes and reads the cookie."""

    def __init__(self, settings: Settings, users: Users, throttle: Throttle) -> None:
        self._secret = settings.session_secret.get_secret_value()
        self._lifetime = timedelta(hours=settings.session_hours)
        self._users = users
        self._throttle = throttle
        self._platform = settings.platform_tenant_id

    def is_operator(self, user: User) -> bool:
        """Whether he runs the platform: an admin of its own tenant."""
        return user.role == Role.ADMIN and user.tenant_id == self._platform

    def _public(self, user: User) -> dict[str, Any]:
        """What the page is told of a user."""
        return {**user.public, "operator": True} if self.is_operator(user) else user.public

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer, if the path is one of ours."""
        match request.method, path.removeprefix(QUERY_PREFIX):
            case "POST", "/api/login":
                return await self.log_in(request)
            case "POST", "/api/logout":
                return await self.log_out(request)
            case "GET", "/api/me":
                return answers.data(self._public(await self.user(request)))
        return None

    async def log_in(self, request: Request) -> Response:
        """POST {email, password} → 200 with the cookie. Raises Refused (400, 401, 403, 429), Later."""
        require_own_page(request)
        email, password = _credentials(await bodies.read(request, parameters.MAX_JSON, ()))
        address = _address(request)
        lowered = email.lower()
        try:
            with self._users.turn():  # whoever is sent away here isn't counted: else a flood would push others' counts out
                await self._throttle.attempt(lowered, address)
                user, session = await self._users.log_in(email, password, self._lifetime)
        except (Refused, Later) as error:
            metrics.LOGINS.labels("unavailable" if isinstance(error, Later) else "throttled" if error.status == 429 else "refused").inc()
            raise
        await self._throttle.forgive(lowered, address)
        metrics.LOGINS.labels("accepted").inc()
        answer = answers.data(self._public(user))
        self._set(request, answer, self._sign(user, session), int(self._lifetime.total_seconds()))
        return answer

    async def log_out(self, request: Request) -> Response:
        """POST {everywhere?: true} → 204: the session, or all of its user's, is over. Without the database 503. The cookie is cleared in any case."""
        require_own_page(request)
        given = await parameters.json_object(request, 'send {} or {"everywhere": true}')
        answer = Response(status_code=204, headers=answers.DATA_HEADERS)
        try:
            await self._users.log_out(self._claims(request)[0], given.get("everywhere") is True)
        except Refused:
            pass  # there was none
        except Later as error:
            answer = answers.refuse(request, error)
        self._set(request, answer, "", 0)
        return answer

    async def user(self, request: Request) -> User:
        """The user whose valid cookie the request carries. Raises Refused (401, 403), Later."""
        return await self._users.still(*self._claims(request))

    def _claims(self, request: Request) -> tuple[str, str, str]:
        cookie = request.cookies.get(SECURE_COOKIE if _is_secure(request) else COOKIE)
        if not cookie:
            raise Refused(Reason.NO_TOKEN, "log in, or send a token with the scope read", 401)
        try:
            required = [*_CLAIMS, "iat", "exp", "iss", "aud"]
            claims = jwt.decode(cookie, self._secret, algorithms=["HS256"], issuer=_ISSUER, audience=_AUDIENCE, options={"require": required})
            session, user, tenant = (claims[name] for name in _CLAIMS)
            return str(UUID(session)), str(user), str(UUID(tenant))
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError) as error:
            raise Refused(Reason.UNKNOWN_TOKEN, "the session has ended: log in again", 401) from error

    def _sign(self, user: User, session: str) -> str:
        now = datetime.now(UTC)
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sid": session, "sub": user.id, "tid": user.tenant_id, "iat": now, "exp": now + self._lifetime}
        return jwt.encode(claims, self._secret, algorithm="HS256")

    @staticmethod
    def _set(request: Request, answer: Response, value: str, seconds: int) -> None:
        secure = _is_secure(request)
        # A __Host- cookie is for the whole host; the plain one, of a laptop, stays below our prefix.
        name, path = (SECURE_COOKIE, "/") if secure else (COOKIE, QUERY_PREFIX)
        answer.set_cookie(name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="strict")


def _is_secure(request: Request) -> bool:
    """Whether the browser spoke HTTPS, as the gateway tells."""
    return request.headers.get("x-forwarded-proto", request.scope["scheme"]).lower() == "https"


def require_own_page(request: Request) -> None:
    """Refuse what another site made the browser send. Browsers say where a request comes from; programs that say nothing must still send JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refused(Reason.MEDIA_TYPE, f"Content-Type must be {JSON}", 415)
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        require_own_origin(request)


def require_own_origin(request: Request) -> None:
    """Refuse what a browser doesn't say to come from our own page. Raises Refused (403)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    # Kong tells host and port of the original request apart; a browser leaves the scheme's own port out.
    forwarded, port = request.headers.get("x-forwarded-host"), request.headers.get("x-forwarded-port")
    hosts = {request.headers.get("host"), forwarded, f"{forwarded}:{port}"}
    own = site in {"same-origin", "none"} if site else _host(origin) in hosts
    if not own:
        raise Refused(Reason.FORBIDDEN, "the request comes from another site", 403)


def _host(origin: str) -> str:
    """With its port, if one is named; empty for what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # as of http://[
        return ""


def _credentials(body: bytes) -> tuple[str, str]:
    try:
        given = orjson.loads(body)
        email, password = given["email"], given["password"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Refused(Reason.INVALID, 'send {"email": …, "password": …}') from error
    if not (isinstance(email, str) and isinstance(password, str)) or len(email) > 320 or "\0" in email:
        raise Refused(Reason.INVALID, "email and password must be strings")
    return email.strip(), password


def _address(request: Request) -> str:
    """Where the request comes from, as the gateway saw it: it sets X-Real-IP and appends to X-Forwarded-For, whose other entries are the caller's own word.

    Of IPv6 the /64, which is the least that anybody gets: he may come from another address of it each time (RFC 6177).
    """
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    text = request.headers.get("x-real-ip") or forwarded or (request.client.host if request.client else "")
    try:
        address = ip_address(text)
    except ValueError:
        return text[:45]
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))
