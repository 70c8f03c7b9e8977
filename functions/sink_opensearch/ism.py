"""Index State Management: a policy a period, hot → warm → delete. Documents in, requests out; idempotent; says when OpenSearch hasn't got the plugin.

ISM counts an index's age from its creation, at the earliest at the begin of its period, so the period's length is added to the ages; an index that a late
record made lives as much longer. A warm index is merged and still takes late records: it is never made read-only.
Source: OpenSearch documentation, Index State Management: policies, ISM API.
"""

import logging
from typing import Any, Final

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError

from functions.sink_opensearch.indices import PATTERNS
from shared.contract import Period
from shared.settings import OpenSearchSetup

log = logging.getLogger(__name__)

REVISION: Final = 1
"""Count it up when a policy changes in more than what its description says: policies are compared by it, since ISM adds fields to what it was given."""

_DAYS: Final = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 31}
_PATH: Final = "/_plugins/_ism"


def policy(period: Period, settings: OpenSearchSetup) -> dict[str, Any]:
    """The policy's body. Of overlapping patterns the one with the higher priority counts."""
    warm, delete, nodes = settings.opensearch_warm_days, settings.opensearch_delete_days, settings.opensearch_warm_nodes
    attribute, _, value = nodes.partition("=")
    moving = [{"allocation": {"require": {attribute: value}}}] if nodes else []
    at = f" on {nodes}" if nodes else ""
    return {
        "policy": {
            "description": f"obstack, revision {REVISION}: indices of a {period}; warm{at} {warm} days after its end, deleted after {delete}",
            "default_state": "hot",
            "states": [
                _state("hot", [{"index_priority": {"priority": 100}}], "warm", warm + _DAYS[period]),
                _state("warm", [{"index_priority": {"priority": 50}}, *moving, {"force_merge": {"max_num_segments": 1}}], "delete", delete + _DAYS[period]),
                _state("delete", [{"delete": {}}]),
            ],
            "ism_template": [{"index_patterns": [PATTERNS[period]], "priority": 100 + list(reversed(PATTERNS)).index(period)}],
        }
    }


def _state(name: str, actions: list[dict[str, Any]], then: str = "", days: int = 0) -> dict[str, Any]:
    return {"name": name, "actions": actions, "transitions": [{"state_name": then, "conditions": {"min_index_age": f"{days}d"}}] if then else []}


async def apply(client: AsyncOpenSearch, settings: OpenSearchSetup) -> bool:
    """Make the policies what they should be, and manage indices that were made before them; false without the plugin. Raises OpenSearchException."""
    taken = list[str]()
    for period, pattern in PATTERNS.items():
        name, body = f"logs-tenant-{period}", policy(period, settings)
        try:
            old = await _ask(client, "GET", f"/policies/{name}")
        except NotFoundError:
            old = None
        except RequestError as error:
            if "no handler found" not in str(error.info):
                raise
            return False
        managed = ",".join((pattern, *taken))
        taken.append(f"-{pattern}")
        if old is None:
            await _ask(client, "PUT", f"/policies/{name}", body)
        elif old["policy"]["description"] != body["policy"]["description"]:
            await _ask(client, "PUT", f"/policies/{name}?if_seq_no={old['_seq_no']}&if_primary_term={old['_primary_term']}", body)
            await _over_indices(client, f"/change_policy/{managed}", name)
        # Refused, by index, for those that have a policy.
        await _over_indices(client, f"/add/{managed}", name)
    return True


async def _over_indices(client: AsyncOpenSearch, path: str, name: str) -> None:
    try:
        answer = await _ask(client, "POST", path, {"policy_id": name})
    except NotFoundError:
        return
    log.info("%s: %s indices", path, answer.get("updated_indices"))


async def _ask(client: AsyncOpenSearch, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    return await client.transport.perform_request(method, _PATH + path, body=body)
