"""What is due when: the profile's rates, whatever the answers; who is noisy, who is away."""

import itertools
from dataclasses import replace

import pytest

from localdev.load.profiles import AWAY, LOGS, PROFILES, SAMPLES, SIGNALS, SPANS
from localdev.load.schedule import NOISY, RECORD_NS, Client, clients, first_batches, is_noisy

BASELINE = PROFILES["baseline"]


def per_second(made: list[Client], signal: str, seconds: float) -> float:
    return sum(client.records for client in made if client.signal == signal) / seconds


@pytest.mark.parametrize(("signal", "rate"), [(LOGS, 2000), (SAMPLES, 1000), (SPANS, 200)])
def test_baseline_is_so_many_records_a_second_of_a_hundred_tenants(signal: str, rate: float) -> None:
    made = clients(BASELINE, 120)
    assert per_second(made, signal, 120) == pytest.approx(rate, rel=0.05)
    assert len({client.tenant for client in made if client.signal == signal and client.batches}) == 100


def test_peak_is_five_times_the_baseline() -> None:
    baseline, peak = clients(BASELINE, 60), clients(PROFILES["peak"], 60)
    for signal in SIGNALS:
        assert per_second(peak, signal, 60) == pytest.approx(5 * per_second(baseline, signal, 60), rel=0.1)


def test_fewer_tenants_share_the_same_load() -> None:
    assert per_second(clients(replace(BASELINE, tenants=4), 60), LOGS, 60) == pytest.approx(2000, rel=0.05)


def test_numbers_of_a_client_go_on_from_batch_to_batch() -> None:
    for client in clients(BASELINE, 20):
        assert [batch.first for batch in client.batches] == list(range(0, client.records, client.size))


def test_no_two_records_of_a_client_have_the_same_time() -> None:
    for client in clients(PROFILES["huge"], 300):
        moments = [batch.happened for batch in client.batches]
        assert all(later - one > client.size * RECORD_NS / 1e9 for one, later in itertools.pairwise(moments))


def test_prometheus_sends_at_even_intervals() -> None:
    moments = next([batch.due for batch in client.batches] for client in clients(BASELINE, 60) if client.signal == SAMPLES)
    assert [later - one for one, later in itertools.pairwise(moments)] == pytest.approx([10.0] * (len(moments) - 1))


def test_the_noisy_tenant_sends_20_times_its_share_in_every_second_window_and_the_others_theirs() -> None:
    noisy, usual = clients(PROFILES["noisy"], 400), clients(BASELINE, 400)

    def logs(made: list[Client], tenant: int, when: bool) -> int:
        return sum(is_noisy(batch.due, 400) is when for client in made if (client.tenant, client.signal) == (tenant, LOGS) for batch in client.batches)

    assert logs(noisy, NOISY, when=True) == pytest.approx(20 * 200, rel=0.1)
    assert logs(noisy, NOISY, when=False) == pytest.approx(200, rel=0.3)
    assert [client for client in noisy if client.tenant != NOISY] == [client for client in usual if client.tenant != NOISY]


def test_half_of_the_collectors_send_what_happened_while_they_were_away_once_they_are_back() -> None:
    begin, back = AWAY[0] * 60, AWAY[1] * 60
    for client in clients(PROFILES["outage"], 60):
        for batch in client.batches:
            kept = client.tenant < 50 and begin <= batch.happened < back
            assert batch.due == (back if kept else batch.happened)


def test_each_client_has_a_first_batch() -> None:
    made = first_batches(BASELINE)
    assert {(client.tenant, client.signal) for client in made} == {(tenant, signal) for tenant in range(100) for signal in SIGNALS}
    assert all(len(client.batches) == 1 for client in made)
