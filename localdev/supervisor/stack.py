"""Everything that `./task up` runs: backends, functions, trigger, gateway, monitoring; and what is done once broker and database are up."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from localdev import backends, functions, monitoring, opensearch_setup, processes, seed, topics
from localdev.paths import ROOT, local
from localdev.ports import ports
from localdev.service import Service


def services() -> list[Service]:
    """In the order in which they are installed and listed."""
    at = {name: f"http://127.0.0.1:{ports()[name]}" for name in ("TRIGGER_PORT", "GATEWAY_PORT")}
    trigger = _ours("trigger", processes.answers(f"{at['TRIGGER_PORT']}/readyz"), after=("kafka",))
    gateway = _ours("gateway", processes.answers(f"{at['GATEWAY_PORT']}/", status=404))  # no route leads there
    return [*map(_with_set_up, backends.services()), *functions.services(), trigger, gateway, monitoring.service()]


def _with_set_up(service: Service) -> Service:
    """The broker gets its topics, the database its tables and OpenSearch its template before anything that waits for them starts."""
    match service.name:
        case "kafka":
            return replace(service, on_ready=topics.create)
        case "postgres":
            return replace(service, on_ready=_migrate_and_seed)
        case "opensearch":
            return replace(service, on_ready=opensearch_setup.apply)
    return service


def _ours(name: str, ready: Callable[[], bool], after: tuple[str, ...] = ()) -> Service:
    """A program of this package."""
    return Service(
        name=name,
        command=lambda: [sys.executable, "-m", f"localdev.{name}"],
        env=lambda: {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
        ready=ready,
        after=after,
        cwd=ROOT,
    )


def _migrate_and_seed() -> None:
    seed.migrate()
    write_demo(seed.seed())


def write_demo(accounts: Mapping[str, Any]) -> None:
    """`demo.json`: where everything is and who may use it (design, section 5). Tokens are in it, so it is for the owner alone.

    `accounts`: as `seed` makes them.
    """
    urls = backends.urls()
    names = ("kafka", "loki", "prometheus", "tempo", "opensearch", "postgres")
    demo = {
        "gateway": f"http://127.0.0.1:{ports()['GATEWAY_PORT']}",
        "functions": {function.name: function.url for function in functions.catalogue()},
        "backends": {name: urls[name] for name in names} | {"monitoring": monitoring.url()},
        **accounts,
    }
    new = local() / "demo.json.new"
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(json.dumps(demo, indent=2))
    new.replace(local() / "demo.json")
