"""`python -m functions.sink_opensearch.setup [--prune]`: template and ISM policies; as often as one likes, with the sink's own image.

A Job on Knative, a one-shot service in compose, a step of `./task up` on the laptop. `--prune` deletes, after that, what is older than
OPENSEARCH_DELETE_DAYS, by the dates in the names: for an OpenSearch without ISM, once a day (a CronJob). Exit code 1 when OpenSearch refuses or is away.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError, OpenSearchException
from pydantic import ValidationError

from functions.sink_opensearch import indices, ism, template
from shared.contract import LOGS_INDEX
from shared.settings import OpenSearchSetup, faults
from shared.telemetry import logs

log = logging.getLogger("opensearch_setup")


async def run(settings: OpenSearchSetup, *, prune: bool, today: date) -> None:
    """Set up, and delete what is too old if asked to. Raises OpenSearchException."""
    async with AsyncOpenSearch(settings.opensearch_url, max_retries=0, timeout=30) as client:
        await template.put(client)
        if await ism.apply(client, settings):
            log.info("template and policies are as they should be")
        else:
            log.warning("this OpenSearch has no Index State Management: the template is set, but only --prune deletes old indices")
        if prune:
            await delete_old(client, today - timedelta(days=settings.opensearch_delete_days))


async def delete_old(client: AsyncOpenSearch, before: date) -> None:
    """Delete the indices whose period ended before that day, each by its name. Raises OpenSearchException."""
    names = await client.indices.get_alias(index=f"{LOGS_INDEX}*", params={"expand_wildcards": "all"})
    old = sorted(name for name in names if (end := indices.end(name)) and end <= before)
    for name in old:
        try:
            await client.indices.delete(index=name)
            log.info("deleted %s", name)
        except NotFoundError:
            continue
    log.info("%d of %d indices were older than %s", len(old), len(names), before)


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="setup", description="Set OpenSearch up for the sink.")
    parser.add_argument("--prune", action="store_true", help="delete indices that are older than OPENSEARCH_DELETE_DAYS")
    chosen = parser.parse_args(arguments)
    try:
        settings = OpenSearchSetup()
    except ValidationError as error:
        sys.exit(f"start failed: {faults(error)}")
    logs.configure("opensearch_setup", settings.log_level)
    # The client tells of every request, and as an error of what is none here.
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    try:
        asyncio.run(run(settings, prune=chosen.prune, today=datetime.now(UTC).date()))
    except OpenSearchException as error:
        log.error("opensearch: %s", str(error)[:500])  # noqa: TRY400 the trace says nothing more
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
