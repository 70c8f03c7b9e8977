"""What `./task tokens`, `tenants` and `users` share: the laptop's PostgreSQL, a tenant by its name, tables on the terminal, errors that name the remedy."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from localdev import backends
from shared import tokens
from shared.database import Connection
from shared.errors import Refused


class Failure(Exception):
    """What to tell whoever called."""


def run(work: Callable[[Connection, argparse.Namespace], Awaitable[None]], arguments: argparse.Namespace, url: Callable[[], str] | None = None) -> int:
    """`work` in one transaction; its exit code. `url`: of another database than the laptop's."""
    try:
        asyncio.run(_run(work, arguments, url or backends.postgres_url))
    except Refused as refused:
        print(refused.detail, file=sys.stderr)
    except psycopg.OperationalError as error:
        print(f"PostgreSQL can't be reached: {error}\n./task up starts it.", file=sys.stderr)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        print(f"The database is older than this checkout: {error}\n./task up brings it up to date.", file=sys.stderr)
    except Failure as failure:
        print(failure, file=sys.stderr)
    else:
        return 0
    return 1


async def _run(work: Callable[[Connection, argparse.Namespace], Awaitable[None]], arguments: argparse.Namespace, url: Callable[[], str]) -> None:
    try:
        place = url()
    except OSError:
        raise Failure("PostgreSQL was never started here: ./task up") from None
    async with await psycopg.AsyncConnection.connect(place, connect_timeout=3) as connection:
        await work(connection, arguments)


async def tenant_id(connection: Connection, named: str) -> str:
    """The id of the tenant with this name or id. Raises Failure."""
    row = await (await connection.execute("SELECT id FROM telemetry.tenants WHERE name = %(t)s OR id::text = %(t)s", {"t": named})).fetchone()
    if row is None:
        names = [name for (name,) in await (await connection.execute("SELECT name FROM telemetry.tenants ORDER BY name LIMIT 20")).fetchall()]
        raise Failure(f"There is no tenant {named!r}; there are: {', '.join(names) or 'none'}")
    return str(row[0])


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Sequence[str] = ()) -> None:
    """Print a table; `numbers`: the columns that are set to the right."""
    console = Console() if sys.stdout.isatty() else Console(width=200)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # as Text, so that a name with brackets isn't read as markup
    console.print(table)


def lifetime(text: str) -> timedelta:
    """An argument such as 90d, 2h."""
    try:
        return tokens.lifetime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
