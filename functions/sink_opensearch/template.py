"""The index template, put by the set-up and, since a made-up mapping can't be mended later, by the sink itself before its first write."""

from pathlib import Path
from typing import Final

import orjson
from opensearchpy import AsyncOpenSearch

FILE: Final = Path(__file__).with_name("template.json")
NAME: Final = "logs-tenant"


async def put(client: AsyncOpenSearch) -> None:
    """Make the template what `template.json` says. Raises OpenSearchException."""
    await client.indices.put_index_template(name=NAME, body=orjson.loads(FILE.read_bytes()))
