"""Where a batch lies in the archive."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared import archive
from shared.contract import EventType, Topic
from shared.errors import Refused
from tests import batches

TENANT = "0c8ee5a2-6d12-4f0c-93ee-0e3f4f6f8f10"


def test_key_is_by_tenant_signal_and_hour_of_coming_in() -> None:
    made = replace(batches.record(EventType.REMOTE_WRITE_2, b"x", TENANT), time="2026-11-24T23:59:59.999Z")
    assert archive.key(made) == f"archive/{TENANT}/remote-write/2026-11-24T23/{made.id}"
    assert archive.key(made).startswith(archive.folder(TENANT, Topic.REMOTE_WRITE))


@pytest.mark.parametrize("changes", [{"id": "../x"}, {"time": "now"}])
def test_what_has_no_place_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(Refused):
        archive.key(replace(batches.record(EventType.LOGS, b"x", TENANT), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("begin", "end", "inside"), [((9, 0), (10, 0), False), ((9, 0), (10, 1), True), ((10, 59), (12, 0), True), ((11, 0), (12, 0), False)])
def test_hours_of_a_range(begin: tuple[int, int], end: tuple[int, int], inside: bool) -> None:
    assert archive.in_range("archive/t/logs/2026-11-24T10/", datetime(2026, 11, 24, *begin, tzinfo=UTC), datetime(2026, 11, 24, *end, tzinfo=UTC)) is inside
    assert not archive.in_range("archive/t/logs/other/", datetime(2026, 11, 24, *begin, tzinfo=UTC), datetime(2026, 11, 24, *end, tzinfo=UTC))
