"""`./task opensearch-setup -- --prune`: sets this stack's OpenSearch up, as `./task up` does, by the sink's own step; arguments go to it."""

import os
import subprocess
import sys
from collections.abc import Sequence

from localdev.backends import opensearch
from localdev.paths import ROOT


def main(arguments: Sequence[str]) -> int:
    """The step's exit code. It is a process, as a Job's would be: functions aren't imported here."""
    command = [sys.executable, "-m", "functions.sink_opensearch.setup", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "OPENSEARCH_URL": opensearch.url()}).returncode


def apply() -> None:
    """Template and policies. Raises RuntimeError; what the step said is in the supervisor's log."""
    if main([]):
        raise RuntimeError("OpenSearch can't be set up")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
