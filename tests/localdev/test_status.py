"""`./task status`: the picture is true when parts are down, and says `unknown` instead of zero."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from localdev import functions
from localdev.status import picture, rates
from localdev.status.logs import last_error
from localdev.status.scrape import Scrape, parse
from localdev.status.show import show
from localdev.supervisor import state
from localdev.supervisor.board import State, Status
from localdev.supervisor.state import Snapshot

LINES = [
    (
        '{"time": "2026-11-29 05:45:34,123", "level": "WARNING", "logger": "x", "message": "postponed: loki: 500"}',
        ("WARNING", "postponed: loki: 500"),
    ),
    (
        '{"time": "2026-11-29 05:45:34,123", "level": "ERROR", "message": "unhandled error", "exc_info": "Traceback (most…\\nValueError: no"}',
        ("ERROR", "unhandled error: ValueError: no"),
    ),
    ('level=error ts=2026-11-29T05:45:34.5Z caller=x.go:1 msg="error \\"a\\"" err="context canceled"', ("ERROR", 'error "a": context canceled')),
    ("[2026-11-29T05:45:34,999][ERROR][o.o.b.Bootstrap] [node] no memory", ("ERROR", "[o.o.b.Bootstrap] [node] no memory")),
    ("2026-11-29 05:45:34.123 UTC [77] FATAL:  no such database", ("ERROR", "no such database")),
    (
        (
            "[2026-11-29 05:45:34,123] ERROR [ReplicaManager broker=1] Error processing append (kafka.server.ReplicaManager)\n"
            "org.apache.kafka.common.errors.OutOfOrderSequenceException: Out of order\n\tat kafka.log.Log.append(Log.java:1)"
        ),
        ("ERROR", "Error processing append (kafka.server.ReplicaManager): org.apache.kafka.common.errors.OutOfOrderSequenceException: Out of order"),
    ),
    ("pydantic_core.ValidationError: DATABASE_URL is missing", ("ERROR", "pydantic_core.ValidationError: DATABASE_URL is missing")),
]
QUIET = [
    '{"time": "2026-11-29 05:45:34,123", "level": "INFO", "message": "an ERROR:  that was none"}',
    'level=warn ts=2026-11-29T05:45:34.5Z msg="slow"',
    "[2026-11-29T05:45:34,999][WARN ][o.o.b.Bootstrap] [node] little memory",
    "{not json, [ERROR] though",
    "",
]


@pytest.mark.parametrize(("line", "found"), LINES)
def test_the_last_error_of_a_log_is_one_line_whatever_its_form(tmp_path: Path, line: str, found: tuple[str, str]) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(["level=error msg=older", line, *QUIET]) + "\n")
    error = last_error(log)
    assert error is not None
    assert error.level == found[0]
    assert error.message.endswith(found[1])
    assert "\n" not in error.message


def test_an_errors_time_is_read_with_its_zone(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    moment = datetime(2026, 11, 29, 5, 45, 34, tzinfo=UTC).timestamp()
    for text in ("2026-11-29T05:45:34Z", "2026-11-29T06:45:34.7+01:00", "2026-11-29 05:45:34 UTC"):
        log.write_text(f"level=error ts={text} msg=x\n")
        assert (error := last_error(log))
        assert error.at == moment, text
    log.write_text("level=error ts=2026-99-29T05:45:34Z msg=x\n")
    assert (error := last_error(log))
    assert error.at is None


def test_a_traceback_has_the_time_of_what_was_logged_before(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text('{"time": "2026-11-29 05:45:34,123", "level": "INFO", "message": "x"}\nTraceback (most recent call last):\n  File "x"\nOSError: disk full\n')
    assert (error := last_error(log))
    assert (error.message, error.at is None) == ("OSError: disk full", False)


def test_a_log_without_errors_or_no_log_has_none(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_error(log) is None
    log.write_text("\n".join(QUIET))
    assert last_error(log) is None


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("level=error msg=first\n" + "level=info msg=nothing\n" * 10_000)
    assert last_error(log) is None


PAGE = """\
# HELP obstack_group_lag_records x
# TYPE obstack_group_lag_records gauge
obstack_group_lag_records{group="sink-loki",topic="telemetry.logs",partition="0"} 3
obstack_group_lag_records{group="sink-loki",topic="telemetry.logs",partition="1"} 4
obstack_group_lag_seconds{group="sink-loki",topic="telemetry.logs",partition="0"} 1.5
obstack_group_lag_seconds{group="sink-loki",topic="telemetry.logs",partition="1"} 9.25
python_gc_objects_collected_total{generation="0"} 1
"""


def test_samples_are_summed_and_compared_by_label() -> None:
    metrics = parse(PAGE)
    assert metrics.by("group", "obstack_group_lag_records") == {"sink-loki": 7}
    assert metrics.highest("group", "obstack_group_lag_seconds") == {"sink-loki": 9.25}
    assert metrics.sum("obstack_group_lag_records", partition="1") == 4
    assert metrics.sum("obstack_never_counted_total") == 0
    assert "python_gc_objects_collected_total" not in metrics.samples


class Pages:
    """A process's `/metrics`, which may also hang."""

    def __init__(self) -> None:
        self.text, self.hangs, self.delay = "", threading.Event(), 0.0
        self._over = threading.Event()
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if pages.hangs.is_set():
                    pages._over.wait(20)
                pages._over.wait(pages.delay)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(pages.text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pages(local: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Pages]]:
    """Every process that status asks, at the port where status looks for it."""
    made = {name: Pages() for name in (*(row.name for row in functions.catalogue()), "trigger", "supervisor")}
    for name, page in made.items():
        variable = "INGEST_OTLP_GRPC_METRICS_PORT" if name == "ingest_otlp_grpc" else f"{name.upper()}_PORT"
        monkeypatch.setenv(variable, str(page.port))
    yield made
    for page in made.values():
        page.end()


