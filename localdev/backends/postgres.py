"""PostgreSQL 16: database and role `obstack`, scram password generated here. Never as root, which it refuses."""

import os
import pwd
import secrets
import subprocess
from pathlib import Path

from localdev.backends import folders
from localdev.install import postgres as recipe
from localdev.install.process import failure
from localdev.paths import local
from localdev.ports import ports
from localdev.service import Service

_NAME = "postgres"
_LONGEST_SOCKET_FOLDER = 85
"""The kernel takes 107 bytes for a socket's path, and PostgreSQL adds its own name."""
# The supervisor says SIGTERM, on which PostgreSQL waits until its last client has gone; SIGINT closes them and ends cleanly.
_FAST_STOP = '"$@" & child=$!; trap "kill -INT $child" TERM INT; wait $child; trap - TERM INT; wait $child'


def postgres_url() -> str:
    """For psycopg and the like, password included. Valid once `prepare` has run."""
    return f"postgresql://obstack:{_password_file().read_text()}@127.0.0.1:{ports()['POSTGRES_PORT']}/obstack"


def service() -> Service:
    return Service(
        name=_NAME,
        command=_command,
        ready=_ready,
        cwd=folders.ROOT_FOLDER,
        install=recipe.install,
        prepare=_prepare,
        unprivileged=True,
        stop_seconds=20,
    )


def _command() -> list[str]:
    folder = folders.open_data(_NAME)
    server = [str(recipe.binary("postgres")), "-D", str(folder / "data"), "-c", f"config_file={folder / 'config' / 'postgresql.conf'}"]
    return ["/bin/sh", "-c", _FAST_STOP, "sh", *server]


def _ready() -> bool:
    command = [str(recipe.binary("pg_isready")), "-q", "-t", "1", "-h", "127.0.0.1", "-p", str(ports()["POSTGRES_PORT"])]
    return recipe.binary("pg_isready").exists() and subprocess.run(command, check=False, timeout=2).returncode == 0


def _prepare() -> None:
    folder = folders.open_data(_NAME)
    places = {name.upper(): folders.make(folder / name) for name in ("config", "tmp")}
    sockets = folder / "tmp"
    values = folders.values(**places, SOCKETS=sockets if len(str(sockets)) < _LONGEST_SOCKET_FOLDER else "")
    for name in ("postgresql.conf", "pg_hba.conf"):
        folders.render(f"postgres/{name}", folder / "config" / name, values)
    fresh_password = _make_password()
    folders.hand_over(folder)
    if not (folder / "data" / "PG_VERSION").exists():
        _create(folder)
    elif fresh_password:
        # .local was removed but the data, kept elsewhere, was not.
        _single_user(folder, f"ALTER ROLE obstack PASSWORD '{_password_file().read_text()}';\n", "postgres")


def _create(folder: Path) -> None:
    """initdb, then the application's role and database.

    The role is no superuser, as it wouldn't be in production (row security would be void). The superuser gets no password, and so can't log in.
    """
    _run(folder, ["initdb", "-D", str(folder / "data"), "--encoding=UTF8", "--no-locale", "--auth=reject", "--username=postgres"], "")
    _single_user(folder, f"CREATE ROLE obstack LOGIN CREATEDB CREATEROLE PASSWORD '{_password_file().read_text()}';\n", "postgres")
    _single_user(folder, "CREATE DATABASE obstack OWNER obstack;\n", "postgres")


def _single_user(folder: Path, sql: str, database: str) -> None:
    """Without a running server, and so without a moment in which one without passwords listens."""
    _run(folder, ["postgres", "--single", "-j", "-D", str(folder / "data"), database], sql.replace("\n", "\n\n"))


def _run(folder: Path, command: list[str], text: str) -> None:
    owner = pwd.getpwnam(folders.NOBODY) if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(recipe.binary(command[0])), *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
    )
    output = (done.stdout + done.stderr).splitlines()
    if done.returncode or any(line.startswith(("ERROR:", "FATAL:")) or " ERROR:  " in line for line in output):
        raise failure(f"postgres: {command[0]}", f"exit status {done.returncode}", output, f"check that {folder} is on a disk with room.", _NAME)


def _password_file() -> Path:
    return local() / "postgres.password"


def _make_password() -> bool:
    """Generate it, once. Returns whether it is new."""
    path = _password_file()
    if path.exists():
        return False
    folders.make(path.parent)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    return True
