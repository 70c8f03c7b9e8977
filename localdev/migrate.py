"""`./task migrate -- …`: bring a database's tables up to date. DATABASE_URL says which, else it is the laptop's, which `./task up` brings up to date by itself.

An existing Obstack database keeps all that it has: its tables tenants and users get the columns that are missing, ours are in a schema of their own.
In a cluster a Job does the same with alembic alone, in the folder stack/postgres: alembic upgrade head.

examples:
  ./task migrate
  DATABASE_URL=postgresql://… ./task migrate -- --dry-run
"""

import argparse
import os
import sys
from collections.abc import Sequence

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from localdev import backends
from localdev.paths import STACK

INI = STACK / "postgres" / "alembic.ini"


def migrate(dry_run: bool = False) -> None:
    """Apply to DATABASE_URL all that wasn't applied yet, or print it. Raises CommandError, with what to do; then nothing was changed."""
    command.upgrade(Config(INI, cmd_opts=argparse.Namespace(x=["dry_run"] if dry_run else [])), "head")


def main(argv: Sequence[str] | None = None) -> int:
    """The programme; its exit code."""
    parser = argparse.ArgumentParser(prog="./task migrate --", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print every change and take it back at the end")
    arguments = parser.parse_args(argv)
    try:
        if "DATABASE_URL" not in os.environ:
            os.environ["DATABASE_URL"] = backends.postgres_url()
        migrate(arguments.dry_run)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError:
        print("PostgreSQL was never started here: ./task up", file=sys.stderr)
        return 1
    head = ScriptDirectory.from_config(Config(INI)).get_current_head()
    print(f"Nothing was changed; the above would bring it to revision {head}." if arguments.dry_run else f"The database is at revision {head}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
