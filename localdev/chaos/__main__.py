"""`python -m localdev.chaos`: is anything lost or doubled, whatever happens to the stack? `./task chaos` calls it; the stack must be up.

Exit code 0: each number is in each backend exactly once, and the poison is in the dead letters.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from localdev import paths
from localdev.chaos import harm
from localdev.chaos.harm import DeadLetters, Harm, NotBack
from localdev.chaos.load import GaveUp, Run, Sender
from localdev.chaos.seen import Reader, Sight
from shared.contract import Topic

EXAMPLES = """\
examples:
  ./task chaos                                        a first look, some minutes
  ./task chaos -- --kill sink_loki,kafka --freeze ''  only these
  ./task chaos -- --logs 200000 --samples 100000 --spans 50000
"""
OTHERS = ("prom_label_proxy", "query", "tempo")
"""Killed only when asked for: no record passes through the first two, and Tempo says yes up to two seconds before its log is on disk, so it loses those spans:
what must not happen to it in production has several ingesters."""
FROZEN = ("sink_prom", "loki")
BLOCKED_SECONDS = 8.0


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    try:
        demo = json.loads((paths.local() / "demo.json").read_text())
        killed = arguments.kill.split(",") if arguments.kill is not None else [name for name in harm.services() if name not in OTHERS]
        return _run(arguments, console, demo, [name for name in killed if name])
    except (FileNotFoundError, NotBack, GaveUp, httpx2.HTTPError) as failure:
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
    letters = DeadLetters(demo["backends"]["kafka"])
    try:
        poisoned = harm.poison(demo["backends"]["kafka"], tenant["id"])
        again = _send(console, demo["gateway"], tenant["token"], run, harms, arguments)
        with Reader(demo["backends"], tenant["id"], run) as reader:
            sights = _look(console, reader, arguments.patience)
        found = list(letters.read(10))
    finally:
        letters.close()
    console.print(_table(sights))
    console.print(f"Batches sent again, since they were not taken or the answer was lost: {again}")
    return 0 if _judge(console, sights, poisoned, found) else 1


def _send(console: Console, gateway: str, token: str, run: Run, harms: list[Harm], arguments: argparse.Namespace) -> int:
    """A portion of the records goes with each harm, and a last one after them."""
    with Sender(gateway, token, run, len(harms) + 1, arguments.patience) as sender:
        for number, one in enumerate([*harms, Harm("nothing", lambda: None)]):
            began, under_way = time.monotonic(), sender.start(number, arguments.pace)
            time.sleep(arguments.pace / 4)  # so that it happens in the midst of them
            one.do()
            for future in under_way:
                future.result()
            console.print(f"{number + 1:3} of {len(harms) + 1}  {one.name}: whole again and all sent after {time.monotonic() - began:.1f} s")
        return sender.again


def _look(console: Console, reader: Reader, patience: float) -> list[Sight]:
    """Look into each backend until nothing is missing, or nothing has come for a while."""

    def until_whole(backend: str) -> Sight:
        look, least, deadline = reader.looks()[backend], sys.maxsize, time.monotonic() + patience
        while True:
            try:
                sight = look()
            except (httpx2.HTTPError, KeyError, ValueError) as failure:
                console.print(f"{backend}: {type(failure).__name__}: {failure}", markup=False)
                if time.monotonic() > deadline:
                    raise NotBack(f"{backend} can't be read") from failure
            else:
                if not sight.missing or time.monotonic() > deadline:
                    return sight
                if len(sight.missing) < least:
                    least, deadline = len(sight.missing), time.monotonic() + patience
                    console.print(f"{backend}: {least} of {sight.expected} to come")
            time.sleep(2)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(until_whole, reader.looks()))


def _table(sights: list[Sight]) -> Table:
    table = Table("backend", "sent", "missing", "doubled")
    for sight in sights:
        table.add_row(sight.backend, f"{sight.expected:,}", _some(sight.missing), _some(sight.doubled))
    return table


def _some(numbers: list[int]) -> str:
    return f"{len(numbers):,} ({', '.join(map(str, numbers[:5]))}, …)" if numbers else "0"


def _judge(console: Console, sights: list[Sight], poisoned: dict[str, Topic], found: list[tuple[str, str, str, str]]) -> bool:
    """Say what is wrong."""
    buried = {(record, sink) for record, sink, _, _ in found}
    unburied = [f"{topic} of {sink}" for record, topic in poisoned.items() for sink in harm.READERS[topic] if (record, sink) not in buried]
    strangers = [letter for letter in found if letter[0] not in poisoned]
    for missing in sorted(unburied):
        console.print(f"the poison in {missing} is not in the dead letters")
    for record, sink, reason, detail in strangers[:20]:
        console.print(f"dead letter of {sink}: {record} {reason}: {detail}", markup=False)
    whole = all(sight.whole for sight in sights) and not unburied and not strangers
    console.print("Nothing lost, nothing doubled." if whole else "Not whole.")
    return whole


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
    parser.add_argument("--patience", type=float, default=180.0, help="seconds to wait for a batch to be taken, and for missing records to come (default 180)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
