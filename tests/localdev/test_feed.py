"""Events to a function again: which answers end a command at once, and which it waits out."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from localdev import backfill, where
from localdev.admin import Failure
from localdev.feed import Feeder
from localdev.functions import Function
from localdev.trigger.events import Event
from shared import delivery
from shared.contract import EventType
from tests import batches
from tests.backends import HttpBackend, Says

SKIPPED = Says(204, headers={delivery.SKIPPED_HEADER: "1"})


@pytest.fixture
def sink() -> Iterator[HttpBackend]:
    """In the place of sink_loki."""
    with HttpBackend() as backend:
        yield backend


@pytest.fixture
def function(sink: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> Function:
    for name in where.NAMES:
        monkeypatch.delenv(name, raising=False)
    return Function("sink_loki", urlsplit(sink.url).port or 0, (), None)


async def events() -> AsyncIterator[Event]:
    for word in ("one", "two"):
        record = batches.record(EventType.LOGS, batches.logs(word))
        yield Event(batches.headers(record), record.value)


async def test_sink_that_is_late_is_waited_for(sink: HttpBackend, function: Function) -> None:
    sink.script = [Says(503, "loki is away")]
    counts = Counter[str]()
    async with Feeder(function) as feeder:
        await backfill._feed(feeder, 1, events(), counts, lambda: None)
    assert (counts["taken"], len(sink.asked)) == (2, 3)


async def test_sink_that_skips_ends_the_command_and_nothing_counts_as_taken(sink: HttpBackend, function: Function) -> None:
    sink.answer = lambda _: SKIPPED
    counts = Counter[str]()
    async with Feeder(function) as feeder:
        with pytest.raises(Failure, match="sink_loki is switched to skip"):
            await backfill._feed(feeder, 1, events(), counts, lambda: None)
    assert (counts["taken"], len(sink.asked)) == (0, 1)
