"""Function → Knative Service, and KafkaSource or PingSource; topic → Topic of the Redpanda operator. All objects are in the namespace `telemetry`.

Sources: the CRD of knative.dev/serving v0.45.0; KafkaSource of sources.knative.dev/v1; docs/decisions/0020 says why the numbers are what they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from localdev.manifests.rows import OPTIONAL, SECRETS, Row, documents, functions, topics
from localdev.paths import STACK

NAMESPACE: Final = "telemetry"
BROKER: Final = "redpanda.redpanda.svc.cluster.local:9093"
"""Plain, inside the cluster; the same as KAFKA_BOOTSTRAP_SERVERS in base/settings.env, for a KafkaSource can't refer to it."""

DELAY_SECONDS: Final = 0.1
RETRIES: Final = 1320
"""Linear backoff waits 0.1 s, 0.2 s, …: a day in all, and 132 s at most until it is seen that the sink is back."""
DEAD_LETTER_RETRIES: Final = 5000
"""Fourteen and a half days, longer than the topic keeps a letter: there is nobody behind dead_letter."""
PORT: Final = 8080
"""Of each function; it is in no list of Knative's own ports."""
GRPC_METRICS_PORT: Final = 9464
"""METRICS_PORT of stack/image/Dockerfile."""
ANSWER_SECONDS: Final = 60
"""For one delivery, as our own trigger has it."""


def files() -> dict[Path, str]:
    """Path → text of all that is generated for Knative."""
    rows, folder = functions(), STACK / "knative"
    always, archive = [row for row in rows if not row.optional], [row for row in rows if row.optional]
    return {
        folder / "base" / "functions.yaml": documents(map(service, always)),
        folder / "base" / "sources.yaml": documents(made for row in always if (made := source(row))),
        folder / "archive" / "archive.yaml": documents(made for row in archive for made in (service(row), source(row)) if made),
        folder / "redpanda" / "topics.yaml": documents(topic(name, row) for name, row in topics().items()),
    }


def service(row: Row) -> dict[str, Any]:
    """The Service. No function is public: customers come through Kong, events from the dispatcher, both inside the cluster."""
    scale = row.scale
    scaling = {"class": "kpa.autoscaling.knative.dev", "metric": "concurrency", "target": scale["target"], "min-scale": scale["min"], "max-scale": scale["max"]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": row.host, "namespace": NAMESPACE, "labels": {"networking.knative.dev/visibility": "cluster-local"}},
        "spec": {
            "template": {
                "metadata": {"annotations": {f"autoscaling.knative.dev/{name}": str(value) for name, value in scaling.items()} | _metrics(row)},
                "spec": {
                    "serviceAccountName": "object-store" if "S3_BUCKET" in row.settings else "functions",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containerConcurrency": scale["most"],
                    "timeoutSeconds": scale["seconds"],
                    "containers": [_container(row)],
                },
            }
        },
    }


def _metrics(row: Row) -> dict[str, str]:
    """Where `/metrics` is, for stack/knative/monitoring/scrape.yml and whoever else goes by these annotations."""
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(GRPC_METRICS_PORT if row.is_grpc else PORT)}


def _container(row: Row) -> dict[str, Any]:
    (cpu, most_cpu), (memory, most_memory) = row.scale["cpu"], row.scale["memory"]
    return {
        "image": row.image,
        "ports": [{"containerPort": PORT, "name": "h2c"} if row.is_grpc else {"containerPort": PORT}],
        "env": [_setting(name) for name in row.settings],
        **_probes(row),
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": most_cpu, "memory": most_memory}},
        "securityContext": {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _setting(name: str) -> dict[str, Any]:
    if name not in SECRETS:
        return {"name": name, "valueFrom": {"configMapKeyRef": {"name": "settings", "key": name}}}
    secret, key = SECRETS[name]
    optional = {"optional": True} if name in OPTIONAL else {}
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **optional}}}


def _probes(row: Row) -> dict[str, Any]:
    """Without a port, which Knative fills in, but where gRPC is asked whether it lives: serving, pkg/reconciler/revision/resources/deploy.go.

    Without a period, readiness is asked for many times a second until it is there: a fast cold start.
    """
    alive: dict[str, Any] = {"grpc": {"port": PORT}} if row.is_grpc else {"httpGet": {"path": "/healthz"}}
    ready: dict[str, Any] = {"grpc": {}} if row.is_grpc else {"httpGet": {"path": "/readyz"}}
    return {"readinessProbe": {**ready, "successThreshold": 1}, "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}}


def source(row: Row) -> dict[str, Any] | None:
    """What calls it, unless customers do."""
    match row.row["kind"]:
        case "event":
            return _source("KafkaSource", row, _kafka(row))
        case "timer":
            # Nothing of the event is read. A minute is the least.
            return _source("PingSource", row, {"schedule": "* * * * *", "contentType": "application/json", "data": "{}"})
    return None


def _source(kind: str, row: Row, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": kind,
        "metadata": {"name": row.host, "namespace": NAMESPACE},
        "spec": {**spec, "sink": _service(row.host)},
    }


def _service(host: str) -> dict[str, Any]:
    return {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": host, "namespace": NAMESPACE}}


def _kafka(row: Row) -> dict[str, Any]:
    trigger, is_last = row.row["trigger"], row.name == "dead_letter"
    # All of it: a `delivery` block replaces every default.
    delivery = {
        "retry": DEAD_LETTER_RETRIES if is_last else RETRIES,
        "backoffPolicy": "linear",
        "backoffDelay": f"PT{DELAY_SECONDS}S",
        "timeout": f"PT{ANSWER_SECONDS}S",
    }
    return {
        "bootstrapServers": [BROKER],
        "topics": trigger["topics"],
        "consumerGroup": trigger["group"],
        "consumers": row.scale["consumers"],
        # The default, latest, would leave out what came in before the source was there.
        "initialOffset": "earliest",
        "ordering": trigger["ordering"],
        "delivery": delivery if is_last else {**delivery, "deadLetterSink": _service("dead-letter")},
    }


def topic(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A topic of the Redpanda operator, which keeps it so."""
    return {
        "apiVersion": "cluster.redpanda.com/v1alpha2",
        "kind": "Topic",
        "metadata": {"name": name, "namespace": "redpanda"},
        "spec": {
            "partitions": row["partitions"],
            "replicationFactor": 1,
            "additionalConfig": {key: str(value) for key, value in row["config"].items()},
            "cluster": {"clusterRef": {"name": "redpanda"}},
        },
    }
