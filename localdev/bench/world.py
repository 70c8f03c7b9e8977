"""Backends for the measurement alone, in a folder and on ports of their own, gone afterwards with everything in them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from rich.console import Console

from localdev import backends, paths, processes
from localdev.backends import folders
from localdev.bench import stack
from localdev.ports import ports
from localdev.processes import PortTaken
from localdev.supervisor import control, state
from localdev.supervisor.display import for_terminal
from shared import tokens

_OFFSETS = range(15_000, 50_000, 500)
_READY_SECONDS = 900.0
"""The first time on a machine, the backends are fetched or compiled."""


@contextmanager
def world(console: Console, names: tuple[str, ...] = ("kafka", "postgres")) -> Iterator[None]:
    """These backends until the end of the block. From here on `localdev`'s paths and ports mean these. Raises control.Failure, PortTaken."""
    lock = state.acquire("bench", 0)
    if lock is None:
        raise control.Failure("another bench runs; two at once would measure each other")
    os.environ["OBSTACK_LOCAL"] = str(paths.local() / "bench")
    remove()  # what a killed run left
    os.environ["OBSTACK_PORT_OFFSET"] = str(_free_offset())
    try:
        with for_terminal(console) as display:
            control.up(display, names, _READY_SECONDS, (*control.SUPERVISOR[:2], stack.__name__, *names))
        yield
    finally:
        remove()
        lock.close()


def add_tenants(count: int) -> list[str]:
    """New tenants with a token each; the tokens."""
    return [token for _, token in new_tenants(count, "bench")]


def new_tenants(count: int, name: str) -> list[tuple[str, str]]:
    """Tenants on the largest plan, called `<name>-<id>`; id and token of each."""
    made = [(uuid4(), uuid4(), tokens.create()) for _ in range(count)]
    with psycopg.connect(backends.postgres_url()) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO tenants (id, name, plan) VALUES (%s, %s, 'large')", [(tenant, f"{name}-{tenant}") for tenant, _, _ in made])
        rows = [(token_id, tenant, name, tokens.digest(token)) for tenant, token_id, token in made]
        cursor.executemany("INSERT INTO telemetry.tokens (id, tenant_id, name, sha256) VALUES (%s, %s, %s, %s)", rows)
    return [(str(tenant), token) for tenant, _, token in made]


def remove() -> None:
    """End and delete what runs in `.local`, and is a measurement's."""
    control.down()
    for folder in (paths.local(), folders.elsewhere()):
        shutil.rmtree(folder, ignore_errors=True)


def _free_offset() -> int:
    """An offset by which every port of the stack is free: others may be up."""
    for offset in _OFFSETS:
        os.environ["OBSTACK_PORT_OFFSET"] = str(offset)
        try:
            processes.check_ports(ports())
        except PortTaken:
            continue
        return offset
    raise PortTaken(f"no offset from {_OFFSETS.start} to {_OFFSETS.stop} leaves all ports of the stack free")
