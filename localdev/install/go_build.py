"""Compiling servers from the Go module proxy.

All builds share one module cache and one compiler cache, so what Loki and Prometheus have in common is fetched and compiled once. Go itself checks every
module: a server's own against the checksum database, those it depends on against its go.sum or our wrapper's. GOPROXY, GOSUMDB and the like are the user's
and stay as they are.
"""

import fcntl
import hashlib
import json
import os
import shutil
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localdev.install import versions
from localdev.install.component import Component
from localdev.install.process import Run
from localdev.install.tools import go_bin, jgo
from localdev.paths import cache
from localdev.service import Progress

WRAPPERS = Path(__file__).resolve().parent / "go"
_REMEDY = (
    "check that this machine reaches the Go module proxy (GOPROXY names another one, HTTPS_PROXY a way there), "
    "then run the same command again: it goes on where it stopped."
)
_OURS = {"GOFLAGS", "GOROOT", "GOBIN", "GOOS", "GOARCH", "GOEXPERIMENT", "GODEBUG", "GO111MODULE"}
"""Variables of a Go developer's shell that would change what is built."""


@dataclass(frozen=True)
class GoBuild:
    """How to compile one server."""

    name: str
    version: str
    package: str
    """Import path of the main package, or "." for the wrapper module's own."""
    wrapper: str = ""
    """Folder of `go/` that holds a module to build in (go.mod, go.sum, perhaps a main).

    Needed where the server can't be the main module itself: its replace lines point into its repository (Loki), or its main needs changing (Tempo).
    """
    tags: str = ""
    ldflags: str = "-s -w"
    needs_mb: int = 2500

    def component(self) -> Component:
        return Component(self.name, self.version, self._build, fingerprint=self._fingerprint(), needs_mb=self.needs_mb)

    def binary(self) -> Path:
        return self.component().home / self.name

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((versions.GO, self.package, self.tags, self.ldflags)).encode())
        if self.wrapper:
            for file in sorted((WRAPPERS / self.wrapper).iterdir()):
                digest.update(file.read_bytes())
        return digest.hexdigest()[:10]

    def _build(self, folder: Path, progress: Progress) -> None:
        go_bin.install(progress)
        with building():
            source = WRAPPERS / self.wrapper if self.wrapper else self.module(progress)
            total = self._download(source, progress)
            self._compile(source, folder / self.name, total, progress)

    def module(self, progress: Progress) -> Path:
        """Download the server's module; its folder. Built in, it is the main module, replace lines and all, with the versions that its authors tested."""
        progress("downloading the module")
        module = f"{self.package.split('/cmd/')[0]}@v{self.version}"
        text = "\n".join(self._run("download", ["mod", "download", "-json", module], Path("/")).lines())
        answer, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        return Path(answer["Dir"])

    def _download(self, source: Path, progress: Progress) -> int:
        """List all packages, which downloads the modules they are in. Returns how many packages there are."""
        modules = packages = 0
        for line in self._run("download modules", ["list", "-deps", *self._tags(), self.package], source).lines():
            if "downloading" in line:
                modules += 1
                progress(f"downloading modules ({modules} so far)")
            else:
                packages += 1
        return packages

    def _compile(self, source: Path, target: Path, total: int, progress: Progress) -> None:
        """`go build -v` names each package it compiles; those in the compiler cache already, it doesn't."""
        command = ["build", "-v", "-trimpath", *self._tags(), f"-ldflags={self.ldflags}", "-o", str(target), self.package]
        for done, _ in enumerate(self._run("compile", command, source, nice=True).lines(), 1):
            progress(f"compiling {done} of {total} packages" if done < total else "linking")

    def _tags(self) -> list[str]:
        return ["-tags", self.tags] if self.tags else []

    def _run(self, step: str, arguments: list[str], cwd: Path, *, nice: bool = False) -> Run:
        # A stack that is already up must stay responsive while the rest is being compiled.
        prefix = ["nice", "-n", "10"] if nice else []
        command = [*prefix, str(_go_root() / "bin" / "go"), *arguments]
        return Run(f"{self.name}: {step}", command, self.name, _REMEDY, env=environment(), cwd=cwd, shown=_no_package)


def _no_package(line: str) -> bool:
    """The thousands of packages that go lists on its way say nothing about its failing."""
    return " " in line


@contextmanager
def building() -> Iterator[None]:
    """Keep the compiler caches from being removed meanwhile."""
    with (cache() / ".go.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def remove_caches(builds: Iterable[GoBuild], progress: Progress) -> None:
    """Once all builds are there and nobody is building, remove modules and compiler cache: 9 GB, for binaries of 300 MB.

    OBSTACK_KEEP_BUILD_CACHE=1 keeps them, for whoever changes a wrapper.
    """
    if os.environ.get("OBSTACK_KEEP_BUILD_CACHE") or not _caches().exists() or not all(build.component().installed for build in builds):
        return
    try:
        with (cache() / ".go.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            progress("removing what only compiling needed")
            _caches().rename(cache() / f".go.{os.getpid()}.tmp")
    except OSError:
        # Somebody is building, or the cache is another user's.
        return
    for left in cache().glob(".go.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _caches() -> Path:
    return cache() / "go"


def _go_root() -> Path:
    return go_bin.home / "go"


def environment() -> dict[str, str]:
    """For the go command: our Go and caches, no C compiler, go.mod and go.sum as committed."""
    go = _caches()
    found = {name: value for name, value in os.environ.items() if name not in _OURS}
    found |= {"GOROOT": str(_go_root()), "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    # -modcacherw: so that removing the cache is a plain rm -rf.
    found |= {"GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false", "GOPATH": str(go), "GOMODCACHE": str(go / "mod"), "GOCACHE": str(go / "build")}
    if bundle := _certificates():
        found.setdefault("SSL_CERT_FILE", bundle)
    return found


def _certificates() -> str | None:
    """Go reads the system's certificates only; a bare machine may have none, but jgo came with Mozilla's."""
    if (found := ssl.get_default_verify_paths()).cafile or found.capath:
        return None
    bundles = jgo.home.glob("certifi/cacert.pem")
    return next((str(bundle) for bundle in bundles), None)
