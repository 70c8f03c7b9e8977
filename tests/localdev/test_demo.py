"""The demo's customers: what the shipper of logs sends, and from where on."""

from pathlib import Path

from localdev.demo import agents
from localdev.demo.shipper import Follower
from localdev.supervisor import state
from tests.backends import HttpBackend, Says
from tests.waiting import until


def test_file_is_followed_from_where_it_ends(tmp_path: Path) -> None:
    """One that is made later, or anew, from its beginning."""
    there, later = tmp_path / "there.log", tmp_path / "later.log"
    there.write_text("old\n")
    followers = [Follower(there), Follower(later)]
    later.write_text("first\n")
    with there.open("a") as file:
        file.write("new\nhal")
    assert [list(follower.lines()) for follower in followers] == [["new"], ["first"]]
    with there.open("a") as file:
        file.write("f\n")
    assert list(followers[0].lines()) == ["half"]
    there.write_text("cut\n")
    assert list(followers[0].lines()) == ["cut"]


def test_what_is_logged_once_the_shipper_is_there_is_sent_and_nothing_before(local: Path) -> None:
    """Else an old stack's lines would come again as new ones, or the marker that is looked for would be left out."""
    log = state.log_folder() / "gateway.log"
    log.write_text("before\n")
    with HttpBackend(lambda _: Says(200)) as gateway, agents.shipper(gateway.url, "token"):
        with log.open("a") as file:
            file.write("marker\n")
        until(lambda: any(b"marker" in asked.body for asked in gateway.asked), 30)
    assert not any(b"before" in asked.body for asked in gateway.asked)
