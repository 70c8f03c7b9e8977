"""Where things are on this machine: the checkout, its `.local` folder, the cache of built backends.

The cache lies outside the checkout and is shared by all checkouts; `.local` belongs to one running stack.
`OBSTACK_LOCAL` and `OBSTACK_CACHE` move them.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = ROOT / "stack"


def local() -> Path:
    """The state of this checkout's stack: configuration, data, logs, `demo.json`."""
    return Path(os.environ.get("OBSTACK_LOCAL", ROOT / ".local")).resolve()


def cache() -> Path:
    """Downloaded and compiled backends, by version.

    Root gets a folder that other users can enter, since OpenSearch and PostgreSQL refuse to run as root and `/root` is closed to the user they run as.
    """
    if given := os.environ.get("OBSTACK_CACHE"):
        return Path(given).resolve()
    if os.geteuid() == 0:
        return Path("/var/cache/obstack")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "obstack"
