"""Function → entry of OpenFaaS' stack.yaml: the images that Knative runs, without a watchdog in them, for they keep a watchdog's contract themselves.

Source: faas-cli's schema of stack.yaml (docs.openfaas.com, reference/yaml). All values of maps are strings there.
"""

from pathlib import Path
from typing import Any, Final

from localdev.manifests.rows import SECRETS, Row, documents, functions, settings
from localdev.paths import STACK

_OURS: Final = {"SINK_URLS": "http://gateway.openfaas:8080/function/{sink}"}
"""Settings that are other ones than on Knative."""


def files() -> dict[Path, str]:
    """Path → text of all that is generated for OpenFaaS."""
    return {
        STACK / "openfaas" / f"{name}.yaml": documents(
            [
                {
                    "version": "1.0",
                    "provider": {"name": "openfaas", "gateway": "http://127.0.0.1:8080"},
                    "functions": {row.host: _function(row) for row in functions() if row.optional is optional and not row.is_grpc},
                }
            ]
        )
        for name, optional in (("stack", False), ("archive", True))
    }


def _function(row: Row) -> dict[str, Any]:
    (cpu, most_cpu), (memory, most_memory) = row.scale["cpu"], row.scale["memory"]
    secrets = sorted({setting.lower().replace("_", "-") for setting in row.settings if setting in SECRETS})
    known = settings() | _OURS
    # faas-cli puts in what its own environment says.
    given = {name: known[name] if name in _OURS else f"${{{name}:-{known[name]}}}" for name in row.settings if name not in SECRETS}
    return {
        "image": row.image,
        "skip_build": True,
        "environment": given,
        **({"secrets": secrets} if secrets else {}),
        **_annotations(row),
        "labels": _labels(row),
        "limits": {"memory": most_memory, "cpu": most_cpu},
        "requests": {"memory": memory, "cpu": cpu},
        "readonly_root_filesystem": True,
    }


def _annotations(row: Row) -> dict[str, Any]:
    """What is to be called for what: our trigger has it from functions.yml, people and other connectors read it here."""
    match row.row["kind"]:
        case "event":
            return {"annotations": {"topic": ",".join(row.row["trigger"]["topics"])}}
        case "timer":
            return {"annotations": {"topic": "cron-function", "schedule": "* * * * *"}}
    return {}


def _labels(row: Row) -> dict[str, str]:
    # The Community Edition reads min and max alone, and takes 5 at most.
    scale = {"min": max(1, row.scale["min"]), "max": min(5, row.scale["max"]), "type": "capacity", "target": row.scale["target"]}
    return {f"com.openfaas.scale.{name}": str(value) for name, value in scale.items()}
