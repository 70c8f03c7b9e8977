"""Feature flags in PostgreSQL → what this function does with a tenant's data: `on`, `off`, `hold`, `skip`.

Nobody waits for a flag: they are read every few seconds in the background, and an answer is one look into a dict. A value is never older than 10 s. While the
database is away the last known ones go on, and those set for a time end in time all the same; before its first answer the settings' defaults count.
Of several flags that a tenant's data meets (its own, that of all; `ingest` and `ingest.otlp`) the strictest counts, so what is switched off is off.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from shared.contract import Flag, Switch
from shared.errors import Later
from shared.telemetry import metrics

if TYPE_CHECKING:
    from shared.database import Connection, Database

log = logging.getLogger(__name__)

OFF_SECONDS: Final = 5
"""What clients are told to wait while ingest is off. Short, since some SDKs drop a batch at once that they would have to keep for longer than their timeout."""
HOLD_SECONDS: Final = 30
"""What a trigger is told to wait while a sink is on hold."""
FIRST_SECONDS: Final = 0.5
"""How long a start waits for the first answer: a new instance should not begin with what was switched off."""

# No flag is read after its end, whatever this machine's clock says.
_READ = """
SELECT name, tenant_id, value, extract(epoch FROM until - now())::float8 FROM telemetry.flags WHERE name = ANY(%s) AND (until IS NULL OR until > now())
"""
_FOR_EVER: Final = float("inf")
_STRICTNESS: Final = {Switch.ON: 0, Switch.SKIP: 1, Switch.HOLD: 2, Switch.OFF: 3}


@dataclass(frozen=True, slots=True)
class _Row:
    """A flag that somebody set. `ends`: by `monotonic`."""

    flag: Flag
    tenant_id: str | None
    value: Switch
    ends: float


class Flags:
    """The flags of one function, with their defaults. Open it in `start` (`async with`); without a database the defaults are all there is."""

    def __init__(self, defaults: Mapping[Flag, Switch], database: "Database | None" = None, seconds: float = 5.0) -> None:
        """`seconds`: between two looks."""
        self._defaults = defaults
        self._database = database
        self._seconds = seconds
        self._rows: list[_Row] = []
        self._whole = Switch.ON
        self._tenants: dict[str, Switch] = {}
        self._looked = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._apply()

    async def __aenter__(self) -> "Flags":
        if self._database:
            self._reader = asyncio.create_task(self._read_for_ever(self._database))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), FIRST_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    def of(self, tenant_id: str) -> Switch:
        """What to do with this tenant's data."""
        return self._tenants.get(tenant_id, self._whole)

    async def _read_for_ever(self, database: "Database") -> None:
        read = monotonic()
        metrics.FLAGS_AGE.set_function(lambda: monotonic() - read)
        while True:
            asked = monotonic()
            try:
                self._rows = list(_rows(await database.run(self._fetch), asked))
                read = asked
            except Later as later:
                log.warning("flags stay as they are: %s", later)
            except Exception:  # a defect of ours must not end the reader: a switch would do nothing any more
                log.exception("flags can't be read")
            self._apply()
            self._looked.set()
            await asyncio.sleep(self._seconds)

    async def _fetch(self, connection: "Connection") -> list[tuple[Any, ...]]:
        return await (await connection.execute(_READ, (list(self._defaults),))).fetchall()

    def _apply(self) -> None:
        now = monotonic()
        rows = [row for row in self._rows if row.ends > now]
        whole = {**self._defaults, **{row.flag: row.value for row in rows if row.tenant_id is None}}
        was, self._whole = self._whole, _strictest(*whole.values())
        tenants, switched = dict[str, Switch](), Counter[Flag]()
        for row in rows:
            if row.tenant_id is not None and row.value is not Switch.ON:
                tenants[row.tenant_id] = _strictest(row.value, tenants.get(row.tenant_id, self._whole))
                switched[row.flag] += 1
        self._tenants = tenants
        if self._whole is not was:
            log.warning("switched from %s to %s", was, self._whole, extra={"flags": {str(flag): str(value) for flag, value in whole.items()}})
        for flag, value in whole.items():
            for one in flag.values:
                metrics.FLAG.labels(flag, one).set(one is value)
            metrics.FLAG_TENANTS.labels(flag).set(switched[flag])


@asynccontextmanager
async def opened(defaults: Mapping[Flag, Switch], url: SecretStr | None, seconds: float) -> AsyncIterator[Flags]:
    """Flags with a database connection of their own, for functions that need none otherwise; no `url`: the defaults."""
    if url is None:
        yield Flags(defaults)
        return
    from shared.database import Database  # noqa: PLC0415 a tenth of a second, which a sink without a database needn't wait

    async with Database(url) as database, Flags(defaults, database, seconds) as flags:
        yield flags


def _strictest(*values: Switch) -> Switch:
    return max(values, key=_STRICTNESS.__getitem__, default=Switch.ON)


def _rows(fetched: Iterable[tuple[Any, ...]], asked: float) -> Iterable[_Row]:
    for name, tenant_id, value, left in fetched:
        if value not in Flag(name).values:
            log.error("a flag is left out, since its value is none of it: %s = %.40s", name, value)
            continue
        yield _Row(Flag(name), None if tenant_id is None else str(tenant_id), Switch(value), _FOR_EVER if left is None else asked + left)
