"""`./task fuzz -- …`: requests right, wrong and damaged, in large numbers, at an ingest function that runs on this machine.

Tells every answer that breaks the protocol, and whether the process's memory stayed flat. The same --seed sends the same requests; count and time are
bounded; only loopback addresses are taken.

examples:
  ./task fuzz -- ingest_otlp                                  # OTLP/HTTP, 100,000 requests at the running stack
  ./task fuzz -- ingest_otlp_grpc --requests 20000            # OTLP/gRPC
  ./task fuzz -- ingest_prom --requests 20000 --seed 7        # remote_write 1.0 and 2.0
  ./task fuzz -- ingest_prom --url http://127.0.0.1:8202 --token obs_…
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence

from localdev import paths
from localdev.fuzz.run import PROTOCOLS, Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: nothing to complain about, memory flat."""
    given = _parser().parse_args(arguments)
    url, token = (given.url, given.token) if given.url and given.token else _running(given.function, given.url, given.token)
    run = Run(PROTOCOLS[given.function], url, token, given.requests, given.seconds, given.seed)
    started = time.monotonic()
    asyncio.run(run.go(given.workers))
    print(f"{run.sent} requests in {time.monotonic() - started:.0f} s: {', '.join(f'{count} x {status}' for status, count in sorted(run.statuses.items()))}")
    print(f"memory in MB at the start, after the warm-up, at the end: {', '.join(f'{size / 1e6:.1f}' for size in run.rss)}")
    for complaint, count in run.complaints.most_common(20):
        print(f"{count} x {complaint}")
    return 0 if run.sent == given.requests and not run.complaints and run.is_flat else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("./task fuzz --", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", choices=PROTOCOLS, help="which function, and so which protocol")
    parser.add_argument("--url", help="where it listens (default: the running stack's)")
    parser.add_argument("--token", help="a good token with the scopes logs, metrics and traces (default: the first demo tenant's)")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=540, help="stop then, however many requests are left")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=16, help="requests at a time")
    return parser


def _running(function: str, url: str | None, token: str | None) -> tuple[str, str]:
    """Address and token of the running stack, where not given. Raises SystemExit."""
    try:
        demo = json.loads((paths.local() / "demo.json").read_text())
    except OSError:
        raise SystemExit("No stack is running here: ./task up starts one, or name a server by --url and --token") from None
    return url or demo["functions"][function], token or demo["tenants"][0]["token"]


if __name__ == "__main__":
    sys.exit(main())
