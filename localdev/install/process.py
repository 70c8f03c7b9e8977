"""Running an installer's command: its output goes to a log and, line by line, to whoever shows progress; failing is an InstallError with the remedy."""

import os
import platform
import shlex
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from localdev.paths import local
from localdev.service import InstallError

TAIL_LINES = 20

_NO_WHEEL = (
    "check that pip reaches its index (pip config list; pip download --no-deps idna). If it does, there is no wheel of that version for this machine "
    f"({platform.machine()}, {platform.libc_ver()[0] or 'no glibc'}) or this Python; x86_64 and aarch64 Linux with glibc have all."
)
_NETWORK = ("connection", "timed out", "max retries", "name resolution", "no such host", "unreachable", "no route to host")
"""pip says "no matching distribution" after it couldn't reach its index, so these words come before those; the step's own remedy knows its registry."""
_REMEDIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no space left on device", "disk quota exceeded"), "the disk is full: free some space, or set OBSTACK_CACHE to a folder on a larger disk."),
    (("no matching distribution", "could not find a version", "is not a supported wheel"), _NO_WHEEL),
    (
        ("checksum mismatch", "security error", "hashes do not match"),
        "what was downloaded is not what was published: try again, and if it stays so ask who runs your package mirror.",
    ),
    (
        ("certificate",),
        "TLS certificates can't be checked: install your distribution's ca-certificates, or point SSL_CERT_FILE and PIP_CERT to your organisation's bundle.",
    ),
    (("no module named pip",), "this Python has no pip: run python3 -m ensurepip, or make the virtual environment with python3 -m venv."),
    (("exec format error",), f"a binary is not for this machine ({platform.machine()}); x86_64 and aarch64 Linux are supported."),
    (("signal: killed", "cannot allocate memory", "out of memory"), "the compiler ran out of memory: free about 3 GB and try again."),
)


@dataclass(frozen=True)
class Run:
    """A command of an installation."""

    step: str
    """For a person: "prometheus: compile"."""
    command: list[str]
    log: str
    """Name of the component whose log takes the output."""
    remedy: str
    """What to do when it fails and the output says nothing more specific."""
    env: Mapping[str, str] | None = None
    """The whole environment; None for our own."""
    cwd: Path = Path("/")
    shown: Callable[[str], bool] = bool
    """Which lines of the output an error quotes."""

    def lines(self) -> Iterable[str]:
        """Run, yielding each line of output as it comes. Raises InstallError at the end if the command failed."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with log_file(self.log).open("a") as log:
            log.write(f"$ {shlex.join(self.command)}\n")
            with self._start() as process:
                for line in process.stdout or ():
                    log.write(line)
                    log.flush()
                    if self.shown(line.strip()):
                        tail.append(line.rstrip())
                    yield line.rstrip()
        if process.returncode:
            raise failure(self.step, f"exit status {process.returncode}", tail, self.remedy, self.log)

    def each(self, seen: Callable[[str], None]) -> None:
        """Run, calling `seen` with each line."""
        for line in self.lines():
            seen(line)

    def _start(self) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env=None if self.env is None else dict(self.env),
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise failure(self.step, str(error), (str(error),), self.remedy, self.log) from error


def log_file(component: str) -> Path:
    path = local() / "logs" / f"install-{component}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def failure(step: str, what: str, output: Iterable[str], remedy: str, log: str) -> InstallError:
    """The error a person reads: what failed, the last lines, what to do, where the rest is."""
    lines = list(output)[-TAIL_LINES:]
    text = "\n".join(lines).lower()
    known = next((advice for words, advice in _REMEDIES if any(word in text for word in words)), remedy)
    advice = remedy if any(word in text for word in _NETWORK) and "certificate" not in text else known
    shown = "".join(f"    {line}\n" for line in lines)
    return InstallError(f"{step} failed ({what}):\n{shown}Remedy: {advice}\nFull log: {log_file(log)}")


def clean_environment() -> dict[str, str]:
    """Our environment without what would make a child Python import from this project or its virtual environment."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
