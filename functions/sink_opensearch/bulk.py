"""Documents → OpenSearch: puts the index template first, repeats only the documents that OpenSearch was too busy for, reads every item of every answer.

Events that are under way at the same time share bulk requests (`shared.grouping`), whoever's they are: each document names its own index, and each event gets
the items of its own documents, in order. Two kinds of documents go alone, so that others don't wait for them: those for an index that OpenSearch was lately in
trouble with, until one is stored; and, a few at a time, those for an index that this process has not seen yet. It may have to be made, which takes OpenSearch a
tenth of a second and more, one after the other, and with the first minute of a day every tenant wants one. The template is put before the first request, and
again after each failure: an OpenSearch that comes back may have come back empty, and an index made without the template would guess its mapping from customers'
data.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence, Set
from http import HTTPStatus
from itertools import accumulate
from typing import Final, TypeVar

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import OpenSearchException, TransportError

from functions.sink_opensearch import answers, request, template
from functions.sink_opensearch.answers import Item
from functions.sink_opensearch.documents import Document
from shared.backend import Backend
from shared.breaker import Breaker
from shared.errors import Later, Never, Trouble
from shared.grouping import Group
from shared.telemetry import metrics
from shared.verdict import Means, Refusal

log = logging.getLogger(__name__)

PAUSES: Final = (0.1, 0.4, 1.6)
"""Seconds before each repetition for documents that OpenSearch was too busy for; then the trigger repeats the batch."""
LANES: Final = 2
"""Shared requests under way at a time; a chunk that is too large for company is a request of its own beside them."""
NEW_AT_ONCE: Final = 8
"""Requests under way at a time for indices that may have to be made: few enough for each to be made in a request's time, and as many as
OpenSearch may make in one go (docs/decisions/0012)."""
MOST_KNOWN: Final = 20_000
"""Indices that are remembered as being there. With more of them it begins again: each costs a request of its own then."""
MOST_TROUBLED: Final = 1000
"""Indices that are remembered as being in trouble. With more of them it is OpenSearch that is in trouble, and it begins again."""

T = TypeVar("T")


class Bulk:
    """OpenSearch, as far as a sink writes to it."""

    def __init__(self, backend: Backend, client: AsyncOpenSearch, breaker: Breaker, timeout: float) -> None:
        """`timeout`: the backend's. `client` puts the template; for bulk requests it would cost as much as all else that a small event takes."""
        self._backend = backend
        self._path = request.path(timeout)
        self._client = client
        self._breaker = breaker
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._together: Group[int, Sequence[Document], Sequence[Item]] = Group(self._send_all, request.size)
        self._troubled: set[str] = set()
        self._known: set[str] = set()
        self._new = asyncio.Semaphore(NEW_AT_ONCE)

    async def store(self, chunk: Sequence[Document]) -> list[tuple[Document, Never]]:
        """Store documents; returns those that OpenSearch won't ever take. Raises Later.

        A refusal that says nothing we know is believed only if OpenSearch takes a document right after it that is surely good.
        """
        refused = await self._store(chunk)
        if not all(never.named for _, never in refused):
            for _, never in await self._store([request.probe()]):
                log.error("held, since OpenSearch refuses even a document that is surely good: %s", never)
                raise Later(f"opensearch refuses everything: {never}")
        return refused

    async def _store(self, chunk: Sequence[Document]) -> list[tuple[Document, Never]]:
        refused: list[tuple[Document, Never]] = []
        for pause in (*PAUSES, None):
            chunk, busy = await self._try(chunk, refused)
            if not chunk:
                break
            if pause is None:
                raise Later(f"opensearch: {len(chunk)} documents: {busy}")
            await asyncio.sleep(pause)
            metrics.BACKEND_RETRIES.labels("busy").inc()
        return refused

    async def _try(self, chunk: Sequence[Document], refused: list[tuple[Document, Never]]) -> tuple[list[Document], str]:
        """Send documents once; returns those to send again, and why the last of them. Raises Later."""
        again: list[Document] = []
        busy = ""
        for document, item in zip(chunk, await self._items(chunk), strict=True):
            if (status := item["status"]) == answers.CREATED:
                continue
            message = _message(item)
            match answers.item(status, message):
                case Means.DONE:
                    if status == answers.EXISTS:
                        metrics.DUPLICATES.inc()
                case Refusal() as refusal:
                    refused.append((document, Never(refusal.reason, f"opensearch: {status} {message[:400]}", refusal.named, str(status))))
                case Means.TRANSIENT | Means.BUSY as trouble:
                    again.append(document)
                    busy = f"{status} {message[:400]}"
                    if trouble is Means.TRANSIENT:
                        self._remember({document.index})
                case _:  # one tenant's index, closed or blocked: others neither wait beside it nor for the template
                    self._remember({document.index})
                    answers.held(status, message)
        return again, busy

    async def _items(self, chunk: Sequence[Document]) -> Sequence[Item]:
        """What OpenSearch says of each document. Raises Later."""
        indices = {document.index for document in chunk}
        try:
            if not indices.isdisjoint(self._troubled):
                items: Sequence[Item] = await self._send(chunk)
            elif not indices <= self._known:
                async with self._new:
                    items = await self._send(chunk)
            else:
                items = await self._together.do(min(range(LANES), key=self._together.load), chunk)
        except Trouble:
            self._remember(indices)
            raise
        self._troubled -= indices
        if not indices <= self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known |= {document.index for document, item in zip(chunk, items, strict=True) if item["status"] in answers.THERE}
        return items

    def _remember(self, indices: Set[str]) -> None:
        if len(self._troubled) >= MOST_TROUBLED:
            self._troubled.clear()
        self._troubled |= indices

    async def _send_all(self, lane: int, chunks: Sequence[Sequence[Document]]) -> list[Sequence[Item] | Exception]:
        """One request for all; each chunk's items. If it is rejected for what one event has in it, that is no reason to hold the others: each goes alone."""
        if len(chunks) == 1:
            return [await self._send(chunks[0])]
        metrics.GROUPED.inc(len(chunks))
        try:
            items = await self._send([document for chunk in chunks for document in chunk])
        except answers.Rejected:
            metrics.BACKEND_RETRIES.labels("shared_refusal").inc()
            return [await self._alone(lane, chunk) for chunk in chunks]
        ends = accumulate(map(len, chunks))
        return [items[end - len(chunk) : end] for chunk, end in zip(chunks, ends, strict=True)]

    async def _alone(self, lane: int, chunk: Sequence[Document]) -> Sequence[Item] | Exception:
        try:
            [items] = await self._send_all(lane, [chunk])
        except Later as later:
            return later
        return items

    async def _send(self, chunk: Sequence[Document]) -> list[Item]:
        """One item for each document; smaller requests when this one is too large. Raises Later."""
        await self._prepare()
        try:
            return await self._call(lambda: self._ask(chunk))
        except Never as never:
            if len(chunk) == 1:
                return [{"status": 413, "error": {"type": "too_large", "reason": never.detail}}]
            metrics.BISECTIONS.labels("size").inc()
            middle = len(chunk) // 2
            return [*await self._send(chunk[:middle]), *await self._send(chunk[middle:])]

    async def _ask(self, chunk: Sequence[Document]) -> list[Item]:
        answer = await self._backend.post(self._path, request.body(chunk), request.HEADERS)
        if answer.status == HTTPStatus.OK and answer.body == answers.all_created(len(chunk)):
            return [answers.ALL_RIGHT] * len(chunk)
        answers.failed(answer.status, answer.text)
        items = answers.items(answer.body)
        if len(items) != len(chunk):
            raise Trouble(f"opensearch: it told of {len(items)} documents, and was sent {len(chunk)}")
        return items

    async def _prepare(self) -> None:
        if self._prepared:
            return
        async with self._preparing:
            if not self._prepared:
                await self._call(self._put_template)
                self._prepared = True

    async def _put_template(self) -> None:
        try:
            await template.put(self._client)
        except TransportError as error:
            answers.failed(error.status_code, str(error.info or error.error)[:1000])
            raise Trouble("opensearch") from error
        except OpenSearchException as error:
            raise Trouble(f"opensearch: {type(error).__name__}") from error

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """A request's answer. Raises Never (413) and Later."""
        try:
            with self._breaker.closed():
                return await ask()
        except Later:
            self._prepared = False
            raise


def _message(item: Item) -> str:
    error = item.get("error", {})
    return f"{error.get('type')}: {error.get('reason')} {error.get('caused_by', {}).get('reason', '')}"
