"""The cache: one folder per component and version, published whole or not at all.

A build fills a temporary sibling folder that is then renamed, so a folder that exists is complete, whatever was interrupted. A lock file per component
keeps two checkouts from building the same thing at once; the kernel releases it when its holder dies, so no lock is ever stale.
"""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localdev.paths import cache
from localdev.service import InstallError, Progress


@dataclass(frozen=True)
class Component:
    """Something of a version, made once per cache."""

    name: str
    version: str
    build: Callable[[Path, Progress], None]
    """Fills the empty folder it is given. The folder is renamed afterwards, so nothing in it may know its own path."""
    fingerprint: str = ""
    """Tells apart builds of the same version (flags, wrapper module, Python)."""
    needs_mb: int = 100
    """Free disk that a cold build asks for, downloads and compiler caches included."""

    @property
    def home(self) -> Path:
        parts = (self.name, self.version, self.fingerprint)
        return cache() / "-".join(part for part in parts if part)

    @property
    def installed(self) -> bool:
        return self.home.is_dir()

    def install(self, progress: Progress) -> None:
        """Build and publish, unless it is there. Raises InstallError."""
        if self.installed:
            return
        try:
            _make_shared(self.home.parent)
            with locked(self.home.parent / f".{self.name.replace('/', '-')}.lock", progress):
                if not self.installed:
                    require_space(self.home.parent, self.needs_mb, self.name)
                    self._publish(progress)
        except OSError as error:
            raise InstallError(_os_error(self.name, error, self.needs_mb)) from error

    def _publish(self, progress: Progress) -> None:
        """Under the lock: remove what an interrupted build left, build beside the final place, rename."""
        for stale in self.home.parent.glob(f".{self.home.name}.*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        scratch = self.home.parent / f".{self.home.name}.{os.getpid()}.tmp"
        scratch.mkdir(parents=True)
        try:
            self.build(scratch, progress)
            open_to_all(scratch)
            scratch.rename(self.home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file; say so while another process holds it."""
    with path.open("w") as file:
        waiting = False
        while not _try_lock(file.fileno()):
            if not waiting:
                progress("waiting: another installation is making the same")
                waiting = True
            time.sleep(0.2)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_shared(folder: Path) -> None:
    """Make the cache folders, enterable by other users whatever our umask: servers that refuse to run as root execute what is in them."""
    missing = [folder] if not folder.exists() else []
    while missing and not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def open_to_all(folder: Path) -> None:
    """chmod -R a+rX, without following links."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        readable = mode | stat.S_IRGRP | stat.S_IROTH
        if stat.S_ISDIR(mode) or mode & stat.S_IXUSR:
            readable |= stat.S_IXGRP | stat.S_IXOTH
        if readable != mode:
            path.chmod(stat.S_IMODE(readable))


def require_space(folder: Path, needs_mb: int, name: str) -> None:
    """Raises InstallError when the disk is too full: an early no beats a compiler's error after ten minutes."""
    free_mb = shutil.disk_usage(folder).free // 2**20
    if free_mb < needs_mb:
        raise InstallError(
            f"{name}: not enough disk at {folder}: {free_mb / 1024:.1f} GB free, {needs_mb / 1024:.1f} GB needed.\n"
            "Remedy: free some space, or set OBSTACK_CACHE to a folder on a larger disk."
        )


def _os_error(name: str, error: OSError, needs_mb: int) -> str:
    return (
        f"{name}: {error.strerror or error}: {error.filename or cache()}\n"
        f"Remedy: the cache needs to be writable and have about {needs_mb / 1024:.1f} GB free; OBSTACK_CACHE moves it to another folder."
    )
