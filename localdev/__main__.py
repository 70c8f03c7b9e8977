"""`python -m localdev`: the stack on this machine. `./task` calls it; `--help` explains each command."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console

from localdev import compose, functions
from localdev.paths import local
from localdev.ports import ports
from localdev.status import picture, show
from localdev.supervisor import control, state
from localdev.supervisor.display import for_terminal, table

EXAMPLES = """\
examples:
  ./task up                            start everything, return when it is ready
  ./task up -- --wait-for ingest_otlp  return as soon as that function is ready
  ./task up -- --with sink_archive     with the archive, which is off by default
  ./task logs -- kafka -f              follow a log
  ./task stop -- loki                  take a backend away; ./task start -- loki brings it back
  OBSTACK_LOCAL=/tmp/second OBSTACK_PORT_OFFSET=1000 ./task up   a second stack beside the first
"""


def up(arguments: argparse.Namespace) -> int:
    """Start everything and return when it is ready; if it runs already, wait for that. Failed services are tried again. In containers where Docker answers."""
    console = Console()
    _switch_on(arguments.with_functions)
    if not arguments.wait_for and not state.running() and compose.chosen():
        print(f"In containers; Grafana is at http://127.0.0.1:{ports()['GRAFANA_PORT']}. OBSTACK_STACK=processes ./task up does without Docker.", flush=True)
        return compose.up(arguments.with_functions)
    wanted = [name for name in arguments.wait_for.split(",") if name]
    try:
        with for_terminal(console) as display:
            now = control.up(display, wanted, arguments.timeout)
    except KeyboardInterrupt:
        print("\nGoes on in the background: ./task status shows how far it is, ./task down stops it.")
        return 130
    if console.is_terminal:
        console.print(table(now.services))
    print(f"Ready: http://127.0.0.1:{ports()['GATEWAY_PORT']} (tenants and tokens are in {local() / 'demo.json'})")
    return 0


def _switch_on(names: str) -> None:
    """Optional functions, for the supervisor that will be started. Raises ValueError for unknown names, Failure when one runs without them."""
    if not names:
        return
    os.environ[functions.WITH] = names
    functions.catalogue()
    now = state.snapshot() if state.running() else None
    if now and (missing := set(names.split(",")) - now.services.keys()):
        raise control.Failure(f"The stack runs without {', '.join(sorted(missing))}: ./task down, then the same again.")


def down(_: argparse.Namespace) -> int:
    """Stop everything; data and installed backends stay."""
    code = compose.down() if (containers := compose.runs()) else 0
    print("Stopped." if control.down() or (containers and not code) else "Nothing runs.")
    return code


def stop(arguments: argparse.Namespace) -> int:
    """Stop these services alone, cleanly: as if they were away. ./task start and ./task up bring them back."""
    for name in arguments.names:
        control.stop(name)
        print(f"{name}: stopped")
    return 0


def start(arguments: argparse.Namespace) -> int:
    """Start services that were stopped, and return when they are ready."""
    for name in arguments.names:
        control.start(name)
        print(f"{name}: ready")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show every service, each sink's lag and rates, letters, switches and last errors; exit code 0 if and only if all services are ready."""
    now = state.snapshot()
    if now is None:
        print("null" if arguments.json else _no_processes())
        return 1
    seen = picture.take(now)
    if arguments.json:
        print(json.dumps(seen.as_json(), indent=1))
    else:
        show.show(seen, Console())
    return 0 if seen.ready else 1


def _no_processes() -> str:
    return f"The stack runs in containers: {compose.look()} shows them." if compose.runs() else "Nothing runs. ./task up starts it."


def logs(arguments: argparse.Namespace) -> int:
    """Show the end of a log, or follow it; without a name, list the logs."""
    folder = state.log_folder()
    names = sorted(path.stem for path in folder.glob("*.log"))
    if arguments.name not in names:
        print(f"{'No log of that name. ' if arguments.name else ''}Logs in {folder}: {', '.join(names) or 'none yet'}")
        return 1 if arguments.name else 0
    command = ["tail", "-n", str(arguments.lines), *(["-F"] if arguments.follow else []), str(folder / f"{arguments.name}.log")]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localdev", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (up, down, stop, start, status, logs):
        sub = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        if command is up:
            sub.add_argument("--wait-for", default="", metavar="A,B", help="return once these services are ready; the rest goes on")
            sub.add_argument("--with", dest="with_functions", default="", metavar="A,B", help="functions that are off by default: sink_archive")
            sub.add_argument("--timeout", type=float, default=float("inf"), metavar="SECONDS", help="give up waiting; the stack goes on (default: never)")
        if command in (stop, start):
            sub.add_argument("names", nargs="+", metavar="NAME", help="a service, as ./task status names it")
        if command is status:
            sub.add_argument("--json", action="store_true", help="all of it for programs: null for what could not be asked")
        if command is logs:
            sub.add_argument("name", nargs="?", help="a service, or supervisor, or install-…")
            sub.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
            sub.add_argument("-n", "--lines", type=int, default=50)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except (control.Failure, ValueError) as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
