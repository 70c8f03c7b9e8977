"""Schemas of custom objects. Those with a CRD come from it; KafkaSource, and what we use of Redpanda's operator, are written here, since no package has theirs.

Sources: KafkaSource of sources.knative.dev/v1 (control-plane/pkg/apis/sources/v1, and the webhook's rules), cluster.redpanda.com/v1alpha2.
"""

from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from localdev.install import knative

_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_TEXT = {"type": "string", "minLength": 1}
_DURATION = {"type": "string", "pattern": r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$"}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


_REF = _object("ref", ref=_object("apiVersion kind name", apiVersion=_TEXT, kind=_TEXT, name=_NAME, namespace=_NAME))

KAFKA_SOURCE = _object(
    "bootstrapServers topics sink",
    bootstrapServers={"type": "array", "minItems": 1, "items": {"type": "string", "pattern": r"^[^:/]+:\d+$"}},
    topics={"type": "array", "minItems": 1, "items": _TEXT},
    consumerGroup=_TEXT,
    consumers={"type": "integer", "minimum": 0},
    initialOffset={"enum": ["earliest", "latest"]},
    ordering={"enum": ["ordered", "unordered"]},
    delivery=_object(
        # A block replaces all defaults: what it leaves out isn't tried again, or waited for ten minutes.
        "retry backoffPolicy backoffDelay timeout",
        retry={"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        backoffPolicy={"enum": ["linear", "exponential"]},
        backoffDelay=_DURATION,
        timeout=_DURATION,
        deadLetterSink=_REF,
    ),
    ceOverrides=_object(extensions={"type": "object", "propertyNames": {"pattern": "^[a-z0-9]+$"}, "additionalProperties": _TEXT}),
    sink=_REF,
)
TOPIC = _object(
    "partitions replicationFactor cluster",
    partitions={"type": "integer", "minimum": 1},
    replicationFactor={"type": "integer", "minimum": 1},
    additionalConfig={"type": "object", "additionalProperties": {"type": "string"}},
    cluster=_object("clusterRef", clusterRef=_object("name", name=_NAME)),
)
_ENABLED = _object("enabled", enabled={"type": "boolean"})
REDPANDA = _object(
    "clusterSpec",
    clusterSpec=_object(
        statefulset=_object(replicas={"enum": [1, 3, 5, 7]}),
        resources=_object(cpu=_object(cores={"type": "integer"}), memory=_object(container=_object(max=_TEXT))),
        storage=_object(persistentVolume=_object(enabled={"const": True}, size=_TEXT)),
        listeners=_object(kafka=_object(port={"type": "integer"})),
        tls=_ENABLED,
        external=_ENABLED,
        console=_ENABLED,
        logging=_object(usageStats=_ENABLED),
        config=_object(cluster=_object(auto_create_topics_enabled={"const": False})),
    ),
)


def errors(thing: dict[str, Any]) -> list[str]:
    """What is wrong with a custom object, by place. Raises KeyError for a kind that isn't known here."""
    return [f"{error.json_path}: {error.message}" for error in _validator(thing["apiVersion"], thing["kind"]).iter_errors(thing)]


@cache
def _validator(version: str, kind: str) -> Draft202012Validator:
    match version, kind:
        case "serving.knative.dev/v1", "Service":
            schema = _of_crd("service.yaml")
        case "sources.knative.dev/v1", "PingSource":
            schema = _of_crd("pingsource.yaml")
        case _:
            spec = {
                ("sources.knative.dev/v1", "KafkaSource"): KAFKA_SOURCE,
                ("cluster.redpanda.com/v1alpha2", "Topic"): TOPIC,
                ("cluster.redpanda.com/v1alpha2", "Redpanda"): REDPANDA,
            }[version, kind]
            schema = _object("apiVersion kind metadata spec", apiVersion={}, kind={}, metadata={"type": "object"}, spec=spec)
    return Draft202012Validator(schema)


def _of_crd(file: str) -> dict[str, Any]:
    knative.crds.install(lambda _: None)
    crd = yaml.safe_load((knative.crds.home / file).read_text())
    schema = next(version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"] if version["name"] == "v1")
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    _close(schema)
    return dict(schema)


def _close(schema: Any) -> None:
    """Refuse unknown fields, which a CRD drops without a word."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _close(part)
    elif isinstance(schema, list):
        for part in schema:
            _close(part)
