"""Kong's file for Knative, made of `stack/kong/kong.yml`, which is compose's and the laptop's: the same but for where the functions are.

A Knative Service's name inside the cluster leads to the gateway for cluster-local names, which goes by the Host header; Kong sends it the target's name there.
"""

from pathlib import Path
from typing import Final

import yaml

from localdev.manifests.knative import NAMESPACE
from localdev.paths import STACK

_HEAD: Final = "# Made by ./task manifests of stack/kong/kong.yml; change that. What differs is at the end: where the functions are.\n"
_UPSTREAMS: Final = "\nupstreams:\n"
_NO_CHECKS: Final = """\
# Without Kong's health checks. The only target is a name for all instances, so a check would ask one that Knative picks, and close the function for all that
# one is slow; and it would keep awake a function that may scale to zero. Knative's own probes take single instances out.
"""


def files() -> dict[Path, str]:
    """Path → text. Raises ValueError when kong.yml doesn't end with its upstreams."""
    return {STACK / "knative" / "kong" / "kong.yml": knative((STACK / "kong" / "kong.yml").read_text())}


def knative(text: str) -> str:
    """Every target with its address inside the cluster, anchors and comments of all else as they are."""
    services, upstreams = text.split(_UPSTREAMS)
    rows = [(row["name"], row["targets"][0]["target"].rpartition(":")[0]) for row in yaml.safe_load(_UPSTREAMS + upstreams)["upstreams"]]
    made = [f'  - {{name: {name}, targets: [{{target: "{host}.{NAMESPACE}.svc.cluster.local:80"}}]}}\n' for name, host in rows]
    return _HEAD + services + _UPSTREAMS + _NO_CHECKS + "".join(made)
