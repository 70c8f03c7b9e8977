"""`./task users -- …`: the people who log in to the tenants. A password is asked for twice, or generated and shown once; it is never an argument.

What is changed here, the query function knows within 5 s; another password, deactivate and remove end the user's sessions.

examples:
  ./task users -- list
  ./task users -- add vera@acme.example --tenant "Acme Rockets" --role viewer --generate
  ./task users -- password vera@acme.example
  ./task users -- roles vera@acme.example admin viewer
  ./task users -- deactivate vera@acme.example
  ./task users -- remove vera@acme.example
"""

import argparse
import getpass
import sys
from collections.abc import Sequence

from localdev import admin, passwords
from localdev.accounts import Accounts
from shared.contract import Role
from shared.database import Connection

LONGEST_EMAIL = 320

_USERS = """
SELECT u.email, t.name, u.roles, u.is_active, (SELECT count(*) FROM telemetry.sessions s WHERE s.user_id = u.id AND s.expires_at > now())
FROM telemetry.users u JOIN telemetry.tenants t ON t.id = u.tenant_id
WHERE (%(email)s::text IS NULL OR u.email = %(email)s) AND (%(tenant)s::uuid IS NULL OR t.id = %(tenant)s::uuid) ORDER BY t.name, u.email
"""


async def list_(connection: Connection, arguments: argparse.Namespace) -> None:
    """List users with their tenant, roles and open sessions."""
    tenant = await admin.tenant_id(connection, arguments.tenant) if arguments.tenant else None
    await _show(connection, None, tenant)


async def add(connection: Connection, arguments: argparse.Namespace) -> None:
    """Make a user of a tenant."""
    tenant = await admin.tenant_id(connection, arguments.tenant)
    if await (await connection.execute("SELECT 1 FROM users WHERE email = %s", (arguments.email,))).fetchone():
        raise admin.Failure(f"There is a user {arguments.email!r} already.")
    password, hashed = _new_password(arguments.generate)
    await (await Accounts.of(connection)).add_user(tenant, arguments.email, hashed, _roles(arguments.role))
    await _show(connection, arguments.email)
    _tell(password, arguments.generate)


async def password(connection: Connection, arguments: argparse.Namespace) -> None:
    """Give a user another password and end his sessions."""
    if not await (await connection.execute("SELECT 1 FROM users WHERE email = %s", (arguments.email,))).fetchone():
        raise _no_such_user(arguments.email)  # before anybody types one
    new, hashed = _new_password(arguments.generate)
    await (await Accounts.of(connection)).set_password(arguments.email, hashed)
    await _end_sessions(connection, arguments.email)
    _tell(new, arguments.generate)


async def roles(connection: Connection, arguments: argparse.Namespace) -> None:
    """Say what a user may do: a viewer reads, an admin changes tokens too."""
    if not await (await Accounts.of(connection)).set_roles(arguments.email, _roles(arguments.role)):
        raise _no_such_user(arguments.email)
    await _show(connection, arguments.email)


async def activate(connection: Connection, arguments: argparse.Namespace) -> None:
    """Let a user log in again."""
    await _set_active(connection, arguments.email, True)
    await _show(connection, arguments.email)


async def deactivate(connection: Connection, arguments: argparse.Namespace) -> None:
    """Refuse a user's log-ins and end his sessions."""
    await _set_active(connection, arguments.email, False)
    await _end_sessions(connection, arguments.email)
    await _show(connection, arguments.email)


async def remove(connection: Connection, arguments: argparse.Namespace) -> None:
    """Forget a user. The tokens that he made are his tenant's and stay."""
    await _end_sessions(connection, arguments.email)
    if (await connection.execute("DELETE FROM users WHERE email = %s", (arguments.email,))).rowcount == 0:
        raise _no_such_user(arguments.email)
    print(f"{arguments.email} is gone.")


COMMANDS: dict[str, admin.Work] = {
    "list": list_,
    "add": add,
    "password": password,
    "roles": roles,
    "activate": activate,
    "deactivate": deactivate,
    "remove": remove,
}


async def _set_active(connection: Connection, email: str, active: bool) -> None:
    if not await (await Accounts.of(connection)).set_user_active(email, active):
        raise _no_such_user(email)


async def _end_sessions(connection: Connection, email: str) -> None:
    await connection.execute("DELETE FROM telemetry.sessions WHERE user_id = (SELECT id FROM users WHERE email = %s)", (email,))


def _no_such_user(email: str) -> admin.Failure:
    return admin.Failure(f"There is no user {email!r}: ./task users -- list")


async def _show(connection: Connection, email: str | None, tenant: str | None = None) -> None:
    rows = await (await connection.execute(_USERS, {"email": email, "tenant": tenant})).fetchall()
    cells = [(address, name, " ".join(found or ()), "yes" if active else "no", sessions) for address, name, found, active, sessions in rows]
    admin.show(("e-mail", "tenant", "roles", "active", "sessions"), cells, ("sessions",))


def _new_password(generate: bool) -> tuple[str, str]:
    """It and its hash; generated, or asked for on the terminal (from standard input where there is none)."""
    given = passwords.create() if generate else _ask()
    try:
        return given, passwords.hashed(given)
    except ValueError as error:
        raise admin.Failure(str(error)) from None


def _ask() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    given = getpass.getpass("new password: ")
    if getpass.getpass("once more: ") != given:
        raise admin.Failure("The two are not the same; nothing was changed.")
    return given


def _tell(password: str, generated: bool) -> None:
    if generated:
        print(f"\n{password}\n\nThis is the only time it is shown.")


def _roles(given: Sequence[str]) -> list[str]:
    return sorted(set(given))


def _email(text: str) -> str:
    email = text.strip().lower()
    if not (3 <= len(email) <= LONGEST_EMAIL and email.isprintable() and "@" in email[1:-1] and " " not in email):
        raise argparse.ArgumentTypeError(f"{text!r} is no e-mail address")
    return email


async def _run(connection: Connection, arguments: argparse.Namespace) -> None:
    await COMMANDS[arguments.command](connection, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = admin.parser("users", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name != "list":
            sub.add_argument("email", type=_email, help="whose log-in it is")
        if name in {"list", "add"}:
            sub.add_argument("--tenant", required=name == "add", metavar="NAME", help="the tenant's name or id")
        if name == "add":
            sub.add_argument("--role", action="append", required=True, choices=list(map(str, Role)), help="may come several times")
        if name == "roles":
            sub.add_argument("role", nargs="+", choices=list(map(str, Role)))
        if name in {"add", "password"}:
            sub.add_argument("--generate", action="store_true", help="make one and show it, instead of asking")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    return admin.main("users", _parser(), admin.in_database(_run), argv)


if __name__ == "__main__":
    sys.exit(main())
