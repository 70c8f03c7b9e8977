"""`./task tokens -- …`: the tenants' tokens. A secret is printed once, when it is made, and can't be shown again.

examples:
  ./task tokens -- list --tenant "Acme Rockets"
  ./task tokens -- create --tenant "Acme Rockets" --name agent --scope logs --scope traces --expires 90d
  ./task tokens -- rotate --tenant "Acme Rockets" ID --grace 7d
  ./task tokens -- revoke --tenant "Acme Rockets" ID
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from localdev import admin
from shared import token_store
from shared.contract import Scope
from shared.database import Connection
from shared.token_store import Token


async def show(connection: Connection, tenant_id: str, _: argparse.Namespace) -> None:
    """List a tenant's tokens, newest first."""
    _print(await token_store.everything(connection, tenant_id))


async def create(connection: Connection, tenant_id: str, arguments: argparse.Namespace) -> None:
    """Make a token and print its secret."""
    scopes = [Scope(scope) for scope in arguments.scope or Scope]
    _made(*await token_store.create(connection, tenant_id, arguments.name, scopes, arguments.expires))


async def rotate(connection: Connection, tenant_id: str, arguments: argparse.Namespace) -> None:
    """Make a successor and print its secret; the old token goes on for a while."""
    _made(*await token_store.rotate(connection, tenant_id, str(arguments.id), arguments.grace))
    print(f"The old token ends in {arguments.grace}.")


async def revoke(connection: Connection, tenant_id: str, arguments: argparse.Namespace) -> None:
    """End a token; the functions notice within 30 s."""
    _print([await token_store.revoke(connection, tenant_id, str(arguments.id))])


COMMANDS: dict[str, Callable[[Connection, str, argparse.Namespace], Awaitable[None]]] = {"list": show, "create": create, "rotate": rotate, "revoke": revoke}


def _made(token: Token, secret: str) -> None:
    _print([token])
    print(f"\n{secret}\n\nThis is the only time it is shown.")


def _print(found: Sequence[Token]) -> None:
    now = datetime.now(UTC)
    columns = ("id", "name", "begins with", "scopes", "state", "created", "expires", "last used")
    admin.show(
        columns,
        [
            (
                token.id,
                token.name,
                token.hint,
                " ".join(token.scopes),
                token.state(now),
                *map(_moment, (token.created_at, token.expires_at, token.last_used_at)),
            )
            for token in found
        ],
    )


def _moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if at else "never"


async def _run(connection: Connection, arguments: argparse.Namespace) -> None:
    await COMMANDS[arguments.command](connection, await admin.tenant_id(connection, arguments.tenant), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = admin.parser("tokens", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.add_argument("--tenant", required=True, metavar="NAME", help="the tenant's name or id")
        if name in {"rotate", "revoke"}:
            sub.add_argument("id", type=UUID, help="the token's id, as list shows it")
        if name == "rotate":
            sub.add_argument("--grace", type=admin.lifetime, default=token_store.GRACE, metavar="7d", help="how long the old token goes on (default: 1d)")
        if name == "create":
            sub.add_argument("--name", default="token", help="what it is for")
            sub.add_argument("--scope", action="append", choices=list(map(str, Scope)), help="what it may do; may come several times (default: everything)")
            sub.add_argument("--expires", type=admin.lifetime, metavar="90d", help="how long it is good (default: for ever)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    return admin.main("tokens", _parser(), admin.in_database(_run), argv)


if __name__ == "__main__":
    sys.exit(main())
