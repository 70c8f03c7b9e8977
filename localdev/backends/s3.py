"""S3: versitygw over a folder, so that objects are still there after a restart; one bucket, one account."""

import os
import secrets
from contextlib import suppress
from functools import partial
from tempfile import NamedTemporaryFile

from localdev.backends import folders, probe
from localdev.install import servers
from localdev.paths import local
from localdev.ports import ports
from localdev.service import Service
from shared.settings import ObjectStore

_NAME = "s3"
BUCKET = "obstack"
ACCESS_KEY = "obstack"
REGION = "us-east-1"
"""versitygw's, as long as it is told no other."""


def url() -> str:
    return f"http://127.0.0.1:{ports()['S3_PORT']}"


def secret_key() -> str:
    """Of the one account: made once per `.local`, for its owner alone; whole at once, since several services ask for it at the same time."""
    path = local() / "s3.secret"
    if not path.exists():
        with NamedTemporaryFile("w", dir=folders.make(path.parent)) as file, suppress(FileExistsError):
            file.write(secrets.token_hex(16))
            file.flush()
            os.link(file.name, path)
    return path.read_text()


def settings() -> ObjectStore:
    """For a client on this machine."""
    return ObjectStore.model_validate(
        {"s3_bucket": BUCKET, "s3_endpoint_url": url(), "aws_region": REGION, "aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": secret_key()},
    )


def service() -> Service:
    return Service(
        name=_NAME,
        command=_command,
        env=lambda: {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret_key()},
        ready=lambda: probe.http_ok(f"{url()}/health"),
        install=partial(servers.install, servers.versitygw),
        prepare=_prepare,
    )


def _command() -> list[str]:
    folder = folders.data(_NAME)
    # Metadata beside the objects: not every file system has extended attributes, and where it has, they may be too small. Unlike Amazon's, an object that takes
    # another's place keeps those metadata of the other that it has none of.
    backend = ["posix", "--sidecar", str(folder / "metadata"), str(folder / "buckets")]
    return [str(servers.versitygw.binary()), "--port", f"127.0.0.1:{ports()['S3_PORT']}", "--health", "/health", "--quiet", *backend]


def _prepare() -> None:
    folder = folders.make(folders.data(_NAME))
    folders.make(folder / "metadata")
    folders.make(folder / "buckets" / BUCKET)
