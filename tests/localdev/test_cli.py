"""The command line: what a developer sees and which exit code a script gets."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from localdev import functions, paths
from localdev.__main__ import main
from localdev.supervisor import control, stack
from tests.waiting import until

if TYPE_CHECKING:
    from tests.localdev.conftest import Supervised


def test_help_explains_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """In general and one by one."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    general = capsys.readouterr().out
    assert all(word in general for word in ("up", "down", "status", "logs", "examples:"))
    words = {"up": "--wait-for", "down": "backends stay", "stop": "as if they were away", "start": "ready", "status": "exit code", "logs": "--follow"}
    for command, word in words.items():
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert word in capsys.readouterr().out


def test_commands_say_when_nothing_runs(local: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`down` is content with that, `status` is not."""
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Nothing runs.\n"
    assert main(["status"]) == 1
    assert "./task up starts it" in capsys.readouterr().out


def test_status_is_0_only_when_all_are_ready(supervised: "Supervised", capsys: pytest.CaptureFixture[str]) -> None:
    """One that isn't makes it 1."""
    done = supervised.folder / "done"
    supervised.up(supervised.service("kafka"), supervised.service("slow", install=str(done)), wanted=("kafka",))
    assert main(["status"]) == 1
    table = capsys.readouterr().out
    assert "kafka" in table
    assert "compiling (1 of 2)" in table
    done.touch()
    until(lambda: main(["status"]) == 0)


def test_logs_shows_the_end_of_a_log(supervised: "Supervised", capfd: pytest.CaptureFixture[str]) -> None:
    """Without a name, and for a wrong one, it lists what there is."""
    with suppress(control.Failure):
        supervised.up(supervised.service("a", "--crash"))
    assert main(["logs", "a", "-n", "1"]) == 0
    assert capfd.readouterr().out == "no configuration: SETTING is missing\n"
    assert main(["logs"]) == 0
    assert "a, supervisor" in capfd.readouterr().out
    assert main(["logs", "b"]) == 1
    assert "No log of that name" in capfd.readouterr().out


def test_up_prints_progress_and_gateway(supervised: "Supervised", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines where there is no terminal; exit code 0."""
    supervised.up(supervised.service("kafka"))
    assert main(["up", "--wait-for", "kafka"]) == 0
    printed = capsys.readouterr().out
    assert "s  kafka: ready" in printed
    assert "Ready: http://127.0.0.1:" in printed


def test_up_that_fails_is_1(supervised: "Supervised", capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason on standard error."""
    supervised.up(supervised.service("kafka"))
    assert main(["up", "--wait-for", "kafak"]) == 1
    assert "no service is called kafak" in capsys.readouterr().err


def test_supervisor_survives_ctrl_c_of_up(supervised: "Supervised") -> None:
    """It has a session of its own, so a terminal's signal doesn't reach it."""
    supervised.up(supervised.service("a"))
    assert os.getsid(supervised.supervisor) == supervised.supervisor != os.getsid(0)


def test_supervisor_that_cannot_start_shows_why(local: Path) -> None:
    """Its last words are the message."""
    with pytest.raises(control.Failure, match=r"(?s)the supervisor ended.*broken on purpose"):
        control.up(_Quiet(), command=(sys.executable, "-c", "raise SystemExit('broken on purpose')"))


class _Quiet:
    def show(self, services: object) -> None:
        """Nothing."""


def test_two_ups_at_once_make_one_supervisor(supervised: "Supervised") -> None:
    """Whichever comes second follows the first."""
    supervised.up(supervised.service("a"))
    first = supervised.supervisor
    command = [sys.executable, str(Path(__file__).with_name("programs") / "supervised.py"), str(supervised.folder / "services.json")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (second.returncode, "another supervisor runs already" in second.stderr) == (0, True)
    assert supervised.supervisor == first
    assert psutil.pid_exists(first)


# What is run


def test_every_function_is_a_service(local: Path) -> None:
    """With the server and target that the image uses; only those that need the database wait for it, and none for a backend that compiles."""
    services = {service.name: service for service in stack.services()}
    rows = functions.catalogue()
    assert {row.name for row in rows} < services.keys()
    assert {row.name for row in rows if row.trigger} == {"sink_loki", "sink_opensearch", "sink_prom", "sink_tempo", "dead_letter"}
    command = services["ingest_otlp"].command()
    assert command[0].endswith("/uvicorn")
    assert command[-1] == "functions.ingest_otlp.main:app"
    assert services["ingest_otlp"].after == ("kafka", "postgres")
    assert (services["sink_loki"].after, services["query"].after) == (("kafka", "postgres"), ("postgres",))
    assert services["dead_letter"].after == ()
    assert services["ingest_otlp_grpc"].command()[-1] == "functions.ingest_otlp_grpc.main"  # HTTP/2 trailers, so a server of its own
    assert list(services)[-3:] == ["trigger", "gateway", "monitoring"]


def test_optional_function_is_on_when_asked_for(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sink_archive" not in {row.name for row in functions.catalogue()}
    monkeypatch.setenv(functions.WITH, "sink_archive")
    assert "sink_archive" in {row.name for row in functions.catalogue()}
    monkeypatch.setenv(functions.WITH, "sink_archives,query")
    with pytest.raises(ValueError, match="query, sink_archives: not an optional function; there are: sink_archive"):
        functions.catalogue()


def test_up_with_an_unknown_function_says_which_there_are(local: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(functions.WITH, "")
    assert main(["up", "--with", "archive"]) == 1
    assert "there are: sink_archive" in capsys.readouterr().err


def test_function_gets_the_settings_of_its_row(local: Path) -> None:
    """And no others; the same secret at every start, readable by its owner alone."""
    local.mkdir()
    (local / "postgres.password").write_text("x")
    loki = next(service for service in functions.services() if service.name == "sink_loki").env()
    given = {name for name in loki if name not in {"FUNCTION_NAME", "PYTHONUNBUFFERED", "PYTHONPATH"} and not name.startswith("MALLOC_")}
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "PLATFORM_TENANT_ID", "TRACE_RATIO"}
    assert given == {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "LOKI_URL", *tracing}
    assert loki["FUNCTION_NAME"] == "sink_loki"
    secret = functions.session_secret()
    assert functions.session_secret() == secret
    assert stat.S_IMODE((paths.local() / "session-secret").stat().st_mode) == 0o600


def test_demo_file_holds_what_the_contract_says(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateway, functions, backends, tenants; for its owner alone, since tokens are in it."""
    urls = dict.fromkeys(("kafka", "loki", "prometheus", "tempo", "opensearch", "postgres", "tempo_otlp"), "url")
    monkeypatch.setattr("localdev.backends.urls", lambda: urls)
    local.mkdir()
    for number in ("1", "2"):
        stack.write_demo({"tenants": [{"id": number, "token": "t"}], "users": [], "platform": {"id": "3"}})
    path = local / "demo.json"
    demo = json.loads(path.read_text())
    assert set(demo) == {"gateway", "functions", "backends", "tenants", "users", "platform"}
    assert set(demo["backends"]) == {"kafka", "loki", "prometheus", "tempo", "opensearch", "postgres", "monitoring"}
    assert set(demo["functions"]) == {row.name for row in functions.catalogue()}
    assert demo["tenants"] == [{"id": "2", "token": "t"}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_follow_ends_with_ctrl_c(supervised: "Supervised") -> None:
    """Without a traceback."""
    supervised.up(supervised.service("a"))
    command = [sys.executable, "-m", "localdev", "logs", "supervisor", "-f"]
    follow = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert follow.stdout
    assert follow.stdout.readline()
    os.killpg(follow.pid, signal.SIGINT)  # as a terminal does: to all at once
    _, errors = follow.communicate(timeout=10)
    assert (follow.returncode, errors) == (0, b"")