def snapshot(*names: str) -> Snapshot:
    return Snapshot(1, 0, {name: Status(State.READY) for name in names})


def test_who_hangs_or_is_down_is_left_out(pages: dict[str, Pages]) -> None:
    pages["trigger"].text = PAGE
    pages["query"].hangs.set()
    found = Scrape({"trigger": pages["trigger"].port, "query": pages["query"].port, "replay": 1}, 0.3).found()
    assert found.keys() == {"trigger"}


def test_lag_letters_and_switches_are_each_sinks_own(pages: dict[str, Pages]) -> None:
    pages["supervisor"].text = 'obstack_service_rss_bytes{service="sink_loki"} 12e6\n'
    pages["trigger"].text = PAGE + 'obstack_group_lag_records{group="sink-tempo",topic="telemetry.traces",partition="0"} 0\n'
    pages["replay"].text = 'obstack_replay_waiting_letters{sink="sink_loki"} 2\n'
    pages["dead_letter"].text = 'obstack_dead_letter_stored_letters_total{sink="sink_loki",reason="a"} 1\n'
    pages["sink_loki"].text = 'obstack_flag{flag="sink.loki",value="hold"} 1\nobstack_flag{flag="sink.loki",value="on"} 0\n'
    pages["ingest_otlp"].text = 'obstack_flag{flag="ingest",value="on"} 1\nobstack_flag_tenants{flag="ingest"} 3\n'
    seen = picture.take(snapshot(*pages))
    rows = {row.name: row for row in seen.sinks}
    loki, tempo, search = rows["sink_loki"], rows["sink_tempo"], rows["sink_opensearch"]
    assert (loki.lag_records, loki.lag_seconds, loki.letters_waiting, loki.letters_dead) == (7, 9.25, 2, 1)
    assert (tempo.lag_records, tempo.letters_waiting) == (0, 0)
    assert search.lag_records is None  # the trigger answered, and said nothing of this group
    assert seen.switched == {"ingest": "not on for 3 tenants", "sink.loki": "hold"}
    assert seen.silent == []
    assert {row.name: row.rss_bytes for row in seen.services if row.rss_bytes} == {"sink_loki": 12e6}


def test_an_optional_function_that_runs_is_seen_whatever_this_shell_asks_for(pages: dict[str, Pages]) -> None:
    seen = picture.take(snapshot(*pages, "sink_archive"))
    assert "sink_archive" in {row.name for row in seen.sinks}
    assert seen.silent == ["sink_archive"]  # nobody is at its port here


def test_lag_is_waited_for_while_the_broker_is_there(pages: dict[str, Pages]) -> None:
    """A group that is behind makes the trigger slow, and is what is wanted to be known."""
    pages["trigger"].text = PAGE
    pages["trigger"].delay = picture.SECONDS * 2
    assert "trigger" in picture.take(snapshot(*pages)).silent
    assert "trigger" not in picture.take(snapshot(*pages, "kafka")).silent


