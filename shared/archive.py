"""Record ↔ object of the archive: raw batches by tenant, signal and hour. Pure.

    archive/<tenant>/<signal>/<yyyy-mm-ddThh>/<record id>

The body is the record's value, the metadata are its event's attributes, names without `ce-`. The hour (UTC) is that in which the record came in, so a
redelivery is the same object. One object a record: nothing waits in a function's memory for company, and the trigger's yes means that it is stored.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from shared.contract import Reason, Topic
from shared.envelope import Record
from shared.errors import Refused

PREFIX: Final = "archive/"
_HOUR: Final = "%Y-%m-%dT%H"


def signal(topic: Topic) -> str:
    """A topic's records in the archive: `logs`, `metrics`, `traces`, `remote-write`."""
    return topic.removeprefix("telemetry.")


def key(record: Record) -> str:
    """The object's key. Raises Refused for a record whose id or time isn't one."""
    try:
        hour = datetime.fromisoformat(record.time).astimezone(UTC).strftime(_HOUR)
        return f"{folder(record.tenant_id, record.topic)}{hour}/{UUID(record.id)}"
    except (ValueError, OverflowError) as error:
        raise Refused(Reason.NOT_AN_EVENT, f"not a record that can be archived: {error}") from None


def folder(tenant_id: str, topic: Topic) -> str:
    """Where a tenant's records of a topic are, hour by hour."""
    return f"{PREFIX}{tenant_id}/{signal(topic)}/"


def in_range(hour_folder: str, begin: datetime, end: datetime) -> bool:
    """Whether a folder's hour has a moment in [begin, end)."""
    try:
        hour = datetime.strptime(hour_folder.rstrip("/").rpartition("/")[2], _HOUR).replace(tzinfo=UTC)
    except ValueError:
        return False
    return hour < end and hour + timedelta(hours=1) > begin
