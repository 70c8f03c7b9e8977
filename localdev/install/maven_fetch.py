"""Run by `maven` in a Python of its own that has jgo on its path: downloads what a lock file lists, checks it, prints progress.

    maven_fetch.py LOCK FOLDER          one line of output per finished file; FOLDER gets the files, flat
    maven_fetch.py --lock COORDINATE…   prints a new lock of these and all their runtime dependencies (to be reviewed and committed)

jgo resolves and downloads, but only warns when a checksum is wrong: here each file is compared with the sha256 in the lock, which is in git; a difference
ends it.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext  # type: ignore[import-not-found,unused-ignore]

_PARALLEL = 6
_TRIES = 3


def _context(folder: Path) -> Any:
    mirror = os.environ.get("OBSTACK_MAVEN_URL")
    return MavenContext(repo_cache=folder, timeout=60, remote_repos={"mirror": mirror.rstrip("/")} if mirror else None)


def _artifact(context: Any, coordinate: str) -> Any:
    group, name, version, *packaging = coordinate.split(":")
    return context.project(group, name).at_version(version).artifact(packaging=packaging[0] if packaging else "jar")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(artifact: Any) -> Path:
    """Fetch one file; a broken connection leaves half a file that jgo would take for whole, so remove it and try again."""
    for _ in range(_TRIES):
        try:
            return Path(artifact.resolve())
        except (OSError, RuntimeError) as error:
            if artifact.cached_path:
                artifact.cached_path.unlink(missing_ok=True)
            failed = f"{artifact}: {error}"
    raise SystemExit(failed)


def _fetch(context: Any, digest: str, coordinate: str, folder: Path) -> Path:
    path = _download(_artifact(context, coordinate))
    if _sha256(path) != digest:
        raise SystemExit(f"security error: {coordinate} has not the sha256 of the lock")
    return Path(shutil.move(path, folder / path.name))


def fetch(lock: Path, folder: Path) -> None:
    entries = [line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    megabytes = 0.0
    with tempfile.TemporaryDirectory(dir=folder.parent) as repository, ThreadPoolExecutor(_PARALLEL) as pool:
        context = _context(Path(repository))
        tasks = [pool.submit(_fetch, context, digest, coordinate, folder) for digest, coordinate in entries]
        for done, task in enumerate(as_completed(tasks), 1):
            megabytes += task.result().stat().st_size / 2**20
            print(f"progress: downloaded {done} of {len(tasks)} files, {megabytes:.0f} MB", flush=True)


def lock(coordinates: list[str]) -> None:
    """Each coordinate is resolved by itself: together, the one's dependency management changes the other's versions. The first to name an artifact wins."""
    print("# sha256 and Maven coordinate. Made by maven_fetch.py --lock " + " ".join(coordinates))
    seen: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as repository:
        context = _context(Path(repository))
        for coordinate in coordinates:
            for group, name, version in _resolved(context, coordinate):
                if (group, name) not in seen:
                    seen.add((group, name))
                    full = ":".join((group, name, version, *coordinate.split(":")[3:]))
                    print(_sha256(_download(_artifact(context, full))), full)


def _resolved(context: Any, coordinate: str) -> list[tuple[str, str, str]]:
    group, name, version, *packaging = coordinate.split(":")
    if packaging:
        return [(group, name, version)]
    inputs, transitive = context.resolver.resolve([context.create_dependency(coordinate)])
    return [(found.artifact.groupId, found.artifact.artifactId, found.artifact.version) for found in (*inputs, *transitive)]


if __name__ == "__main__":
    if sys.argv[1] == "--lock":
        lock(sys.argv[2:])
    else:
        fetch(Path(sys.argv[1]), Path(sys.argv[2]))
