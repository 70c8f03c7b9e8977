"""Every process killed, one frozen, a backend's disk full, one away, poison in every topic, while numbered records flow: each is there exactly once."""

import pytest

from localdev.chaos.__main__ import main
from tests.conftest import Stack

pytestmark = pytest.mark.stack

BOUNDED = ["--logs", "20000", "--samples", "10000", "--spans", "5000", "--pace", "2", "--freeze", "loki", "--patience", "120"]
AWAY = ["--outage", "loki", "--minutes", "0.33", "--rate", "600", "--patience", "120"]


@pytest.mark.parametrize("arguments", [BOUNDED, AWAY], ids=["harmed", "away"])
def test_nothing_is_lost_or_doubled_whatever_is_done_to_the_stack(stack: Stack, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stack.tenants
    code = main(arguments)
    out, err = capsys.readouterr()
    assert code == 0, out + err
