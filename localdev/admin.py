"""What the commands for operators share: where they work, a tenant by its name, tables on the terminal, errors that name the remedy."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from localdev import backends, compose
from shared import tokens
from shared.database import UNREADABLE, Connection
from shared.errors import Refused

Work = Callable[[Connection, argparse.Namespace], Awaitable[None]]

HELP: Final = """which database:
  DATABASE_URL, as postgresql://role:password@host/database; without it that of the stack which ./task up has started here, be it of processes or containers
"""


class Failure(Exception):
    """What to tell whoever called."""


def parser(name: str, description: str | None, epilog: str = HELP) -> argparse.ArgumentParser:
    """That of `./task NAME`; `epilog`: how the environment says where it works."""
    return argparse.ArgumentParser(prog=f"./task {name} --", description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
    places: Sequence[str] = ("DATABASE_URL",),
) -> int:
    """The programme `./task NAME`; its exit code.

    Where the stack runs in containers it does its work in one of them, for nothing there is published. `places`: variables that name another stack than this
    machine's.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = parser.parse_args(words)
    try:
        if not any(map(os.environ.get, places)) and compose.runs():
            return compose.admin(f"localdev.{name.replace('-', '_')}", words)
        return run(arguments)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command again does no harm.", file=sys.stderr)
        return 130


def in_database(work: Work) -> Callable[[argparse.Namespace], int]:
    """`work` in one transaction, for `main`. Raises Failure."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            asyncio.run(_run(work, arguments))
        except Refused as refused:
            raise Failure(refused.detail) from None
        except psycopg.OperationalError as error:
            raise Failure(f"PostgreSQL can't be reached: {error}\n{'DATABASE_URL says where it is.' if _named() else './task up starts it.'}") from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise Failure(f"PostgreSQL doesn't let this role: {error}\nThe owner of the tables, as for ./task migrate, may.") from None
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise Failure(f"The database is older than this checkout: {error}\n./task {'migrate' if _named() else 'up'} brings it up to date.") from None
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            raise Failure(f"The platform's own tables don't take this: {error.diag.message_primary}") from None  # no more of it: the row has a password's hash
        return 0

    return run


async def _run(work: Work, arguments: argparse.Namespace) -> None:
    async with await connect(database_url()) as connection:
        await work(connection, arguments)


async def connect(url: str) -> Connection:
    """Raises Failure for a URL that can't be read, OperationalError when nobody is there."""
    try:
        return await psycopg.AsyncConnection.connect(url, connect_timeout=3)
    except psycopg.ProgrammingError:
        raise Failure(UNREADABLE) from None


def database_url() -> str:
    """That of DATABASE_URL, else the laptop's. Raises Failure where none was ever started."""
    try:
        return _named() or backends.postgres_url()
    except OSError:
        raise Failure("PostgreSQL was never started here: ./task up. DATABASE_URL names another one.") from None


def _named() -> str | None:
    return os.environ.get("DATABASE_URL")


async def tenant_id(connection: Connection, named: str) -> str:
    """The id of the tenant with this name or id. Raises Failure, also for a name that several have, as the platform may let them."""
    rows = await (await connection.execute("SELECT id FROM telemetry.tenants WHERE name = %(t)s OR id::text = %(t)s", {"t": named})).fetchall()
    if not rows:
        names = [name for (name,) in await (await connection.execute("SELECT name FROM telemetry.tenants ORDER BY name LIMIT 20")).fetchall()]
        raise Failure(f"There is no tenant {named!r}; there are: {', '.join(names) or 'none'}")
    if len(rows) > 1:
        raise Failure(f"{len(rows)} tenants are called {named!r}; say which by its id: {', '.join(str(id_) for (id_,) in rows)}")
    return str(rows[0][0])


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


def positive(text: str) -> float:
    """An argument that is a number above 0."""
    value = float(text)
    if not 0 < value < 100_000:
        raise argparse.ArgumentTypeError("more than 0, and less than 100,000")
    return value
