"""What `kubectl apply -k` would apply."""

import subprocess
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from localdev.install import servers
from localdev.paths import STACK
from tests.stack import schemas

Objects = list[dict[str, Any]]


def render(folder: str) -> Objects:
    """All objects of a folder of stack/, by kustomize, which is compiled when it isn't there yet."""
    servers.install(servers.kustomize, lambda _: None)
    done = subprocess.run([servers.kustomize.binary(), "build", STACK / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    """Those of a kind, by name; `Service` are Knative's."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def check(objects: Objects) -> None:
    """Each fits its schema, and none is there twice."""
    assert len({(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects}) == len(objects)
    for one in objects:
        if ".knative.dev/" in one["apiVersion"] or "redpanda.com/" in one["apiVersion"]:
            assert schemas.errors(one) == [], one["metadata"]["name"]
        else:
            kubernetes_validate.validate(one, "1.34", strict=True)


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """Specifications of what runs, by the name of whoever makes it."""
    jobs = {name: one["spec"]["jobTemplate"] for name, one in of(objects, "CronJob").items()} | of(objects, "Job")
    return {name: one["spec"]["template"]["spec"] for name, one in (jobs | of(objects, "Deployment") | of(objects, "Service")).items()}
