"""OpenSearch: one node, started without its script (stack/opensearch/jvm.options says why), and never as root, which it refuses."""

import os

from localdev.backends import folders, probe
from localdev.install import opensearch as recipe
from localdev.install import tools
from localdev.ports import ports
from localdev.service import Service

_NAME = "opensearch"
_HEAP_MB = 768


def url() -> str:
    return f"http://127.0.0.1:{ports()['OPENSEARCH_PORT']}"


def service() -> Service:
    return Service(
        name=_NAME,
        command=_command,
        ready=_ready,
        env=lambda: {"HOME": str(folders.open_data(_NAME))},
        cwd=folders.ROOT_FOLDER,
        install=recipe.install,
        prepare=_prepare,
        unprivileged=True,
        stop_seconds=20,
    )


def _command() -> list[str]:
    options = folders.open_data(_NAME) / "config" / "jvm.options"
    return [str(tools.java()), f"@{options}", "-cp", f"{recipe.home()}/lib/*", "org.opensearch.bootstrap.OpenSearch"]


def _ready() -> bool:
    health = probe.http_json(f"{url()}/_cluster/health?wait_for_status=yellow&timeout=1s")
    return health is not None and not health["timed_out"]


def _prepare() -> None:
    folder = folders.open_data(_NAME)
    places = {name.upper(): folders.make(folder / name) for name in ("data", "logs", "tmp", "config")}
    values = folders.values(**places, HOME=recipe.home(), OPENSEARCH_HEAP=f"{_heap_mb()}m", OPENSEARCH_DIRECT=f"{_heap_mb() // 2}m")
    for name in ("opensearch.yml", "jvm.options", "log4j2.properties"):
        folders.render(f"opensearch/{name}", folder / "config" / name, values)
    # Left by a start that was killed; it would stop every later one.
    (folder / "config" / "opensearch.keystore.tmp").unlink(missing_ok=True)
    folders.hand_over(folder)


def _heap_mb() -> int:
    return int(os.environ.get("OPENSEARCH_HEAP_MB", _HEAP_MB))
