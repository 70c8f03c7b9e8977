"""The supervisor: starts in order what can start, restarts what crashes, leaves nothing behind, says what is wrong and what to do."""

import os
import pwd
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from localdev import processes
from localdev.supervisor import control, state
from localdev.supervisor.board import State
from localdev.supervisor.run import PARALLEL_INSTALLS
from tests.waiting import until

if TYPE_CHECKING:
    from tests.localdev.conftest import Supervised


def test_service_waits_for_those_before_it(supervised: "Supervised") -> None:
    """`after` is an order of readiness, and stopping goes the other way."""
    broker, function = supervised.service("broker"), supervised.service("function", after=["broker"])
    services = supervised.up(function, broker)
    assert {status.state for status in services.values()} == {State.READY}
    assert supervised.notes() == [f"start {broker['port']}", f"start {function['port']}"]
    assert control.down()
    assert supervised.notes()[2:] == [f"stop {function['port']}", f"stop {broker['port']}"]


def test_slow_installation_delays_only_itself(supervised: "Supervised") -> None:
    """What is ready starts, however long something else compiles, and however many installations take all places there are."""
    done = supervised.folder / "compiled"
    slow = [supervised.service(f"slow{number}", install=str(done)) for number in range(PARALLEL_INSTALLS + 1)]
    services = supervised.up(*slow, supervised.service("quick"), wanted=("quick",))
    assert services["quick"].state is State.READY
    assert (services["slow0"].state, services["slow0"].detail) == (State.INSTALLING, "compiling (1 of 2)")
    done.touch()
    assert {status.state for status in supervised.up().values()} == {State.READY}


def test_up_again_changes_nothing(supervised: "Supervised") -> None:
    """A second `up` waits for the stack that runs."""
    before = supervised.up(supervised.service("a"))
    supervisor = supervised.supervisor
    assert supervised.up()["a"].pid == before["a"].pid
    assert supervised.supervisor == supervisor


def test_killed_service_is_restarted(supervised: "Supervised") -> None:
    """Its worker, which survives it and holds the port, is killed before the restart."""
    pid = supervised.up(supervised.service("a", "--worker"))["a"].pid
    assert pid
    (worker,) = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: supervised.status("a").restarts == 1 and supervised.status("a").state is State.READY)
    assert supervised.status("a").pid != pid
    assert not worker.is_running()


def test_a_stopped_service_stays_away_until_it_is_started(supervised: "Supervised") -> None:
    """However often the supervisor is asked for something else; its port is free meanwhile and the others stay."""
    rows = supervised.service("a"), supervised.service("b")
    b = supervised.up(*rows)["b"].pid
    control.stop("a")
    os.kill(supervised.supervisor, signal.SIGHUP)
    processes.check_ports({"A_PORT": rows[0]["port"]})
    assert (supervised.status("a").state, supervised.status("a").pid, supervised.status("b").pid) == (State.STOPPED, None, b)
    control.start("a")
    assert (supervised.status("a").state, supervised.status("a").restarts, supervised.status("b").pid) == (State.READY, 0, b)
    assert [note.split()[0] for note in supervised.notes()].count("stop") == 1


def test_up_starts_what_was_stopped(supervised: "Supervised") -> None:
    """Everything, as it says; a new supervisor remembers nothing of it."""
    supervised.up(supervised.service("a"))
    control.stop("a")
    assert supervised.up()["a"].state is State.READY
    control.stop("a")
    control.down()
    assert supervised.up()["a"].state is State.READY


def test_a_stubborn_service_can_be_stopped_alone(supervised: "Supervised") -> None:
    """By SIGKILL in the end."""
    supervised.up(supervised.service("a", "--ignore-term", stop_seconds=0.5))
    control.stop("a")
    assert supervised.status("a").pid is None


def test_stopping_what_is_not_there_says_what_there_is(supervised: "Supervised") -> None:
    """A wrong name, or no stack."""
    with pytest.raises(control.Failure, match="no stack is running"):
        control.stop("a")
    supervised.up(supervised.service("a"))
    with pytest.raises(control.Failure, match="no service is called b; there are a"):
        control.start("b")


def test_killed_supervisor_leaves_no_orphans(supervised: "Supervised") -> None:
    """The reaper ends everything, workers and installations too, and the next `up` starts from nothing."""
    supervised.up(
        supervised.service("a", "--worker"),
        supervised.service("stubborn", "--ignore-term"),
        supervised.service("b", install="/nowhere"),
        wanted=("a", "stubborn"),
    )
    assert len(supervised.processes()) >= 5
    os.kill(supervised.supervisor, signal.SIGKILL)
    until(lambda: state.running() is None)
    supervised.up(supervised.service("a"))  # waits for the reaper, else the port would be taken
    old = {process.pid for process in supervised.processes()} - {
        supervised.supervisor,
        *(child.pid for child in psutil.Process(supervised.supervisor).children()),
    }
    assert not old


