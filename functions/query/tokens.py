"""A tenant's tokens, for its logged-in users: `GET`, `POST /query/api/tokens`, `POST /query/api/tokens/{id}/rotate`, `DELETE /query/api/tokens/{id}`.

Only a session opens them, never a token: a stolen token must not be able to make others. A viewer's session lists them, an admin's changes them. Changes are
JSON requests of the page's own origin, as the log-in.
A secret is in the one answer that made it.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers, parameters
from functions.query.session import Sessions, require_own_page
from shared import token_store, tokens
from shared.contract import QUERY_PREFIX, Reason, Role, Scope
from shared.database import Database
from shared.errors import Refused
from shared.telemetry import logs
from shared.token_store import Token

log = logging.getLogger(__name__)

PATH = f"{QUERY_PREFIX}/api/tokens"
_ONE = re.compile(rf"{PATH}/(?P<id>[0-9a-f-]{{36}})(?P<rotate>/rotate)?", re.ASCII)


class Tokens:
    """The API over `shared.token_store`, each statement confined to the session's tenant."""

    def __init__(self, sessions: Sessions, database: Database) -> None:
        self._sessions = sessions
        self._database = database

    async def answer(self, request: Request, path: str) -> Response | None:
        """The answer, if the path is one of ours. Raises Refused (400, 401, 403, 404, 405, 409, 413, 415), Later."""
        one = _ONE.fullmatch(path)
        if path != PATH and not one:
            return None
        if request.method != "GET":
            require_own_page(request)
        user = await self._sessions.user(request)
        tenant_id = user.tenant_id
        logs.tenant_id.set(tenant_id)
        if one is None and request.method == "GET":
            found = await self._database.run(lambda connection: token_store.everything(connection, tenant_id))
            return answers.data({"tokens": [_public(token) for token in found]})
        if user.role != Role.ADMIN and request.method != "GET":
            raise Refused(Reason.FORBIDDEN, "only an admin of the tenant may change tokens", 403)
        if one is None and request.method == "POST":
            return await self._create(request, tenant_id)
        if one and one["rotate"] and request.method == "POST":
            return await self._rotate(request, tenant_id, _id(one["id"]))
        if one and not one["rotate"] and request.method == "DELETE":
            return await self._revoke(tenant_id, _id(one["id"]))
        raise Refused(Reason.METHOD, "tokens are listed by GET, made and rotated by POST, revoked by DELETE", 405)

    async def _create(self, request: Request, tenant_id: str) -> Response:
        """POST {name, scopes, expires_in?: "90d"} → 201 with the secret."""
        given = await parameters.json_object(request)
        name, scopes, lifetime = given.get("name"), given.get("scopes"), _time(given, "expires_in")
        if not (isinstance(name, str) and isinstance(scopes, list) and all(isinstance(s, str) and s in set(Scope) for s in scopes)):
            raise Refused(Reason.INVALID, f'send {{"name": …, "scopes": [{", ".join(Scope)}], "expires_in": "90d"}}')
        wanted = [Scope(scope) for scope in scopes]
        return _made("created", *await self._database.run(lambda connection: token_store.create(connection, tenant_id, name, wanted, lifetime)))

    async def _rotate(self, request: Request, tenant_id: str, token_id: str) -> Response:
        """POST {grace?: "1d"} → 201 with the secret of the successor; the old token goes on for the grace."""
        grace = _time(await parameters.json_object(request), "grace") or token_store.GRACE
        return _made("rotated", *await self._database.run(lambda connection: token_store.rotate(connection, tenant_id, token_id, grace)))

    async def _revoke(self, tenant_id: str, token_id: str) -> Response:
        token = await self._database.run(lambda connection: token_store.revoke(connection, tenant_id, token_id))
        log.info("token revoked", extra={"token": token.id})
        return answers.data(_public(token))


def _made(what: str, token: Token, secret: str) -> Response:
    log.info("token %s", what, extra={"token": token.id, "replaces": token.replaces})
    return answers.data({**_public(token), "token": secret}, 201)


def _public(token: Token) -> dict[str, Any]:
    return {**asdict(token), "state": token.state(datetime.now(UTC))}


def _id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise Refused(Reason.NOT_FOUND, "there is no such token", 404) from None


def _time(given: Mapping[str, Any], name: str) -> timedelta | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        return tokens.lifetime(str(text))
    except ValueError as error:
        raise Refused(Reason.INVALID, f"{name}: {error}") from error
