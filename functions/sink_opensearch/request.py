"""Record → documents → bulk bodies under OpenSearch's and our own size limits. Every action is `create`: a document that is there already stays as it is.

Source: OpenSearch's bulk API.
"""

from collections.abc import Iterable, Iterator, Sequence
from time import time_ns
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from functions.sink_opensearch.documents import Document, documents
from shared import envelope
from shared.contract import NOBODY, EventType, Reason, Source, Topic
from shared.envelope import Record
from shared.errors import Never, Refused
from shared.tenant import Tenant

HEADERS: Final = {"content-type": "application/x-ndjson", "accept-encoding": "identity"}
"""Compressing the answer, short words all alike, would cost OpenSearch more than it spares anyone."""
MOST_BYTES: Final = 1_000_000
MOST_DOCUMENTS: Final = 5000
"""A body is larger only when it holds a single document. Some 2,000 usual records fill one, enough for OpenSearch to be busy with, and little to repeat."""


def path(timeout: float) -> str:
    """Of a bulk request that gets its answer within so many seconds: of the answer, statuses and reasons.

    By itself OpenSearch waits a minute for a shard that is away. Half of our time leaves it enough to say so, of that shard's documents alone.
    """
    return f"/_bulk?timeout={timeout * 500:.0f}ms&filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"


def parse(record: Record) -> ExportLogsServiceRequest:
    """The record's batch. Raises Refused when the event doesn't hold logs, Never when they can't be read."""
    if record.type is not EventType.LOGS:
        raise Refused(Reason.NOT_AN_EVENT, f"logs are stored here, not {record.type}")
    try:
        return ExportLogsServiceRequest.FromString(record.value)
    except DecodeError as error:
        raise Never(Reason.UNDECODABLE, f"not an ExportLogsServiceRequest: {error}") from None


def probe() -> Document:
    """A document that OpenSearch takes if it takes any; nobody's."""
    batch = ExportLogsServiceRequest()
    batch.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time_ns()).body.string_value = "is this refused as well?"
    nobody = Tenant(NOBODY, NOBODY, frozenset())
    return next(documents(envelope.new(nobody, EventType.LOGS, Source.OTLP, Topic.LOGS, b"", key=envelope.key_of(NOBODY, b"")), batch))


def chunks(found: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in order, in chunks of one bulk body each."""
    chunk: list[Document] = []
    size = 0
    for document in found:
        length = _FRAME + len(document.index) + len(document.id) + len(document.source)
        if chunk and (size + length > MOST_BYTES or len(chunk) >= MOST_DOCUMENTS):
            yield chunk
            chunk, size = [], 0
        chunk.append(document)
        size += length
    if chunk:
        yield chunk


def size(chunk: Sequence[Document]) -> int:
    """Bytes of its body, about."""
    return sum(len(document.source) + 150 for document in chunk)


def body(chunk: Sequence[Document]) -> bytes:
    """Lines of one bulk body."""
    # Index and id are made of UUIDs, digests, dates and numbers, which is what `shared.envelope` and `identity` let in: nothing to escape.
    return b"".join(
        [part for document in chunk for part in (f'{{"create":{{"_index":"{document.index}","_id":"{document.id}"}}}}\n'.encode(), document.source, b"\n")]
    )


_FRAME: Final = len('{"create":{"_index":"","_id":""}}\n\n')
