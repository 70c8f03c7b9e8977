"""PostgreSQL for tests of tables: the server of `./task up` alone, in a folder and on a port of the tests' own, with a database for each test."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from localdev.backends import folders, postgres
from localdev.ports import free_port
from tests import waiting

WITH_NUMBERS = """
CREATE TABLE tenants (id serial PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, created_at timestamptz DEFAULT now());
CREATE TABLE users (
    id serial PRIMARY KEY, tenant_id integer NOT NULL REFERENCES tenants (id), username varchar(255) NOT NULL, email varchar(255) NOT NULL,
    hashed_password varchar(255) NOT NULL, roles json, created_at timestamptz DEFAULT now()
);
CREATE UNIQUE INDEX ix_users_email ON users (email);
"""
"""An Obstack backend's own tables, with keys that are numbers."""
WITH_UUIDS = """
CREATE TABLE tenants (id uuid PRIMARY KEY, name text NOT NULL, plan varchar(50), is_active boolean, settings jsonb DEFAULT '{}');
CREATE TABLE users (
    id uuid PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants, email text UNIQUE, password_hash text NOT NULL, roles text[] NOT NULL DEFAULT '{}'
);
"""
"""Another one's: keys that the backend makes up, names of tenants that may come twice."""
PLATFORMS = ("", WITH_NUMBERS, WITH_UUIDS)
"""Whose tables a database may have before ours; empty: it gets both from us."""


class Postgres(AbstractContextManager["Postgres"]):
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Postgres":
        with self._place():
            service = postgres.service()
            assert service.install
            assert service.prepare
            service.install(lambda _: None)
            service.prepare()
            nobody = pwd.getpwnam(folders.NOBODY) if os.geteuid() == 0 else None
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if nobody else {}
            # A crash loses nothing that anybody wants.
            command = [*service.command(), "-c", "fsync=off"]
            self._process = subprocess.Popen(command, cwd=service.cwd, stderr=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
            waiting.until(service.ready, 60, "PostgreSQL is ready")
            self._url = postgres.postgres_url()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(20)
        with self._place():
            shutil.rmtree(folders.elsewhere(), ignore_errors=True)

    def database(self) -> str:
        """URL of a new, empty one."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{self._url.rpartition('/')[0]}/{name}"

    @contextmanager
    def _place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OBSTACK_LOCAL", str(self._folder))
            environment.setenv("POSTGRES_PORT", str(self._port))
            yield
