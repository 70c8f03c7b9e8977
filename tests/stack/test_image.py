"""Each image without Docker: its tree, made by the Dockerfile's own COPY lines, runs in an environment that has its packages and nothing else."""

import fnmatch
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localdev import functions, image
from localdev.functions import Function
from localdev.paths import ROOT, STACK
from localdev.ports import free_port
from tests.waiting import until

MEGABYTES, PLATFORM_MEGABYTES = 150, 170
"""The second has SQLAlchemy and an S3 client, and is started for no request."""
STAGES = image.stages()
NAMES = sorted(functions.described())
# Nobody listens there: a function starts all the same, and its answers say what is away.
SETTINGS = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DATABASE_URL": "postgresql://obstack:secret@127.0.0.1:1/obstack",
    "LIMITS_STORAGE_URL": "redis://127.0.0.1:1",
    "LOKI_URL": "http://127.0.0.1:1",
    "PROMETHEUS_URL": "http://127.0.0.1:1",
    "PROM_LABEL_PROXY_URL": "http://127.0.0.1:1",
    "TEMPO_URL": "http://127.0.0.1:1",
    "TEMPO_OTLP_ENDPOINT": "127.0.0.1:1",
    "TEMPO_WAL_SECONDS": "0.5",
    "OPENSEARCH_URL": "http://127.0.0.1:1",
    "PLATFORM_TENANT_ID": "0b57ac00-0000-4000-8000-000000000001",
    "OPERATIONS_PROMETHEUS_URL": "http://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20obs_x",
    "TRACE_RATIO": "1",
    "SESSION_SECRET": "0123456789abcdef0123456789abcdef",
    "S3_BUCKET": "obstack",
    "S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "SINK_URLS": "http://{sink}:8080",
}
IMPORTS = """
import importlib, pathlib, sys
app = pathlib.Path(sys.argv[1])
for path in sorted((app / "functions" / sys.argv[2]).rglob("*.py")):
    importlib.import_module(".".join(path.relative_to(app).with_suffix("").parts).removesuffix(".__init__"))
if sys.argv[2] == "ingest_otlp":
    from shared.codecs import compression
    assert compression.DECODERS["zstd"](bytes.fromhex("28b52ffd2003190000616263"), 100) == b"abc"
"""


@pytest.fixture(scope="session")
def rows() -> dict[str, Function]:
    """The catalogue, optional functions too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(functions.WITH, "sink_archive")
        return {row.name: row for row in functions.catalogue()}


@pytest.mark.parametrize("name", NAMES)
def test_function_starts_from_its_image(name: str, rows: dict[str, Function], tmp_path: Path) -> None:
    """A missing vendored file or requirement ends the start, or the import of the module that needs it."""
    stage, settings = STAGES["function"], rows[name].settings
    packages = image.packages(tmp_path, ROOT / "functions" / name / "requirements.txt")
    app = image.make(stage, name, tmp_path / "tree")
    ports = {"FUNCTION": name, "PORT": str(free_port()), "METRICS_PORT": str(free_port()), "HOST": "127.0.0.1"}
    given = image.environment([STAGES["run"], stage], app, packages, {**{name: SETTINGS[name] for name in settings}, "FUNCTION": name}) | ports
    before = _files(app)
    subprocess.run([str(packages / "bin/python"), "-c", IMPORTS, str(app), name], env=given, cwd=app, check=True)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(image.command(stage, app, packages), env=given, cwd=app, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        check = [given["PATH"].partition(":")[0] + "/python", *image.health(stage, app, packages)[1:]]
        until(lambda: process.poll() is not None or subprocess.run(check, env=given, capture_output=True, check=False).returncode == 0, 60, f"{name}'s health")
        assert process.poll() is None, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert _files(app) == before, "the root file system is read-only"
    assert image.size(app, packages) < MEGABYTES * 1_000_000


def test_platform_runs_from_its_image(tmp_path: Path) -> None:
    """Trigger, topics, seed and the operators' commands can be imported, alembic finds the migrations, and a wrong setting is named."""
    packages, app = image.packages(tmp_path, STACK / "image" / "platform.txt"), image.make(STAGES["platform"], "", tmp_path / "tree")
    given = image.environment(
        [STAGES["run"], STAGES["platform"]], app, packages, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SINK_URLS": SETTINGS["SINK_URLS"]}
    )

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(packages / "bin/python"), *arguments], env=given | more, cwd=app, capture_output=True, text=True, check=False)

    operators = "backfill, dead_letters, flags, tenants, tokens, users"
    told = "from localdev.trigger.__main__ import called\nprint(*(function.url for function in called()))"
    called = run("-c", f"from localdev import seed, topics, {operators}\n{told}")
    assert called.returncode == 0, called.stderr
    assert called.stdout.split() == [row.elsewhere for row in _called()]
    history = run("-m", "alembic", "-c", "stack/postgres/alembic.ini", "history")
    assert "0001" in history.stdout, history.stderr
    wrong = run("-m", "localdev.topics", TOPIC_RETENTION_HOURS="3d")
    assert (wrong.returncode, wrong.stderr) == (1, "topics: TOPIC_RETENTION_HOURS='3d': a whole number from 1 to 32767 is allowed\n")
    assert image.size(app, packages) < PLATFORM_MEGABYTES * 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_image_starts_the_server_as_the_laptop_does(name: str, rows: dict[str, Function], tmp_path: Path) -> None:
    """Word for word, but for address and port."""
    for program in ("python", "uvicorn"):
        (tmp_path / program).write_text(f'#!/bin/sh\nprintf "%s\\n" {program} "$@"\n')
        (tmp_path / program).chmod(0o755)
    given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FUNCTION": name, "HOST": "127.0.0.1", "PORT": str(rows[name].port)}
    said = subprocess.run(["/bin/sh", str(STACK / "image" / "start.sh")], env=given, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    program, *arguments = functions._command(rows[name])
    assert said == ["python" if program == sys.executable else Path(program).name, *arguments]


def test_malloc_settings_are_the_laptops() -> None:
    given = image.environment([STAGES["function"]], Path("/app"), Path("/opt/venv"), {"FUNCTION": "query"})
    assert {name: given[name] for name in functions._MALLOC} == functions._MALLOC


def test_image_runs_without_root_from_a_pinned_base() -> None:
    for name in ("function", "platform"):
        user, _, group = STAGES[name].of("USER")[-1].partition(":")
        assert int(user) > 0
        assert int(group) > 0
        assert STAGES[name].base == "run"
    base = next(line for line in image.DOCKERFILE.read_text().splitlines() if line.startswith("ARG BASE="))
    assert base.rpartition(":")[2][0].isdigit()
    assert list(STAGES)[-1] == "function"


def test_context_has_what_is_copied_and_no_more() -> None:
    """`.dockerignore` lists what may enter."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    sources = {source.partition("/")[0] for stage in STAGES.values() for name in NAMES for source, _ in image.copies(stage, name)}
    assert sources == set(allowed)
    assert not any(fnmatch.fnmatch(".local", pattern) for pattern in allowed)


def test_context_sources_exist() -> None:
    assert not [source for stage in STAGES.values() for name in NAMES for source, _ in image.copies(stage, name) if not (ROOT / source).exists()]


def _called() -> list[Function]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SINK_URLS", SETTINGS["SINK_URLS"])
        environment.setenv(functions.WITH, "")
        from localdev.trigger.__main__ import called  # noqa: PLC0415 reads the environment

        return called()


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
