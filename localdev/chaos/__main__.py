"""`python -m localdev.chaos`: is anything lost or doubled, whatever happens to the stack? `./task chaos` calls it; the stack must be up.

Some batches are sent a second time after they were taken, as by a client that heard no answer.

Exit code 0: each number is in each backend exactly once, the poison is in the dead letters, and nothing else is.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from secrets import token_hex
from typing import Any

import httpx2
from rich.console import Console

from localdev import admin, paths
from localdev.chaos import harm, judge, outage
from localdev.chaos.harm import DeadLetters, Harm, NotBack
from localdev.chaos.load import GaveUp, Run, Sender
from localdev.chaos.outage import Plan
from localdev.chaos.seen import Reader
from localdev.supervisor import control

EXAMPLES = """\
examples:
  ./task chaos                                        a first look, some minutes
  ./task chaos -- --kill sink_loki,kafka --freeze ''  only these
  ./task chaos -- --logs 200000 --samples 100000 --spans 50000
  ./task chaos -- --outage                            each backend away for two minutes, one after the other
  ./task chaos -- --outage loki --minutes 10 --rate 200
"""
OTHERS = ("prom_label_proxy", "query")
"""Killed only when asked for: no record passes through them."""
FROZEN = ("sink_prom", "loki")
BLOCKED_SECONDS = 8.0
LOST_EVERY = 10
"""Of so many answers one is lost on its way, as in the instant after the broker's yes in which ingest is killed, or a client gives up waiting."""
LETTERS_SECONDS = 10.0
"""For those that come last."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    try:
        running = harm.services()
        demo = json.loads((paths.local() / "demo.json").read_text())
        if arguments.outage:
            return _outages(arguments, console, demo)
        killed = arguments.kill.split(",") if arguments.kill is not None else [name for name in running if name not in OTHERS]
        return _run(arguments, console, demo, [name for name in killed if name])
    except (FileNotFoundError, NotBack, GaveUp, control.Failure, httpx2.HTTPError) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, console: Console, demo: dict[str, Any], killed: list[str]) -> int:
    tenant = demo["tenants"][0]
    run = Run(f"run{token_hex(4)}", arguments.logs, arguments.samples, arguments.spans)
    harms = [harm.kill(name) for name in killed]
    harms += [harm.freeze(name, arguments.freeze_seconds) for name in arguments.freeze.split(",") if name]
    harms += [harm.block_opensearch(demo["backends"]["opensearch"], tenant["id"], BLOCKED_SECONDS)] if not arguments.no_block else []
    with closing(DeadLetters(demo["backends"]["kafka"])) as letters:
        poisoned = harm.poison(demo["backends"]["kafka"], tenant["id"])
        sent = _send(console, demo["gateway"], tenant["token"], run, harms, arguments)
        with Reader(demo["backends"], tenant["id"], run) as reader:
            sights = judge.look(console, reader, arguments.patience)
        found = list(letters.read(LETTERS_SECONDS))
    console.print(judge.table(sights))
    console.print(_story(sent))
    return 0 if judge.whole(console, sights, poisoned, found) else 1


def _outages(arguments: argparse.Namespace, console: Console, demo: dict[str, Any]) -> int:
    tenant, fine = demo["tenants"][0], True
    for backend in arguments.outage:
        plan = Plan(backend, arguments.minutes * 60, arguments.rate)
        run = plan.run(f"run{token_hex(4)}")
        with closing(DeadLetters(demo["backends"]["kafka"])) as letters:
            with Sender(demo["gateway"], tenant["token"], run, 1, arguments.patience) as sender:
                course = outage.course(plan, sender, console.print, arguments.patience)
            with Reader(demo["backends"], tenant["id"], run) as reader:
                sights = judge.look(console, reader, arguments.patience)
            found = list(letters.read(LETTERS_SECONDS))
        console.print(course.table(), judge.table(sights), course.story(), sep="\n")
        console.print(_story(sender))
        fine = judge.whole(console, sights, {}, found) and fine
    return 0 if fine else 1


def _story(sender: Sender) -> str:
    return f"Batches sent again: {sender.again}, since they weren't taken or no answer came; {sender.lost}, since the answer was to be lost"


def _send(console: Console, gateway: str, token: str, run: Run, harms: list[Harm], arguments: argparse.Namespace) -> Sender:
    """A portion of the records goes with each harm, and a last one after them."""
    with Sender(gateway, token, run, len(harms) + 1, arguments.patience, LOST_EVERY) as sender:
        for number, one in enumerate([*harms, Harm("nothing", lambda: None)]):
            began, under_way = time.monotonic(), sender.start(number, arguments.pace)
            time.sleep(arguments.pace / 4)  # so that it happens in the midst of them
            one.do()
            for future in under_way:
                future.result()
            console.print(f"{number + 1:3} of {len(harms) + 1}  {one.name}: whole again and all sent after {time.monotonic() - began:.1f} s")
    return sender


def _backends(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - outage.SINKS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(outage.SINKS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localdev.chaos", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=int, default=20_000, help="log records (default 20,000)")
    parser.add_argument("--samples", type=int, default=10_000, help="remote_write samples (default 10,000)")
    parser.add_argument("--spans", type=int, default=5_000, help="spans (default 5,000)")
    parser.add_argument("--kill", metavar="A,B", help=f"services that get kill -9, in turn (default: all but {', '.join(OTHERS)})")
    parser.add_argument("--freeze", metavar="A,B", default=",".join(FROZEN), help=f"services that are stopped for a while (default {','.join(FROZEN)})")
    parser.add_argument("--freeze-seconds", type=float, default=20.0, help="for how long (default 20)")
    parser.add_argument("--pace", type=float, default=4.0, help="seconds that the records sent with each of these are spread over, at least (default 4)")
    parser.add_argument("--no-block", action="store_true", help="leave out OpenSearch's full disk")
    parser.add_argument(
        "--outage",
        type=_backends,
        nargs="?",
        const=list(outage.SINKS),
        metavar="A,B",
        help=f"nothing of all that, but these backends away for long, one after the other (default {','.join(outage.SINKS)})",
    )
    parser.add_argument("--minutes", type=admin.positive, default=2.0, help="how long each is away (default 2)")
    parser.add_argument("--rate", type=admin.positive, default=200.0, help="batches of each signal a minute meanwhile (default 200)")
    parser.add_argument("--patience", type=float, default=180.0, help="seconds to wait for a batch to be taken, and for missing records to come (default 180)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