def test_nothing_runs_after_down(supervised: "Supervised") -> None:
    """`down` returns when the last process is gone, the reaper included."""
    supervised.up(supervised.service("a", "--worker"), supervised.service("b", after=["a"]))
    assert len(supervised.processes()) >= 5
    assert control.down()
    assert not supervised.processes()
    assert not control.down()


def test_stubborn_service_is_killed(supervised: "Supervised") -> None:
    """SIGKILL follows when SIGTERM was ignored for `stop_seconds`."""
    supervised.up(supervised.service("a", "--ignore-term", stop_seconds=0.3))
    assert control.down()
    assert not supervised.processes()


def test_stop_while_installing(supervised: "Supervised") -> None:
    """An installation that would take minutes doesn't hold `down` up."""
    supervised.up(supervised.service("a"), supervised.service("slow", install=str(supervised.folder / "never")), wanted=("a",))
    assert control.down(timeout=10)
    assert not supervised.processes()


def test_failed_installation_tells_the_remedy(supervised: "Supervised") -> None:
    """`up` ends with the recipe's words; once mended, `up` goes on without stopping the rest."""
    done = supervised.folder / "compiled"
    done.write_text("disk full.\nRemedy: free 2 GB.")
    rows = supervised.service("a"), supervised.service("broken", install=str(done))
    with pytest.raises(control.Failure, match=r"(?s)broken: disk full.*Remedy: free 2 GB"):
        supervised.up(*rows)
    done.write_text("")
    before = supervised.up(wanted=("a",))["a"].pid
    assert supervised.up()["broken"].state is State.READY
    assert supervised.status("a").pid == before


def test_crashing_service_shows_its_log(supervised: "Supervised") -> None:
    """`up` ends with how it ended and the last lines it wrote."""
    with pytest.raises(control.Failure, match=r"(?s)a: exited with code 1, 5 times in a row.*a\.log.*SETTING is missing"):
        supervised.up(supervised.service("a", "--crash"))
    assert supervised.status("a").restarts >= 4


def test_taken_port_names_holder_and_variable(local: Path, port_offset: int) -> None:
    """The message says which port, who has it, and what changes it."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(processes.PortTaken, match=rf"port {port} \(KAFKA_PORT\) is taken by .*\(pid {os.getpid()}\).*KAFKA_PORT=.*OBSTACK_PORT_OFFSET="):
            processes.check_ports({"KAFKA_PORT": port})
    processes.check_ports({"KAFKA_PORT": port})


def test_foreign_process_on_a_port_fails_up(supervised: "Supervised", port_offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose port somebody else has is not started at all."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        monkeypatch.setenv("GATEWAY_PORT", str(held.getsockname()[1]))
        with pytest.raises(control.Failure, match="GATEWAY_PORT"):
            supervised.up(supervised.service("gateway"))
    assert supervised.up()["gateway"].state is State.READY


def test_port_belongs_to_the_longest_name(supervised: "Supervised", monkeypatch: pytest.MonkeyPatch) -> None:
    """INGEST_OTLP_GRPC_PORT is not ingest_otlp's, although it begins so."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        monkeypatch.setenv("INGEST_OTLP_GRPC_PORT", str(held.getsockname()[1]))
        rows = supervised.service("ingest_otlp"), supervised.service("ingest_otlp_grpc")
        assert supervised.up(*rows, wanted=("ingest_otlp",))["ingest_otlp"].state is State.READY
        until(lambda: supervised.status("ingest_otlp_grpc").state is State.FAILED)


def test_up_gives_up_waiting(supervised: "Supervised") -> None:
    """A timeout ends the waiting, not the supervised."""
    with pytest.raises(control.Failure, match=r"not ready after 3 s: slow \(installing compiling"):
        supervised.up(supervised.service("a"), supervised.service("slow", install=str(supervised.folder / "never")), timeout=3)
    assert supervised.status("a").state is State.READY


def test_unknown_service_is_named(supervised: "Supervised") -> None:
    """A typing error in --wait-for must not wait for ever."""
    with pytest.raises(control.Failure, match="no service is called b; there are a"):
        supervised.up(supervised.service("a"), wanted=("b",))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_unprivileged_service_runs_as_nobody(supervised: "Supervised") -> None:
    """With no group of root's left."""
    pid = supervised.up(supervised.service("a", command=["/usr/bin/env", "sleep", "1000"], unprivileged=True))["a"].pid
    process = psutil.Process(pid)
    entry = pwd.getpwnam("nobody")
    assert (set(process.uids()), set(process.gids())) == ({entry.pw_uid}, {entry.pw_gid})
    assert "Groups:\t\n" in Path(f"/proc/{pid}/status").read_text().replace(" \n", "\n")


def test_long_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer appends, so it goes on at the beginning of the emptied file."""
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"0123456789A")
        processes.trim_log(log)
        writer.write(b"B")
    assert (log.read_text(), (tmp_path / "a.log.1").read_text()) == ("B", "0123456789A")
