"""Where a backend keeps its data and configuration, who owns it, and how a template of `stack/` becomes a file there."""

import hashlib
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from string import Template

from localdev.paths import STACK, cache, local
from localdev.ports import ports
from localdev.service import InstallError

NOBODY = "nobody"
ROOT_FOLDER = Path("/")
"""Where servers of `nobody` start: our own folder may be closed to them."""


def data(name: str) -> Path:
    """The folder of a server that runs as ourselves."""
    return local() / "data" / name


def open_data(name: str) -> Path:
    """The folder of a server that runs as `nobody` when we are root: in `.local` too, unless that lies in a closed folder such as /root."""
    outside = elsewhere() / name
    if os.geteuid() != 0 or (not outside.exists() and searchable(data(name))):
        return data(name)
    return outside


def elsewhere() -> Path:
    """Root's second place for this stack's data; whoever removes `.local` removes it too."""
    return Path("/var/lib/obstack") / hashlib.sha256(str(local()).encode()).hexdigest()[:12]


def searchable(path: Path) -> bool:
    """Whether any user may pass through all folders above `path` that exist. Those that don't will be made so."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.exists())


def make(folder: Path) -> Path:
    """The folder, with missing parents, each enterable by other users whatever our umask."""
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
    return folder


def hand_over(folder: Path) -> None:
    """As root, give the folder and all in it to `nobody`. Raises InstallError when the cache is closed to that user."""
    if os.geteuid() != 0:
        return
    if not searchable(cache() / "any"):
        raise InstallError(
            f"{cache()} lies in a folder that only root may enter, but OpenSearch and PostgreSQL run as the user {NOBODY}, since they refuse root.\n"
            "Remedy: set OBSTACK_CACHE to a folder that everyone may enter, or leave it unset (/var/cache/obstack)."
        )
    owner = pwd.getpwnam(NOBODY)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def render(template: str, target: Path, values: Mapping[str, object]) -> Path:
    """Fill `stack/<template>` into `target`. Raises ValueError for a placeholder without a value or a value that would end its line."""
    source = STACK / template
    for name, value in values.items():
        if "\n" in str(value):
            raise ValueError(f"{name} for {template} has a line break")
    try:
        text = Template(source.read_text()).substitute(values)
    except KeyError as error:
        raise ValueError(f"{source}: no value for ${{{error.args[0]}}}") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    make(target.parent)
    target.write_text(text)
    return target


def values(**more: object) -> dict[str, object]:
    """What every template may use: the ports, and loopback as the only address."""
    return {"LISTEN_HOST": "127.0.0.1", "ADVERTISED_HOST": "127.0.0.1", **ports(), **more}


def config(name: str) -> Path:
    return local() / "config" / name
