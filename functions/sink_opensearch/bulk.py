"""Documents → OpenSearch: puts the index template first, repeats only the documents that OpenSearch was too busy for, reads every item of every answer.

The template is put before the first request, and again after each failure: an OpenSearch that comes back may have come back empty, and an index made
without the template would guess its mapping from customers' data.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import OpenSearchException, TransportError

from functions.sink_opensearch import answers, request
from functions.sink_opensearch.documents import Document
from shared.errors import Later, Never
from shared.telemetry import metrics
from shared.verdict import Means, Refusal

TEMPLATE: Final = Path(__file__).with_name("template.json")
PAUSES: Final = (0.1, 0.4, 1.6)
"""Seconds before each repetition for documents that OpenSearch was too busy for; then the trigger repeats the batch."""

_ANSWER: Final = {"filter_path": "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"}
_LINES: Final = {"content-type": "application/x-ndjson"}


class Bulk:
    """OpenSearch, as far as a sink writes to it."""

    def __init__(self, client: AsyncOpenSearch) -> None:
        self._client = client
        self._template = orjson.loads(TEMPLATE.read_bytes())
        self._prepared = False
        self._preparing = asyncio.Lock()

    async def store(self, chunk: Sequence[Document]) -> list[tuple[Document, Never]]:
        """Store documents; returns those that OpenSearch won't ever take. Raises Later."""
        await self._prepare()
        refused: list[tuple[Document, Never]] = []
        for pause in (*PAUSES, None):
            chunk, busy = await self._try(chunk, refused)
            if not chunk:
                break
            if pause is None:
                raise Later(f"opensearch: {len(chunk)} documents: {busy}")
            await asyncio.sleep(pause)
        return refused

    async def _try(self, chunk: Sequence[Document], refused: list[tuple[Document, Never]]) -> tuple[list[Document], str]:
        """Send documents once; returns those to send again, and why the last of them. Raises Later."""
        again: list[Document] = []
        busy = ""
        for document, item in zip(chunk, await self._send(chunk), strict=True):
            status, message = item["status"], _message(item)
            if status == answers.EXISTS:
                metrics.DUPLICATES.inc()
            match answers.item(status, message):
                case Refusal() as refusal:
                    refused.append((document, Never(refusal.reason, f"opensearch: {status} {message[:400]}", refusal.named)))
                case Means.TRANSIENT:
                    again.append(document)
                    busy = f"{status} {message[:400]}"
                case Means.CONFIGURATION:
                    self._prepared = False
                    answers.held(status, message)
        return again, busy

    async def _send(self, chunk: Sequence[Document]) -> list[Mapping[str, Any]]:
        """One item for each document; smaller requests when this one is too large."""
        try:
            answer = await self._call(self._client.bulk(body=request.body(chunk), params=_ANSWER, headers=_LINES))
        except Never as never:
            if len(chunk) == 1:
                return [{"status": 413, "error": {"type": "too_large", "reason": never.detail}}]
            middle = len(chunk) // 2
            return [*await self._send(chunk[:middle]), *await self._send(chunk[middle:])]
        return [next(iter(item.values())) for item in answer["items"]]

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._prepared:
                await self._call(self._client.indices.put_index_template(name="logs-tenant", body=self._template))
                self._prepared = True

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except TransportError as error:
            self._prepared = False
            answers.failed(error.status_code, str(error.info or error.error)[:1000])
            raise Later("opensearch") from error
        except OpenSearchException as error:
            self._prepared = False
            raise Later(f"opensearch: {type(error).__name__}") from error


def _message(item: Mapping[str, Any]) -> str:
    error = item.get("error", {})
    return f"{error.get('type')}: {error.get('reason')} {error.get('caused_by', {}).get('reason', '')}"
