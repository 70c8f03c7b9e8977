"""An image without Docker: the Dockerfile's stages, the tree that a stage's COPY lines make of the checkout, and an environment with its packages alone."""

import json
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localdev.paths import ROOT, STACK

DOCKERFILE = STACK / "image" / "Dockerfile"


@dataclass
class Stage:
    """One stage: its instructions in their order, those of the stage it begins with not among them."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, instruction: str) -> list[str]:
        """What follows that word, each time it is there."""
        return [rest for word, rest in self.steps if word == instruction]


def stages() -> dict[str, Stage]:
    """By name, in the file's order."""
    found: dict[str, Stage] = {}
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = stage = Stage(name, base)
        elif word and found:
            stage.steps.append((word, rest.strip()))
    return found


def copies(stage: Stage, function: str) -> list[tuple[str, str]]:
    """Source in the checkout, place in the image."""
    lines = [string.Template(line).substitute(FUNCTION=function).split() for line in stage.of("COPY") if not line.startswith("--from=")]
    return [(source, target) for source, target in lines]


def make(stage: Stage, function: str, root: Path) -> Path:
    """The image's /app in `root`, compiled as there."""
    for source, target in copies(stage, function):
        place = root / Path(target).relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    app = root / "app"
    compiled = next(line for line in stage.of("RUN") if "compileall" in line).partition(" && ")[0]
    subprocess.run([sys.executable, *shlex.split(compiled)[1:-1], str(app)], check=True)
    return app


def packages(folder: Path, requirements: Path) -> Path:
    """An environment with these packages alone, in the versions that the Dockerfile's constraints give, compiled as by its pip."""
    venv, uv = folder / "venv", shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    more = folder / "more-constraints.txt"
    more.write_text("".join(line for line in (ROOT / "requirements-dev.txt").read_text().splitlines(keepends=True) if not line.startswith("-r")))
    constraints = ["-c", str(ROOT / "requirements.txt"), "-c", str(more)]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    install = [uv, "pip", "install", "--quiet", "--no-build", "--compile-bytecode", "--python", str(venv / "bin/python"), *constraints, "-r", str(requirements)]
    subprocess.run(install, check=True)
    return venv


def size(app: Path, packages: Path) -> int:
    """Bytes of what the image has more than its base."""
    return sum(path.stat().st_size for folder in (app, packages / "lib") for path in folder.rglob("*") if path.is_file())


def environment(chain: list[Stage], app: Path, packages: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The stages' ENV lines, with the tree and the packages in their places here."""
    given = {"PATH": "/usr/bin:/bin", **values}
    for stage in chain:
        for line in stage.of("ENV"):
            for word in shlex.split(line):
                name, _, value = word.partition("=")
                given[name] = string.Template(here(value, app, packages)).safe_substitute(given)
    return given


def command(stage: Stage, app: Path, packages: Path) -> list[str]:
    """The stage's CMD."""
    return [here(word, app, packages) for word in json.loads(stage.of("CMD")[-1])]


def health(stage: Stage, app: Path, packages: Path) -> list[str]:
    """The stage's HEALTHCHECK."""
    return [here(word, app, packages) for word in json.loads(stage.of("HEALTHCHECK")[-1].partition("CMD ")[2])]


def here(text: str, app: Path, packages: Path) -> str:
    """A path of the image as one of this machine."""
    return text.replace("/opt/venv", str(packages)).replace("/app", str(app))
