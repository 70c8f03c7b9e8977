"""Function → entry of OpenFaaS' stack.yaml: the images that Knative runs, without a watchdog in them, for they keep a watchdog's contract themselves.

Sources: faas-cli's schema of stack.yaml (docs.openfaas.com, reference/yaml), in which all values of maps are strings; faas-netes (pkg/handlers/validate.go,
deploy.go), which answers 400 for a secret that isn't there and, in the Community Edition, for the paid ones' labels and for several topics.
"""

from pathlib import Path
from typing import Any, Final

from localdev.manifests.rows import OPTIONAL, SECRETS, Row, documents, functions, settings
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
    secrets = sorted({setting.lower().replace("_", "-") for setting in row.settings if setting in SECRETS.keys() - OPTIONAL})
    known = settings() | _OURS
    # faas-cli puts in what its own environment says.
    given = {name: known[name] if name in _OURS else f"${{{name}:-{known[name]}}}" for name in row.settings if name not in SECRETS}
    return {
        "image": row.image,
        "skip_build": True,
        "environment": given,
        **({"secrets": secrets} if secrets else {}),
        "labels": _labels(row),
        "limits": {"memory": most_memory, "cpu": most_cpu},
        "requests": {"memory": memory, "cpu": cpu},
        "readonly_root_filesystem": True,
    }


def _labels(row: Row) -> dict[str, str]:
    # The Community Edition takes no others, and 5 at most.
    scale = {"min": max(1, row.scale["min"]), "max": min(5, row.scale["max"])}
    return {f"com.openfaas.scale.{name}": str(value) for name, value in scale.items()}
