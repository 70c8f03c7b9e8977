"""S3 for tests of what stores objects: the server that `./task up` runs, in a folder and on a port of the tests' own."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from localdev.backends import s3
from localdev.install import servers
from localdev.ports import free_port
from shared.object_store import ObjectStore
from shared.settings import ObjectStore as Settings
from tests import waiting

T = TypeVar("T")


class S3(AbstractContextManager["S3"]):
    """A running server; what it stores outlives `stop` and `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        with self._place():
            self.settings: Settings = s3.settings()

    def __enter__(self) -> "S3":
        servers.versitygw.component().install(lambda _: None)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._place():
            service = s3.service()
            assert service.prepare
            service.prepare()
            self._process = subprocess.Popen(service.command(), env=dict(service.env()), stdout=subprocess.DEVNULL)
            waiting.until(service.ready, 20, "S3 is ready")

    def stop(self) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(20)

    @property
    def environment(self) -> dict[str, str]:
        """A function's settings."""
        settings = self.settings
        assert settings.aws_access_key_id
        assert settings.aws_secret_access_key
        keys = {"AWS_ACCESS_KEY_ID": settings.aws_access_key_id.get_secret_value(), "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key.get_secret_value()}
        return {"S3_BUCKET": settings.s3_bucket, "S3_ENDPOINT_URL": settings.s3_endpoint_url, **keys}

    @contextmanager
    def _place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OBSTACK_LOCAL", str(self._folder))
            environment.setenv("S3_PORT", str(self._port))
            yield


def with_store(s3: S3, work: Callable[[ObjectStore], Awaitable[T]]) -> T:
    """What `work` does with the server's bucket."""

    async def run() -> T:
        store = ObjectStore(s3.settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())
