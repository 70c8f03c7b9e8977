"""How alembic works on the database that DATABASE_URL names (any form that libpq reads): all pending revisions in one transaction, by one migrator at a time.

The version table and all tables of ours are in the schema `telemetry`, beside the platform's and its own alembic's.
"""

import os
import sys
from typing import Any

import psycopg
from alembic import context
from alembic.util.exc import CommandError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine, event, exc, text
from sqlalchemy.pool import NullPool

SCHEMA = "telemetry"
MIGRATORS_LOCK = 20_261_124
LOCK_SECONDS = 5
"""How long a statement waits for a table that somebody works on. All that comes to that table queues behind it meanwhile, so rather give up and start again."""
# By SQLSTATE (PostgreSQL, Appendix A): lock_not_available, insufficient_privilege.
_REMEDIES = {
    "55P03": f"A table was in use for more than {LOCK_SECONDS} s. Run it again when less is going on.",
    "42501": "The role of DATABASE_URL must own the tables tenants and users, and may create schemas.",
}


def migrate() -> None:
    """Upgrade, or whatever alembic was called for. With the option `dry_run` (`-x dry_run`) it prints each change and takes all of them back."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError("DATABASE_URL is not set: postgresql://user:password@host:port/database")
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its words aren't told: the whole URL is in them
        raise CommandError("Nothing was changed. DATABASE_URL can't be read; it should be like postgresql://role:password@host/database") from None
    dry_run = "dry_run" in context.get_x_argument(as_dictionary=True)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url, connect_timeout=10), poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            # First, and without a limit: the other migrator may take its time.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATORS_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            if dry_run:
                event.listen(connection, "before_cursor_execute", _print)
            _run(connection)
            if dry_run:
                transaction.rollback()
    except exc.DBAPIError as error:
        raise CommandError(f"Nothing was changed. {_explain(error.orig)}") from None


def _run(connection: Connection) -> None:
    # Not by IF NOT EXISTS, which asks for the right to create one even where there is one.
    if connection.scalar(text(f"SELECT to_regnamespace('{SCHEMA}') IS NULL")):
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    context.configure(connection=connection, version_table_schema=SCHEMA, on_version_apply=_tell)
    with context.begin_transaction():
        context.run_migrations()


def _tell(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG001 alembic names them
    sys.stdout.write(f"{step.up_revision_ids[0]}: {step.up_revision.doc}\n")


def _print(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
    if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
        values = f"  -- {parameters}" if parameters else ""
        sys.stdout.write(f"{statement.strip()};{values}\n\n")


def _explain(error: BaseException | None) -> str:
    """The server's words (they hold no password), and a remedy where there is one."""
    state = getattr(error, "sqlstate", None) or ""
    return f"{str(error).strip()}\n{_REMEDIES.get(state, '')}".rstrip()


migrate()
