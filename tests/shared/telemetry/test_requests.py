"""Requests by whose they are and how they end."""

import asyncio

import pytest

from shared.contract import Reason
from shared.errors import Later, Refused, Trouble
from shared.telemetry import requests
from shared.telemetry.metrics import Tenants
from tests.told import growth

NAME = "obstack_ingest_requests_total"


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Later("ingest is switched off", 5, Reason.SWITCHED_OFF), "later", "switched_off"),
        (Refused(Reason.INVALID, "no"), "refused", "invalid"),
        (Refused(Reason.LIMITED, "no", 429), "refused", "limited"),
        (Later("the broker is away"), "later", "unavailable"),
        (Trouble("the broker is away"), "later", "unavailable"),
    ],
)
async def test_what_is_refused_is_counted_by_tenant_and_reason(few_tenants: Tenants, error: Refused | Later, outcome: str, reason: str) -> None:
    own, all_ = (
        growth(NAME, tenant="a", signal="logs", outcome=outcome, reason=reason),
        growth("obstack_ingest_refused_requests_total", reason=reason),
    )
    requests.begin("logs", "a")
    requests.refused(error)
    assert (own(), all_()) == (1, 1)


async def test_what_is_accepted_has_no_reason(few_tenants: Tenants) -> None:
    own, refused = growth(NAME, tenant="a", signal="traces", outcome="accepted", reason=""), growth("obstack_ingest_refused_requests_total", reason="")
    requests.begin("traces", "a")
    requests.accepted()
    requests.accepted()
    assert (own(), refused()) == (2, 0)


async def test_requests_under_way_together_are_each_their_own(few_tenants: Tenants) -> None:
    """Each is counted for the tenant that its own token named, in whichever order they end."""
    a, b, nobody = (growth(NAME, tenant=tenant, signal="logs", outcome="accepted", reason="") for tenant in ("a", "b", ""))
    both = asyncio.Barrier(2)

    async def request(tenant: str) -> None:
        requests.begin("logs")
        requests.begin("logs", tenant)
        await both.wait()
        requests.accepted()

    await asyncio.gather(request("a"), request("b"))
    assert (a(), b(), nobody()) == (1, 1, 0)


async def test_a_new_request_has_nobodys_tenant_until_a_token_names_one(few_tenants: Tenants) -> None:
    nobody = growth(NAME, tenant="", signal="metrics", outcome="refused", reason="no_token")
    requests.begin("logs", "a")
    requests.begin("metrics")
    requests.refused(Refused(Reason.NO_TOKEN, "no", 401))
    assert nobody() == 1


async def test_tenants_beyond_the_first_share_a_label(few_tenants: Tenants) -> None:
    other = growth(NAME, tenant="other", signal="logs", outcome="accepted", reason="")
    for tenant in ("a", "b", "c", "d", "a"):
        requests.begin("logs", tenant)
        requests.accepted()
    assert other() == 2
