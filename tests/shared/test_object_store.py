"""Objects in the real S3 server, and answers that it never gives."""

from collections.abc import AsyncIterator

import pytest

from shared.errors import Later, Trouble
from shared.object_store import Missing, ObjectStore, Unfit
from shared.settings import ObjectStore as Settings
from tests.backends import HttpBackend, Says
from tests.s3 import S3

in_s3 = pytest.mark.stack
ALL_BYTES = bytes(range(256)) * 5000


@pytest.fixture
async def store(s3: S3) -> AsyncIterator[ObjectStore]:
    made = ObjectStore(s3.settings)
    yield made
    await made.close()


@in_s3
async def test_object_comes_back_as_it_was_put(store: ObjectStore) -> None:
    metadata = {"detail": 'loki: 400 (a, b) "c" %=;', "type": "io.obstack.telemetry.logs.v1", "long": "x" * 1900}
    await store.put("as/it/was.0", ALL_BYTES, metadata)
    assert await store.get("as/it/was.0") == (ALL_BYTES, metadata)
    assert await store.metadata("as/it/was.0") == metadata
    await store.put("as/it/was.0", b"", metadata | {"detail": "another"})
    assert await store.get("as/it/was.0") == (b"", metadata | {"detail": "another"})


@in_s3
async def test_what_is_not_there_is_missing(store: ObjectStore) -> None:
    with pytest.raises(Missing):
        await store.get("nothing")
    with pytest.raises(Missing):
        await store.metadata("nothing")
    await store.delete(["nothing"])


@in_s3
async def test_listings_go_on_after_a_page(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.object_store._PAGE", 2)
    keys = [f"pages/{folder}/{n}" for folder in "abc" for n in range(3)]
    for key in keys:
        await store.put(key, b"x", {})
    pages = [[one.key for one in page] async for page in store.pages("pages/")]
    assert [key for page in pages for key in page] == keys
    assert max(map(len, pages)) == 2
    assert await store.folders("pages/") == ["pages/a/", "pages/b/", "pages/c/"]
    await store.delete(keys)
    assert [page async for page in store.pages("pages/")] == [[]]


@in_s3
async def test_objects_outlive_a_restart_and_an_absent_server_is_trouble(s3: S3, store: ObjectStore) -> None:
    await store.put("kept", b"x", {"a": "b"})
    s3.stop()
    try:
        with pytest.raises(Trouble, match="s3"):
            await store.put("kept", b"y", {})
    finally:
        s3.start()
    assert await store.get("kept") == (b"x", {"a": "b"})


@in_s3
async def test_refusals_and_wrong_buckets_are_trouble(s3: S3) -> None:
    wrong = ObjectStore(s3.settings.model_copy(update={"s3_bucket": "nobodys"}))
    with pytest.raises(Trouble, match="NoSuchBucket"):
        await wrong.put("x", b"x", {})
    await wrong.close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "MetadataTooLarge", Unfit),
        (400, "InvalidArgument", Unfit),
        (400, "KeyTooLongError", Unfit),
        (400, "EntityTooLarge", Unfit),
        (413, "", Unfit),
        (400, "ExpiredToken", Trouble),
        (400, "AuthorizationHeaderMalformed", Trouble),
        (400, "RequestTimeout", Trouble),
        (401, "Unauthorized", Trouble),
        (403, "AccessDenied", Trouble),
        (404, "NoSuchBucket", Trouble),
        (409, "OperationAborted", Trouble),
        (429, "TooManyRequests", Trouble),
        (500, "InternalError", Trouble),
        (503, "SlowDown", Trouble),
    ],
)
async def test_what_concerns_this_object_alone_is_no_trouble(status: int, code: str, kind: type[Later]) -> None:
    """A breaker that counted it would stop all the others."""
    with HttpBackend(lambda _: Says(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>")) as backend:
        store = ObjectStore(Settings(s3_bucket="b", s3_endpoint_url=backend.url, aws_access_key_id="a", aws_secret_access_key="b"))
        with pytest.raises(Later, match=code or "s3: ") as later:
            await store.put("key", b"x", {"a": "b"})
        await store.close()
    assert type(later.value) is kind
