"""Objects in S3 by key, each with metadata; the only module that imports an S3 client.

boto3 blocks, so every request runs on a thread of the store's own (docs/decisions/0011). No retry but the caller's: a trigger redelivers, a command says what
is wrong. Metadata are printable ASCII, names and values together at most 2 KB (Amazon S3, object metadata).
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.contract import PROTOBUF
from shared.errors import Later, Trouble
from shared.settings import ObjectStore as Settings

THREADS: Final = 16
_PAGE: Final = 1000
"""Keys that S3 lists, or deletes, by one request."""


_ANY_OBJECT: Final = frozenset({"401", "403", "404", "408", "409", "429"})
"""Statuses below 500 that say nothing about the object: we aren't let in, there is no bucket, S3 is busy."""
_ANY_OBJECT_CODES: Final = frozenset(
    {
        *("AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidBucketName"),
        *("RequestTimeout", "IncompleteBody", "BadDigest"),
    }
)
"""Error codes that say as little though their status is 400 (Amazon S3, error responses): credentials, settings, the way there."""


class Missing(Exception):
    """There is no object with this key."""


class Unfit(Later):
    """S3 is well and doesn't take this object as it is: its metadata are too large, its key is too long, …. No Trouble: nobody else has to wait for it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing tells of an object; its metadata isn't in it."""

    key: str
    size: int
    modified: datetime


class ObjectStore:
    """One bucket. All methods raise Trouble when S3 is away, silent, or refuses us."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._pool = ThreadPoolExecutor(THREADS, "s3")
        self._client: Any = boto3.client(  # type: ignore[no-untyped-call]
            "s3",
            endpoint_url=settings.s3_endpoint_url or None,
            region_name=settings.aws_region,
            # Without them the client finds the pod's or the instance's own.
            aws_access_key_id=settings.aws_access_key_id and settings.aws_access_key_id.get_secret_value(),
            aws_secret_access_key=settings.aws_secret_access_key and settings.aws_secret_access_key.get_secret_value(),
            config=Config(  # type: ignore[no-untyped-call]
                connect_timeout=2,
                read_timeout=settings.s3_timeout_seconds,
                max_pool_connections=THREADS,
                retries={"mode": "standard", "total_max_attempts": 1},
                # A bucket as a host's name is Amazon's way; other servers have one name.
                s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            ),
        )

    async def close(self) -> None:
        """Finish what is under way."""
        await asyncio.to_thread(self._pool.shutdown)
        self._client.close()

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        """Store an object, in place of any with the same key; returns when it is durable. Raises Unfit when S3 won't ever take it."""
        await self._call(self._client.put_object, Key=key, Body=body, ContentType=PROTOBUF, Metadata=dict(metadata))

    async def get(self, key: str) -> tuple[bytes, dict[str, str]]:
        """An object's body and metadata. Raises Missing."""
        body, metadata = await self._call(self._read, Key=key)
        return body, metadata

    async def metadata(self, key: str) -> dict[str, str]:
        """An object's metadata. Raises Missing."""
        return dict((await self._call(self._client.head_object, Key=key))["Metadata"])

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[Listed]]:
        """All objects whose keys begin so, in the order of their keys, page by page."""
        token: dict[str, str] = {}
        while True:
            page = await self._call(self._client.list_objects_v2, Prefix=prefix, MaxKeys=_PAGE, **token)
            yield [Listed(one["Key"], one["Size"], one["LastModified"]) for one in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def folders(self, prefix: str) -> list[str]:
        """Prefixes one level below `prefix`, which ends with a slash, as they do."""
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await self._call(self._client.list_objects_v2, Prefix=prefix, Delimiter="/", MaxKeys=_PAGE, **token)
            found += [one["Prefix"] for one in page.get("CommonPrefixes", ())]
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that isn't there is fine."""
        for start in range(0, len(keys), _PAGE):
            objects = [{"Key": key} for key in keys[start : start + _PAGE]]
            answer = await self._call(self._client.delete_objects, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise Trouble(f"s3: not deleted: {errors[0].get('Key')}: {errors[0].get('Message')}")

    def _read(self, **place: str) -> tuple[bytes, dict[str, str]]:
        answer = self._client.get_object(**place)
        with answer["Body"] as body:
            return bytes(body.read()), dict(answer["Metadata"])

    async def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        call = functools.partial(method, Bucket=self._bucket, **arguments)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in {"NoSuchKey", "404"}:
                raise Missing(arguments.get("Key", "")) from error
            raise (Unfit if _is_of_the_object(error) else Trouble)(f"s3: {str(error)[:300]}") from error
        except BotoCoreError as error:
            raise Trouble(f"s3: {str(error)[:300]}") from error


def _is_of_the_object(error: ClientError) -> bool:
    """Whether another object would be taken."""
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return status.startswith("4") and status not in _ANY_OBJECT and error.response.get("Error", {}).get("Code") not in _ANY_OBJECT_CODES
