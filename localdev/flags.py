"""`./task flags -- …`: switch ingest or a sink off and on again, for all tenants or for one.

The functions notice within 10 s. Of several flags that a tenant's data meets the strictest counts. Without a row a function's own setting counts (INGEST,
LOKI_WRITES, …), which is on unless somebody has set it.

  off   ingest answers 503 with Retry-After: clients keep their data and send it again
  hold  a sink answers 503: its events wait in the topic, which keeps them for three days. For all tenants only
  skip  a sink lets its events go without storing them; ./task backfill brings them back from the topic

examples:
  ./task flags -- list
  ./task flags -- set sink.opensearch hold
  ./task flags -- set ingest off --for 30m
  ./task flags -- set ingest.otlp off --tenant "Acme Rockets"
  ./task flags -- unset sink.opensearch
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from localdev import admin
from shared.contract import Flag
from shared.database import Connection

_LIST = """
SELECT f.name, f.tenant_id, t.name, f.value, f.set_at, f.until FROM telemetry.flags f LEFT JOIN telemetry.tenants t ON t.id = f.tenant_id
WHERE f.until IS NULL OR f.until > now() ORDER BY f.tenant_id IS NOT NULL, t.name, f.name
"""
_TIDY = "DELETE FROM telemetry.flags WHERE until <= now()"
_SET = """
INSERT INTO telemetry.flags (name, tenant_id, value, until) VALUES (%(name)s, %(tenant)s::uuid, %(value)s, now() + %(for)s::interval)
ON CONFLICT (name, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')) DO UPDATE SET value = excluded.value, until = excluded.until, set_at = now()
"""
_UNSET = "DELETE FROM telemetry.flags WHERE name = %(name)s AND tenant_id IS NOT DISTINCT FROM %(tenant)s::uuid"


async def list_(connection: Connection, _: argparse.Namespace) -> None:
    """List every flag as it is for all tenants, and then what is set for single ones."""
    await _show(connection)


async def set_(connection: Connection, arguments: argparse.Namespace) -> None:
    """Set a flag, until it is set otherwise or for a time."""
    flag, tenant = arguments.name, await _tenant(connection, arguments)
    allowed = flag.values_of_one if tenant else flag.values
    if arguments.value not in allowed:
        whose = "for one tenant" if tenant else "for all tenants"
        raise admin.Failure(f"{flag} can't be {arguments.value!r} {whose}; it can be: {', '.join(allowed)}. Nothing was changed.")
    await connection.execute(_TIDY)
    await connection.execute(_SET, {"name": flag, "tenant": tenant, "value": arguments.value, "for": getattr(arguments, "for")})
    await _show(connection)


async def unset(connection: Connection, arguments: argparse.Namespace) -> None:
    """Take back what was set: the default counts again. Twice is no error."""
    await connection.execute(_UNSET, {"name": arguments.name, "tenant": await _tenant(connection, arguments)})
    await _show(connection)


COMMANDS: dict[str, admin.Work] = {"list": list_, "set": set_, "unset": unset}


async def _tenant(connection: Connection, arguments: argparse.Namespace) -> str | None:
    return await admin.tenant_id(connection, arguments.tenant) if arguments.tenant is not None else None


async def _show(connection: Connection) -> None:
    rows = await (await connection.execute(_LIST)).fetchall()
    set_for_all = {name for name, tenant_id, *_ in rows if tenant_id is None}
    defaults = [(flag, "all", "default", "", "", " ".join(flag.values)) for flag in Flag if flag not in set_for_all]
    known = {str(flag): flag for flag in Flag}
    cells = []
    for name, tenant_id, tenant, value, since, until in rows:
        flag = known.get(name)
        allowed = () if flag is None else flag.values_of_one if tenant_id else flag.values
        cells.append((name, tenant or tenant_id or "all", value, _moment(since), _moment(until), " ".join(allowed)))
    admin.show(("flag", "tenant", "value", "since (UTC)", "until", "can be"), [*sorted(defaults + cells[: len(set_for_all)]), *cells[len(set_for_all) :]])


def _moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _flag(text: str) -> Flag:
    try:
        return Flag(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no flag; there are: {', '.join(Flag)}") from None


async def _run(connection: Connection, arguments: argparse.Namespace) -> None:
    await COMMANDS[arguments.command](connection, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = admin.parser("flags", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name == "list":
            continue
        sub.add_argument("name", type=_flag, help=", ".join(Flag))
        if name == "set":
            sub.add_argument("value", help="on; off for ingest, hold or skip for a sink")
            sub.add_argument("--for", type=admin.lifetime, metavar="2h", help="back to the default by itself after so long (default: never)")
        sub.add_argument("--tenant", metavar="NAME", help="the tenant's name or id (default: all)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    return admin.main("flags", _parser(), admin.in_database(_run), argv)


if __name__ == "__main__":
    sys.exit(main())