def test_rates_are_between_two_looks_and_a_restart_is_no_negative_rate(pages: dict[str, Pages]) -> None:
    def say(taken: int, published: int, delivered: int) -> None:
        pages[
            "ingest_otlp"
        ].text = f'obstack_ingest_accepted_records_total{{signal="logs"}} {taken}\nobstack_publish_seconds_count{{topic="telemetry.logs"}} {published}\n'
        pages["sink_loki"].text = f'obstack_sink_delivered_records_total{{type="logs"}} {delivered}\n'

    say(1000, 10, 100)
    picture.take(snapshot(*pages))
    path = state.run_folder() / "looks.json"
    looks = json.loads(path.read_text())
    path.write_text(json.dumps([[at - 10, look] for at, look in looks]))  # as if it had been ten seconds ago
    say(6000, 60, 50)
    seen = picture.take(snapshot(*pages))
    loki = next(row for row in seen.sinks if row.name == "sink_loki")
    assert seen.rates_over == pytest.approx(10, abs=3)
    assert seen.taken["logs"] is not None
    assert seen.taken["logs"] * seen.rates_over == pytest.approx(5000)
    assert loki.published is not None
    assert loki.delivered is not None
    assert loki.published * seen.rates_over == pytest.approx(50)
    assert loki.delivered * seen.rates_over == pytest.approx(50)


def test_what_was_not_heard_is_unknown_and_not_zero(pages: dict[str, Pages]) -> None:
    for name in ("trigger", "sink_tempo", "ingest_prom", "replay", "dead_letter"):
        pages[name].hangs.set()
    seen = picture.take(snapshot(*pages))
    tempo = next(row for row in seen.sinks if row.name == "sink_tempo")
    assert (tempo.lag_records, tempo.lag_seconds, tempo.published, tempo.delivered, tempo.letters_waiting, tempo.letters_dead) == (None,) * 6
    assert set(seen.taken.values()) == {None}
    assert set(seen.silent) == {"trigger", "sink_tempo", "ingest_prom", "replay", "dead_letter"}


def test_who_was_stopped_takes_nothing_and_hides_nothing(pages: dict[str, Pages]) -> None:
    now = snapshot(*pages)
    now.services["ingest_prom"] = Status(State.STOPPED)
    pages["ingest_prom"].hangs.set()
    seen = picture.take(now)
    assert set(seen.taken.values()) == {0}
    assert not seen.ready


def test_a_first_record_counts_and_a_new_function_doesnt_count_from_its_start(pages: dict[str, Pages], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = functions.catalogue()
    old = picture._look({"ingest_otlp": parse("")}, rows)
    page = 'obstack_ingest_accepted_records_total{signal="traces"} 8\n'
    new = picture._look({"ingest_otlp": parse(page), "ingest_prom": parse(page)}, rows)
    found = rates._between(old, new, 2)
    assert found["ingest_otlp traces"] == 4
    assert "ingest_prom traces" not in found


def test_old_or_damaged_looks_are_worth_nothing(local: Path) -> None:
    path = state.run_folder() / "looks.json"
    for kept in ("[[1, {", '{"a": 1}', json.dumps([[time.time() - 3600, {"a": 5.0}], [time.time() + 3600, {"a": 5.0}]])):
        path.write_text(kept)
        found, seconds = rates.rates({"a": 1.0}, lambda: {"a": 3.0})
        assert found["a"] * seconds == pytest.approx(2), kept


def test_the_display_says_what_is_wrong(pages: dict[str, Pages], local: Path) -> None:
    pages["trigger"].text = PAGE
    pages["sink_loki"].text = 'obstack_flag{flag="sink.loki",value="hold"} 1\n'
    pages["query"].hangs.set()
    state.log_folder().joinpath("sink_loki.log").write_text(LINES[0][0] + "\n")
    console = Console(record=True, width=200, file=(local / "out").open("w"))
    show(picture.take(snapshot(*pages)), console)
    console.file.close()
    text = console.export_text()
    row = next(line.split() for line in text.splitlines() if line.startswith("sink_loki ") and "9.2" in line)
    assert row[1:4] == ["7", "9.2", "s"]
    assert "warning: postponed: loki: 500" in text
    assert "Switched: sink.loki hold" in text
    assert "No metrics from: query" in text


def test_a_long_error_leaves_the_rest_its_place(pages: dict[str, Pages], local: Path) -> None:
    state.log_folder().joinpath("ingest_otlp_grpc.log").write_text('{"level": "ERROR", "message": "' + "long " * 100 + '"}\n')
    console = Console(record=True, width=80, file=(local / "out").open("w"))
    show(picture.take(snapshot(*pages)), console)
    console.file.close()
    (row,) = (line for line in console.export_text().splitlines() if "long" in line)
    assert row.split()[:2] == ["ingest_otlp_grpc", "ready"]
