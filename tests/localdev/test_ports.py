"""Ports: the file's, unless the environment has a number of that name."""

import pytest

from localdev.ports import ports


def test_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "8123")
    assert ports()["GATEWAY_PORT"] == 8123


@pytest.mark.parametrize("address", ["tcp://10.43.0.7:8080", "udp://10.43.0.7:8080"])
def test_address_that_kubernetes_set_for_a_service_of_that_name_is_none_of_ours(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = ports()
    monkeypatch.setenv("GATEWAY_PORT", address)
    assert ports() == shipped


def test_what_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "80a")
    with pytest.raises(ValueError, match="80a"):
        ports()
