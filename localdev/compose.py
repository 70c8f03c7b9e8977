"""The stack in containers (stack/compose.yaml), which `./task up` chooses where Docker answers. Secrets are made once and kept in `.local/compose.env`."""

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence

from localdev.paths import STACK, local
from localdev.ports import ports

SECRETS = ("DATABASE_PASSWORD", "POSTGRES_PASSWORD", "S3_SECRET_KEY", "SESSION_SECRET", "GRAFANA_PASSWORD")
_ANSWER_SECONDS = 10
# A stack of somebody's own beside the first, as the tests' is, is one of processes: containers have one name and one set of volumes.
_OWN_STACK = ("OBSTACK_LOCAL", "OBSTACK_PORT_OFFSET")


def chosen() -> bool:
    """Whether `./task up` means containers. OBSTACK_STACK (`compose`, `processes`) decides; without it Docker does. Raises ValueError for another value."""
    match os.environ.get("OBSTACK_STACK", ""):
        case "compose":
            return True
        case "processes":
            return False
        case "":
            return not any(map(os.environ.get, _OWN_STACK)) and answers()
        case other:
            raise ValueError(f"OBSTACK_STACK={other!r}: compose and processes are allowed, or nothing")


def answers() -> bool:
    """Whether there is a Docker with compose, and its daemon runs."""
    return all(_succeeds(["docker", *question]) for question in (["compose", "version"], ["version", "--format", "{{.Server.Version}}"]))


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_ANSWER_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def up(with_functions: str = "") -> int:
    """Build, start, return when all is ready, and write `.local/demo.json`; Docker's exit code."""
    if code := _compose("up", "--build", "--detach", "--wait", with_functions=with_functions):
        return code
    # The volume's own text: tokens are in it, so it is for the owner alone.
    read = _command("run", "--rm", "--no-deps", "-T", "accounts", "cat", "/accounts/demo.json")
    demo = subprocess.run(read, env=_environment(), capture_output=True, text=True, check=False)
    if demo.returncode == 0:
        _write("demo.json", demo.stdout)
    return demo.returncode


def down() -> int:
    """Stop the containers; volumes stay. Docker's exit code."""
    return _compose("down", with_functions="sink_archive")


def runs() -> bool:
    """Whether any container of the stack is up, as far as Docker says; False where there is no Docker any more, or it is silent."""
    if not (local() / "compose.env").exists():
        return False
    try:
        listed = subprocess.run(_command("ps", "--quiet"), env=_environment(), capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and bool(listed.stdout.strip())


def look() -> str:
    """The command that shows the containers."""
    return shlex.join(_command("ps"))


def admin(module: str, words: Sequence[str]) -> int:
    """A command for operators in a container of the stack; its exit code."""
    terminal = () if sys.stdin.isatty() else ("-T",)
    return _compose("run", "--rm", "--no-deps", *terminal, "admin", "python", "-m", module, *words, with_functions="sink_archive")


def _compose(*arguments: str, with_functions: str) -> int:
    return subprocess.run(_command(*arguments), env=_environment(with_functions), check=False).returncode


def _command(*arguments: str) -> list[str]:
    return ["docker", "compose", "--env-file", str(_secrets()), "--file", str(STACK / "compose.yaml"), *arguments]


def _environment(with_functions: str = "") -> dict[str, str]:
    """Optional functions are profiles of their names; the trigger has to know them, too."""
    numbers = {name: str(number) for name, number in ports().items()}
    return {**os.environ, **numbers, "COMPOSE_PROFILES": with_functions, "OBSTACK_WITH": with_functions}


def _secrets() -> os.PathLike[str]:
    """The file, with what it lacks added."""
    path = local() / "compose.env"
    text = path.read_text() if path.exists() else ""
    known = {line.partition("=")[0] for line in text.splitlines()}
    if missing := [name for name in SECRETS if name not in known]:
        _write(path.name, text + "".join(f"{name}={secrets.token_hex(24)}\n" for name in missing))
    return path


def _write(name: str, text: str) -> None:
    """Whole at once, for the owner's eyes only."""
    new = local() / f"{name}.new"
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(local() / name)
