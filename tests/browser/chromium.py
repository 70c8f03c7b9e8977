"""The Chromium that the tests drive: the one of this machine, or Debian's package, which root gets installed."""

import os
import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
REMEDY = "The browser tests need a Chromium: apt install chromium, or .venv/bin/playwright install --with-deps chromium"


def launch(playwright: Playwright) -> Browser:
    """A headless browser. Raises RuntimeError, with the remedy, where there is none."""
    # Chromium's sandbox refuses root.
    return playwright.chromium.launch(executable_path=_find(playwright) or _install(), chromium_sandbox=os.geteuid() != 0)


def _find(playwright: Playwright) -> str | None:
    """Playwright's own, where somebody has asked for it, comes first: it is the one that fits."""
    if Path(playwright.chromium.executable_path).is_file():
        return playwright.chromium.executable_path
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> str:
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(REMEDY)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)  # noqa: S607 on PATH, as root's tools are
        if done.returncode:
            raise RuntimeError(f"{REMEDY}. apt-get said: {done.stderr[-1000:]}")
    if not (found := shutil.which("chromium")):
        raise RuntimeError(REMEDY)
    return found
