"""Log in, log out, who am I: a signed cookie that names user and tenant (JWT, HS256), checked against the database at every use.

The cookie is HttpOnly and SameSite=Strict: links from elsewhere still work, since the page itself needs no cookie and asks for data from its own origin.
Log-in and log-out are JSON requests of the page's own origin only; another site can send neither without a preflight, which nobody here answers.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers
from functions.query.throttle import Throttle
from functions.query.users import User, Users
from shared import bodies
from shared.contract import JSON, QUERY_PREFIX, Reason
from shared.errors import Later, Refused
from shared.settings import Sessions as Settings
from shared.telemetry import metrics

COOKIE = "obstack_session"
_ISSUER, _AUDIENCE = "obstack", "obstack-query"
_MAX_LOGIN_BYTES = 4096


class Sessions:
    """Makes and reads the cookie."""

    def __init__(self, settings: Settings, users: Users) -> None:
        self._secret = settings.session_secret.get_secret_value()
        self._lifetime = timedelta(hours=settings.session_hours)
        self._users = users
        self._throttle = Throttle()

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer, if the path is one of ours."""
        match request.method, path.removeprefix(QUERY_PREFIX):
            case "POST", "/api/login":
                return await self.log_in(request)
            case "POST", "/api/logout":
                return await self.log_out(request)
            case "GET", "/api/me":
                return answers.data((await self.user(request)).public)
        return None

    async def log_in(self, request: Request) -> Response:
        """POST {email, password} → 200 with the cookie. Raises Refused (400, 401, 403, 429), Later."""
        require_own_page(request)
        email, password = _credentials(await bodies.read(request, _MAX_LOGIN_BYTES, ()))
        address = _address(request)
        try:
            self._throttle.attempt(email, address)
            user = await self._users.log_in(email, password)
        except (Refused, Later) as error:
            metrics.LOGINS.labels("unavailable" if isinstance(error, Later) else "throttled" if error.status == 429 else "refused").inc()
            raise
        self._throttle.forgive(email, address)
        metrics.LOGINS.labels("accepted").inc()
        answer = answers.data(user.public)
        self._set(request, answer, self._sign(user), int(self._lifetime.total_seconds()))
        return answer

    async def log_out(self, request: Request) -> Response:
        """POST → 204, cookie cleared."""
        require_own_page(request)
        answer = Response(status_code=204, headers=answers.DATA_HEADERS)
        self._set(request, answer, "", 0)
        return answer

    async def user(self, request: Request) -> User:
        """The user whose valid cookie the request carries. Raises Refused (401, 403), Later."""
        cookie = request.cookies.get(COOKIE)
        if not cookie:
            raise Refused(Reason.NO_TOKEN, "log in, or send a token with the scope read", 401)
        try:
            required = ["sub", "tid", "iat", "exp", "iss", "aud"]
            claims = jwt.decode(cookie, self._secret, algorithms=["HS256"], issuer=_ISSUER, audience=_AUDIENCE, options={"require": required})
            user_id, tenant_id = str(UUID(claims["sub"])), str(UUID(claims["tid"]))
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError) as error:
            raise Refused(Reason.UNKNOWN_TOKEN, "the session has ended: log in again", 401) from error
        return await self._users.still(user_id, tenant_id)

    def _sign(self, user: User) -> str:
        now = datetime.now(UTC)
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": user.id, "tid": user.tenant_id, "iat": now, "exp": now + self._lifetime}
        return jwt.encode(claims, self._secret, algorithm="HS256")

    @staticmethod
    def _set(request: Request, answer: Response, value: str, seconds: int) -> None:
        secure = request.headers.get("x-forwarded-proto", request.url.scheme).lower() == "https"
        answer.set_cookie(COOKIE, value, max_age=seconds, path=QUERY_PREFIX, secure=secure, httponly=True, samesite="strict")


def require_own_page(request: Request) -> None:
    """Refuse what another site made the browser send. Browsers say where a request comes from; programs that say nothing must still send JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refused(Reason.MEDIA_TYPE, f"Content-Type must be {JSON}", 415)
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # Kong tells host and port of the original request apart; a browser leaves the scheme's own port out.
    forwarded, port = request.headers.get("x-forwarded-host"), request.headers.get("x-forwarded-port")
    hosts = {request.headers.get("host"), forwarded, f"{forwarded}:{port}"}
    own = site in {"same-origin", "none"} if site else origin is None or urlsplit(origin).netloc in hosts
    if not own:
        raise Refused(Reason.FORBIDDEN, "the request comes from another site", 403)


def _credentials(body: bytes) -> tuple[str, str]:
    try:
        given = orjson.loads(body)
        email, password = given["email"], given["password"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Refused(Reason.INVALID, 'send {"email": …, "password": …}') from error
    if not (isinstance(email, str) and isinstance(password, str)) or len(email) > 320 or "\0" in email:
        raise Refused(Reason.INVALID, "email and password must be strings")
    return email.strip().lower(), password


def _address(request: Request) -> str:
    """Where the request comes from, as the gateway saw it: it sets X-Real-IP and appends to X-Forwarded-For, whose other entries are the caller's own word."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return (request.headers.get("x-real-ip") or forwarded or (request.client.host if request.client else ""))[:45]
