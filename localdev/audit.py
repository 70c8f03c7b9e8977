"""`./task audit`: are known vulnerabilities among the Python packages that are installed here? All of `.venv`: what the functions, the tests and the tools use,
with what these bring along. pip-audit asks, first PyPI's advisories, then OSV's.

Exit code 0: every package was looked up and none has a known one. 1: some have. 2: nobody could be asked about all of them; then it isn't known.
pip-audit itself says 0 and "no known vulnerabilities" when it could look up none, so its answers are read here package by package.
Not looked at: Go modules and jars of the laptop's backends (SECURITY.md), and what is below Python in an image.

examples:
  ./task audit
  ./task audit -- --service osv
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

SERVICES: Final = {"pypi": "PyPI's advisories (pypi.org)", "osv": "OSV (api.osv.dev)"}
CLEAN, FOUND, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Report:
    """What one service says of the packages: a line for each finding, how many it knew, and why it didn't know the others."""

    findings: Sequence[str]
    known: int
    unknown: Sequence[str]

    @property
    def complete(self) -> bool:
        """Whether it knew every package, and there were any."""
        return self.known > 0 and not self.unknown


def read(output: str, errors: str) -> Report:
    """pip-audit's JSON; without it, what it wrote last is why."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Report([], 0, [(errors.strip().splitlines() or ["pip-audit said nothing"])[-1]])
    known = [package for package in packages if "skip_reason" not in package]
    findings = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in known
        for found in package["vulns"]
    ]
    return Report(findings, len(known), [str(package["skip_reason"]) for package in packages if "skip_reason" in package])


def ask(service: str) -> Report:
    """Ask one service about everything in this virtual environment."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json", "--vulnerability-service", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read(done.stdout, done.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The programme; its exit code."""
    parser = argparse.ArgumentParser(prog="./task audit --", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=SERVICES, help="ask this one alone")
    arguments = parser.parse_args(argv)
    for service in [arguments.service] if arguments.service else SERVICES:
        report = ask(service)
        for finding in report.findings:
            print(finding)
        if report.findings:
            print(f"{SERVICES[service]}: {len(report.findings)} known vulnerabilities in {report.known} packages. Raise the versions in requirements*.txt.")
            return FOUND
        if report.complete:
            print(f"{SERVICES[service]}: {report.known} packages, no known vulnerability.")
            return CLEAN
        print(f"{SERVICES[service]}: {report.known} packages known, {len(report.unknown)} not; the first: {report.unknown[0]}", file=sys.stderr)
    print("Nobody could be asked about all packages, so this says nothing. Run it where one of these hosts can be reached.", file=sys.stderr)
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main())
