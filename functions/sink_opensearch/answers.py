"""OpenSearch's answers: to a whole bulk request by its status, to each document in it by the item's status and error type (OpenSearch 3.4).

A bulk request answers 200 whatever became of its documents. 409 on `create` with an id of ours: it is there already.

    of             done      too large   refused                    refused?          again                held, and said loudly
    a document     2xx, 409  413, 400 *  400 with types we know     400 with others   429, 5xx             401, 403, 404, 400 **, unknown
    the request    2xx       413 (cut)                                                429, 5xx, no answer  400, 401, 403, 404, unknown

refused: alone in the dead letters with the reason. refused?: so too if OpenSearch takes a document right after it that is surely good, else held. again: only
the documents concerned, a few times within the delivery, then the trigger's turn; a request that fails as a whole counts for the breaker, and after a 4xx the
events that shared it go each alone. * a term too long for Lucene.
** the index is closed or blocked, or may not be made (limit of shards): no document's fault.

Statuses and types: OpenSearch's bulk API, and `RestStatus` of its exceptions.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.contract import Reason
from shared.errors import Later, Trouble
from shared.verdict import Means, Refusal, Row, judge, means

Item = Mapping[str, Any]
"""What became of one document: `status`, and `error` if it failed."""

CREATED: Final = 201
ALL_RIGHT: Final[Item] = {"status": CREATED}
EXISTS: Final = 409
THERE: Final = frozenset({200, CREATED, EXISTS})
"""What says of a document that its index is there."""
BUSY: Final = 429
_BAD: Final = frozenset({400})

ITEMS: Final = (
    Row(THERE, Means.DONE),
    Row(_BAD, Refusal(Reason.INVALID), "mapper_parsing_exception"),
    Row(_BAD, Refusal(Reason.INVALID), "document_parsing_exception"),
    Row(_BAD, Refusal(Reason.TOO_LARGE), "immense term"),
    Row(_BAD, Refusal(Reason.INVALID), "illegal_argument_exception"),
    Row(_BAD, Means.CONFIGURATION, "validation_exception"),
    Row(_BAD, Means.CONFIGURATION, "index_closed_exception"),
    Row(_BAD, Means.CONFIGURATION, "invalid_index_name_exception"),
    Row(_BAD, Refusal(Reason.REFUSED_BY_BACKEND, named=False)),
    Row({413}, Refusal(Reason.TOO_LARGE)),
    Row({BUSY}, Means.BUSY),
    Row(range(500, 600), Means.TRANSIENT),
    Row({401, 403, 404}, Means.CONFIGURATION),
)

REQUESTS: Final = (
    Row({200, 201}, Means.DONE),
    Row({413}, Refusal(Reason.TOO_LARGE)),
    Row({"N/A", "TIMEOUT"}, Means.TRANSIENT),
    Row({BUSY}, Means.TRANSIENT),
    Row(range(500, 600), Means.TRANSIENT),
    Row({400, 401, 403, 404}, Means.CONFIGURATION),
)


def all_created(count: int) -> bytes:
    """OpenSearch's answer to `request.path` when it has stored so many documents: nearly always that, and compared faster than it is read."""
    one = b'{"create":{"status":201}}'
    return b'{"items":[' + (one + b",") * (count - 1) + one + b"]}"


def items(body: bytes) -> list[Item]:
    """What a bulk request's answer says of each document, in order; nothing if it can't be read."""
    try:
        found = [one for item in orjson.loads(body)["items"] for one in item.values()]
        return [one for one in found if isinstance(one["status"], int)]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


def item(status: int, message: str) -> Means | Refusal:
    """What the answer for one document means."""
    return means(ITEMS, status, message)


class Rejected(Trouble):
    """A request was refused as a whole and by its own fault, as HTTP has it (4xx): another one may get through."""


def failed(status: int | str, message: str) -> None:
    """A request that OpenSearch, or the way to it, refused as a whole. Raises Never and Later."""
    try:
        judge(REQUESTS, status, message, "opensearch")
    except Later as later:
        if status in range(400, 500) and status != BUSY:
            raise Rejected(later.detail, later.retry_after) from None
        raise


def held(status: int, message: str) -> None:
    """A document was refused for something that lies with us. Raises Later."""
    judge(ITEMS, status, message, "opensearch")
