"""Where `./task dead-letters` and `./task backfill` work: on this machine, or in a cluster, whose places the environment names as it does for the functions."""

import os
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import ValidationError

from localdev import backends, topics
from localdev.admin import Failure
from localdev.backends import s3
from localdev.functions import Function
from shared.settings import ObjectStore, SinkUrls, faults

NAMES: Final = ("SINK_URLS", "S3_BUCKET")
"""Either of them means a cluster."""

_Part = TypeVar("_Part", ObjectStore, SinkUrls)

HELP: Final = """in a cluster, whose places the environment names:
  SINK_URLS                http://{sink}.telemetry.svc.cluster.local, or JSON: {"sink_loki": "http://…", …}
  S3_BUCKET                with S3_ENDPOINT_URL (empty: Amazon's), AWS_REGION, and AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY (or what else boto3 finds)
  DATABASE_URL             for names of tenants; their ids do without
  KAFKA_BOOTSTRAP_SERVERS  for backfill

SINK_URLS or S3_BUCKET means a cluster. Then this machine is used for nothing that is missing, so that no letter goes from the one to the sinks of the other.
Without them it is the stack that ./task up has started here, be it of processes or containers.
"""


def object_store() -> ObjectStore:
    """Raises Failure."""
    return _settings(ObjectStore) if _in_a_cluster() else s3.settings()


def sink_url(function: Function) -> str:
    """Raises Failure."""
    if not _in_a_cluster():
        return function.url
    if not (url := _settings(SinkUrls).sink_url(function.name)):
        raise Failure(f"SINK_URLS doesn't say where {function.name} is")
    return url


def database_url() -> str:
    """Raises Failure."""
    return _named("DATABASE_URL", backends.postgres_url)


def bootstrap_servers() -> str:
    """Raises Failure."""
    return _named("KAFKA_BOOTSTRAP_SERVERS", topics.bootstrap_servers)


def remedy(what: str) -> str:
    """What to do when `what` can't be reached."""
    return f"The environment says where {what} is." if _in_a_cluster() else f"./task status shows whether {what} runs here; ./task up starts it."


def _in_a_cluster() -> bool:
    return any(map(os.environ.get, NAMES))


def _named(name: str, here: Callable[[], str]) -> str:
    if not _in_a_cluster():
        return here()
    if not (value := os.environ.get(name)):
        raise Failure(f"The environment names places in a cluster, and {name} is not among them.")
    return value


def _settings(part: type[_Part]) -> _Part:
    try:
        return part()
    except ValidationError as error:
        raise Failure(f"The environment names places in a cluster, and not all that are needed, or not rightly: {faults(error)}") from None
