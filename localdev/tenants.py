"""`./task tenants -- …`: tenants, their plans and what they sent. A name with spaces is quoted.

The functions notice a change within 30 s. `./task up` puts the demo's two tenants back on the plan `large`.

examples:
  ./task tenants -- list
  ./task tenants -- plans
  ./task tenants -- add "Initech" --plan free
  ./task tenants -- plan "Acme Rockets" free
  ./task tenants -- deactivate "Acme Rockets"
  ./task tenants -- activate "Acme Rockets"
  ./task tenants -- usage "Acme Rockets" --days 30
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.filesize import decimal

from localdev import admin
from localdev.accounts import Accounts
from shared.contract import Scope
from shared.database import Connection

MOST_DAYS = 3660
LONGEST_NAME = 100

# The table usage has whole hours: the last 24 and the one that has begun.
_TENANTS = """
WITH day AS (
    SELECT tenant_id, signal, sum(requests)::bigint AS requests, sum(records)::bigint AS records, sum(bytes)::bigint AS bytes
    FROM telemetry.usage WHERE hour >= date_trunc('hour', now()) - interval '24 hours' GROUP BY tenant_id, signal
)
SELECT t.name, t.id, t.plan, t.is_active, jsonb_object_agg(d.signal, jsonb_build_array(d.requests, d.records, d.bytes)) FILTER (WHERE d.signal IS NOT NULL)
FROM telemetry.tenants t LEFT JOIN day d ON d.tenant_id = t.id
WHERE %(tenant)s::uuid IS NULL OR t.id = %(tenant)s::uuid GROUP BY t.id, t.name, t.plan, t.is_active ORDER BY t.name
"""
_PLANS = """
SELECT p.name, p.requests_per_second, p.bytes_per_second, p.burst_seconds, p.max_body_bytes,
    (SELECT count(*) FROM telemetry.tenants t, telemetry.plan_of(t.plan) own WHERE own.name = p.name)
FROM telemetry.plans p ORDER BY p.requests_per_second, p.name
"""
_USAGE = """
SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, signal, sum(requests)::bigint, sum(records)::bigint, sum(bytes)::bigint
FROM telemetry.usage WHERE tenant_id = %s AND hour >= date_trunc('day', now(), 'UTC') - make_interval(days => %s)
GROUP BY day, signal ORDER BY day DESC, signal
"""


async def list_(connection: Connection, _: argparse.Namespace) -> None:
    """List all tenants with their plan and what they sent and read in the last 24 hours."""
    await _show(connection, None)


async def plans(connection: Connection, _: argparse.Namespace) -> None:
    """List the plans with their limits."""
    rows = await _rows(connection, _PLANS)
    cells = [(name, f"{requests:,g}", decimal(int(rate)), f"{burst:g} s", decimal(body), f"{count:,}") for name, requests, rate, burst, body, count in rows]
    columns = ("plan", "requests/s", "bytes/s", "burst", "largest body", "tenants")
    admin.show(columns, cells, columns[1:])


async def add(connection: Connection, arguments: argparse.Namespace) -> None:
    """Make a tenant, without users and tokens (./task users -- add, ./task tokens -- create)."""
    name = arguments.tenant.strip()
    if not (name and len(name) <= LONGEST_NAME and name.isprintable()):
        raise admin.Failure(f"A tenant's name has 1 to {LONGEST_NAME} characters that can be printed.")
    await _check_plan(connection, arguments.plan)
    made = await (await Accounts.of(connection)).add_tenant(name, arguments.plan)
    if not made:
        raise admin.Failure(f"There is a tenant {name!r} already.")
    await _show(connection, made)


async def plan(connection: Connection, arguments: argparse.Namespace) -> None:
    """Put a tenant on another plan."""
    tenant_id = await admin.tenant_id(connection, arguments.tenant)
    await _check_plan(connection, arguments.plan)
    await (await Accounts.of(connection)).set_plan(tenant_id, arguments.plan)
    await _show(connection, tenant_id)


async def activate(connection: Connection, arguments: argparse.Namespace) -> None:
    """Let a tenant send and read again."""
    await _set_active(connection, arguments.tenant, True)


async def deactivate(connection: Connection, arguments: argparse.Namespace) -> None:
    """Refuse a tenant's tokens and log-ins with 403; its data stays."""
    await _set_active(connection, arguments.tenant, False)


async def usage(connection: Connection, arguments: argparse.Namespace) -> None:
    """Show what a tenant sent and read, by day (UTC) and signal, newest first."""
    tenant_id = await admin.tenant_id(connection, arguments.tenant)
    rows = await _rows(connection, _USAGE, (tenant_id, arguments.days - 1))
    total = ("total", "", *(sum(column) for column in zip(*(row[2:] for row in rows), strict=True))) if rows else ("total", "", 0, 0, 0)
    cells = [(day, signal, f"{requests:,}", f"{records:,}", decimal(bytes_)) for day, signal, requests, records, bytes_ in (*rows, total)]
    admin.show(("day", "signal", "requests", "records", "bytes"), cells, ("requests", "records", "bytes"))


COMMANDS: dict[str, admin.Work] = {
    "list": list_,
    "plans": plans,
    "add": add,
    "plan": plan,
    "activate": activate,
    "deactivate": deactivate,
    "usage": usage,
}


async def _show(connection: Connection, tenant_id: str | None) -> None:
    """The tenant, or all, with the usage of a day: records and bytes of each signal, requests of the reads."""
    signals = [scope for scope in Scope if scope != Scope.READ]
    cells = []
    for name, id_, plan_name, active, sent in await _rows(connection, _TENANTS, {"tenant": tenant_id}):
        counts = {signal: (sent or {}).get(signal, (0, 0, 0)) for signal in Scope}
        volumes = [f"{counts[signal][1]:,} / {decimal(counts[signal][2])}" for signal in signals]
        cells.append((name, id_, plan_name, "yes" if active else "no", *volumes, f"{counts[Scope.READ][0]:,}"))
    columns = [f"{signal}, 24 h" for signal in Scope]
    admin.show(("name", "id", "plan", "active", *columns), cells, columns)


async def _set_active(connection: Connection, tenant: str, active: bool) -> None:
    tenant_id = await admin.tenant_id(connection, tenant)
    await (await Accounts.of(connection)).set_tenant_active(tenant_id, active)
    await _show(connection, tenant_id)


async def _check_plan(connection: Connection, wanted: str) -> None:
    names = [row[0] for row in await _rows(connection, _PLANS)]
    if wanted not in names:
        raise admin.Failure(f"There is no plan {wanted!r}; there are: {', '.join(names)}. ./task tenants -- plans shows their limits.")


async def _rows(connection: Connection, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement, parameters)).fetchall()


def _days(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST_DAYS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days between 1 and {MOST_DAYS}")
    return int(text)


async def _run(connection: Connection, arguments: argparse.Namespace) -> None:
    await COMMANDS[arguments.command](connection, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = admin.parser("tenants", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name not in {"list", "plans"}:
            sub.add_argument("tenant", help="the new tenant's name" if name == "add" else "the tenant's name or id")
        if name == "add":
            sub.add_argument("--plan", default="standard", metavar="NAME", help="the plan's name, as plans shows it (default: standard)")
        if name == "plan":
            sub.add_argument("plan", help="the plan's name, as plans shows it")
        if name == "usage":
            sub.add_argument("--days", type=_days, default=7, metavar="N", help="today and the days before it (default: 7)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    return admin.main("tenants", _parser(), admin.in_database(_run), argv)


if __name__ == "__main__":
    sys.exit(main())
