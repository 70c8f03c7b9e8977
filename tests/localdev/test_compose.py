"""The choice of `./task up` between containers and processes, and what it hands to Docker; a stand-in `docker` notes what it is asked."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from localdev import compose, dead_letters, tenants, tokens
from localdev.__main__ import main


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that does what the file says and writes what it was asked."""
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@ with=$OBSTACK_WITH profiles=$COMPOSE_PROFILES" >> {asked}\ncase "$*" in *" cat "*) echo "{{}}";; *" ps "*) echo 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path / "local"))
    return asked


def test_docker_that_answers_is_chosen(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OBSTACK_LOCAL", "OBSTACK_PORT_OFFSET", "OBSTACK_STACK"):
        monkeypatch.delenv(name, raising=False)
    assert compose.chosen()
    monkeypatch.setenv("OBSTACK_STACK", "processes")
    assert not compose.chosen()


def test_docker_without_daemon_is_not_chosen(docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OBSTACK_LOCAL", "OBSTACK_PORT_OFFSET", "OBSTACK_STACK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin" / "docker").write_text('#!/bin/sh\n[ "$1" = compose ]\n')
    assert not compose.chosen()


def test_second_stack_is_one_of_processes(docker: Path) -> None:
    assert not compose.chosen()


def test_unknown_choice_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSTACK_STACK", "podman")
    with pytest.raises(ValueError, match="OBSTACK_STACK='podman': compose and processes are allowed"):
        compose.chosen()


def test_up_hands_over_secrets_and_optional_functions(docker: Path, tmp_path: Path) -> None:
    """The same secrets every time, for their owner alone; a token file likewise."""
    assert compose.up("sink_archive") == 0
    kept = tmp_path / "local" / "compose.env"
    first = kept.read_text()
    assert [line.partition("=")[0] for line in first.splitlines()] == list(compose.SECRETS)
    assert compose.up() == 0
    assert kept.read_text() == first
    assert {stat.S_IMODE(path.stat().st_mode) for path in (kept, tmp_path / "local" / "demo.json")} == {0o600}
    asked = docker.read_text().splitlines()
    assert asked[0].endswith("up --build --detach --wait with=sink_archive profiles=sink_archive")
    assert not any(value in docker.read_text() for line in first.splitlines() if (value := line.partition("=")[2]))


def test_status_says_where_to_look_for_containers(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compose.up()
    assert main(["status"]) == 1
    assert "docker compose --env-file" in (said := capsys.readouterr().out)
    assert "compose.yaml ps shows them" in said


def test_docker_that_is_gone_stops_no_command(docker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes may run all the same."""
    compose.up()
    (tmp_path / "bin" / "docker").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not compose.runs()
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Nothing runs.\n"


def test_docker_that_is_silent_is_given_up(docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose.up()
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(compose, "_ANSWER_SECONDS", 0.2)
    assert not compose.runs()


COMMANDS = pytest.mark.parametrize(
    ("main", "module", "words"),
    [
        (tenants.main, "localdev.tenants", ["add", "Initech", "--plan", "free"]),
        (tokens.main, "localdev.tokens", ["list", "--tenant", "Acme Rockets"]),
        (dead_letters.main, "localdev.dead_letters", ["list", "--since", "2h"]),
    ],
)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no other stack."""
    for name in ("DATABASE_URL", "SINK_URLS", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)


@COMMANDS
@pytest.mark.usefixtures("nowhere")
def test_operators_commands_go_into_a_container_where_the_stack_is_one_of_containers(
    docker: Path, main: Callable[[list[str]], int], module: str, words: list[str]
) -> None:
    """Word for word, and without a terminal where there is none."""
    compose.up()
    assert main(words) == 0
    assert f"run --rm --no-deps -T admin python -m {module} {' '.join(words)} with=sink_archive" in docker.read_text().splitlines()[-1]


@COMMANDS
@pytest.mark.usefixtures("nowhere")
def test_operators_commands_tell_the_containers_exit_code(
    docker: Path, tmp_path: Path, main: Callable[[list[str]], int], module: str, words: list[str]
) -> None:
    compose.up()
    program = tmp_path / "bin" / "docker"
    program.write_text('#!/bin/sh\ncase "$*" in *" ps "*) echo 1;; *) exit 7;; esac\n')
    assert main(words) == 7, module


@pytest.mark.usefixtures("nowhere")
def test_wrong_words_and_another_database_need_no_container(docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    compose.up()
    asked = docker.read_text()
    with pytest.raises(SystemExit, match="2"):
        tenants.main(["ad"])
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/x")
    assert tenants.main(["list"]) == 1
    assert "DATABASE_URL" in capsys.readouterr().err
    assert docker.read_text() == asked
