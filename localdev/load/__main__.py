"""`python -m localdev.load`: does the running stack keep its promises under this load? `./task load` calls it; the stack must be up.

Exit code 0: nothing is lost, the sinks have caught up, and where the profile has bars of latency, they hold.
"""

import argparse
import sys
from collections.abc import Sequence

from localdev import admin
from localdev.load import command
from localdev.load.measure import Order
from localdev.load.profiles import PROFILES

EXAMPLES = """\
examples:
  ./task load                                      the baseline for a minute
  ./task load -- peak --seconds 30
  ./task load -- noisy --seconds 120 --report /tmp/noisy
  ./task load -- baseline --share 0.1 --tenants 10
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; the exit code."""
    arguments = _parser().parse_args(argv)
    profile = command.scaled(PROFILES[arguments.profile], arguments)
    return command.run(Order(arguments.profile, profile, arguments.seconds, arguments.patience), arguments, lambda _: ([], []))


def _parser() -> argparse.ArgumentParser:
    described = "profiles:\n" + "".join(f"  {name:9} {profile.what}: {profile.rates}\n" for name, profile in PROFILES.items())
    parser = argparse.ArgumentParser(
        prog="./task load --", description=__doc__, epilog=f"{described}\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("profile", nargs="?", choices=PROFILES, default="baseline", help="what is sent (default baseline)")
    parser.add_argument("--seconds", type=admin.positive, default=60.0, help="for how long (default 60)")
    command.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
