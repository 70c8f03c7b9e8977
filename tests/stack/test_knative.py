"""stack/knative: rendered by kustomize as it would be applied, held against the schemas of its kinds, and against what else says the same."""

import copy
import inspect
import re
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from localdev import monitoring, topics
from localdev.gateway import schema
from localdev.manifests import knative, kong, openfaas
from localdev.manifests.rows import OPTIONAL, SECRETS, functions, platform_image
from localdev.paths import ROOT, STACK
from shared import settings
from tests.docs import pages
from tests.stack import schemas
from tests.stack.kustomize import Objects, check, of, pods, render

DAY = 86_400
PROMETHEUS = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
"""The operators' pods."""


@pytest.fixture(scope="session", params=["dev", "prod"])
def overlay(request: pytest.FixtureRequest) -> Objects:
    """All objects of an overlay."""
    return render(f"knative/{request.param}")


@pytest.fixture(scope="session")
def prod() -> Objects:
    """The one with everything in it."""
    return render("knative/prod")


def configuration(overlay: Objects) -> dict[str, Any]:
    """The ConfigMap with the settings."""
    return next(one for name, one in of(overlay, "ConfigMap").items() if name.startswith("settings"))


def container(service: dict[str, Any]) -> dict[str, Any]:
    (only,) = service["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("path", ["knative/base/jobs.yaml", "knative/monitoring/lag.yaml", "openfaas/trigger.yaml"])
def test_files_written_by_hand_name_the_platform_image_that_the_generator_would(path: str) -> None:
    named = set(re.findall(r"^ *(?:- )?image: (\S*/platform:\S+)$", (STACK / path).read_text(), re.MULTILINE))
    assert named == {platform_image()}


def test_generated_files_are_current() -> None:
    """Else: ./task manifests."""
    stale = [path.name for path, text in {**knative.files(), **kong.files(), **openfaas.files()}.items() if not path.exists() or path.read_text() != text]
    assert stale == []


def test_every_object_fits_its_schema(overlay: Objects) -> None:
    check(overlay)


@pytest.mark.parametrize("folder", ["knative/prod", "knative/monitoring", "openfaas"])
def test_no_pod_is_given_its_neighbours_addresses(folder: str) -> None:
    """Kubernetes would name them as settings are named: GATEWAY_PORT, in OpenFaaS' namespace."""
    assert {name for name, pod in pods(render(folder)).items() if pod.get("enableServiceLinks") is not False} == set()


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Service", "spec.template.spec.containerConcurency", 1),
        ("Service", "spec.template.spec.timeoutSeconds", "60s"),
        ("PingSource", "spec.shedule", "* * * * *"),
        ("KafkaSource", "spec.delivery.retries", 3),
        ("KafkaSource", "spec.initialOffset", "oldest"),
        ("KafkaSource", "spec.delivery.backoffDelay", "100ms"),
        ("Topic", "spec.additionalConfig", {"retention.ms": 1}),
    ],
)
def test_schemas_refuse_what_a_cluster_would_drop_or_refuse(kind: str, path: str, value: object, prod: Objects) -> None:
    wrong = copy.deepcopy(next(iter(of(prod, kind).values())))
    *way, last = path.split(".")
    at = wrong
    for name in way:
        at = at[name]
    at[last] = value
    assert schemas.errors(wrong)


def test_every_function_is_there_with_its_own_settings_and_no_others(prod: Objects) -> None:
    rows = {row.host: row for row in functions()}
    services = of(prod, "Service")
    assert services.keys() == rows.keys()
    for name, service in services.items():
        assert [one["name"] for one in container(service)["env"]] == rows[name].settings
        assert container(service)["image"] == rows[name].image


def test_optional_functions_are_left_out_of_the_base() -> None:
    assert of(render("knative/dev"), "Service").keys() == {row.host for row in functions() if not row.optional}


def test_settings_refer_to_what_is_there_and_secrets_to_secrets(overlay: Objects) -> None:
    config = configuration(overlay)
    assert re.fullmatch(r"settings-\w{10}", config["metadata"]["name"])  # another value makes another name, and so a new revision
    for env in [env for one in of(overlay, "Service").values() for env in container(one)["env"]]:
        if env["name"] in SECRETS:
            assert (env["valueFrom"]["secretKeyRef"]["name"], env["valueFrom"]["secretKeyRef"]["key"]) == SECRETS[env["name"]]
        else:
            assert env["valueFrom"]["configMapKeyRef"] == {"name": config["metadata"]["name"], "key": env["name"]}
            assert env["name"] in config["data"]
    assert not [one for one in overlay if one["kind"] == "Secret"]


def test_region_and_shared_limits_can_be_given_to_those_that_read_them(prod: Objects) -> None:
    customers = {row.host for row in functions() if row.row["kind"] in {"http", "grpc"}}
    for name, service in of(prod, "Service").items():
        given = {env["name"]: env["valueFrom"] for env in container(service)["env"]}
        assert ("AWS_REGION" in given) == ("S3_BUCKET" in given)
        assert ("LIMITS_STORAGE_URL" in given) == (name in customers)
        assert all(given[setting]["secretKeyRef"]["optional"] for setting in OPTIONAL & given.keys())


def test_opensearch_is_pruned_by_what_was_set_up(overlay: Objects) -> None:
    """Both Jobs have all of the set-up's settings from the same place; shipped are the defaults."""
    config, jobs = configuration(overlay), pods(overlay)
    own = settings.OpenSearchSetup.model_fields.keys() - settings.Settings.model_fields.keys()
    for name in ("opensearch-setup", "opensearch-prune"):
        (container,) = jobs[name]["containers"]
        given = {env["name"]: env["valueFrom"]["configMapKeyRef"] for env in container["env"]}
        assert given == {field.upper(): {"name": config["metadata"]["name"], "key": field.upper()} for field in own}
    for field in own - {"opensearch_url"}:
        assert config["data"][field.upper()] == str(settings.OpenSearchSetup.model_fields[field].default)


def test_secrets_are_the_settings_that_the_functions_keep_secret() -> None:
    models = [one for _, one in inspect.getmembers(settings, inspect.isclass) if issubclass(one, BaseSettings)]
    secret = {name.upper() for model in models for name, field in model.model_fields.items() if SecretStr in (field.annotation, *_parts(field.annotation))}
    used = {name for row in functions() for name in row.settings}
    assert secret & used == SECRETS.keys()


def _parts(annotation: Any) -> tuple[Any, ...]:
    return tuple(getattr(annotation, "__args__", ()))


def test_services_keep_the_rules_of_serving(overlay: Objects) -> None:
    """What no schema says: knative.dev/serving, pkg/apis/autoscaling and pkg/apis/serving/k8s_validation.go."""
    for service in of(overlay, "Service").values():
        spec, one = service["spec"]["template"]["spec"], container(service)
        scaling = {name.partition("/")[2]: value for name, value in service["spec"]["template"]["metadata"]["annotations"].items()}
        assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
        assert all(isinstance(value, str) for value in scaling.values())
        assert int(scaling["min-scale"]) <= int(scaling["max-scale"])
        assert float(scaling["target"]) <= (spec["containerConcurrency"] or 1000) <= 1000
        assert 60 <= spec["timeoutSeconds"] <= 600  # also the grace period, of which queue-proxy takes 30 s
        assert not {"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"} & {env["name"] for env in one["env"]}
        assert [port["containerPort"] for port in one["ports"]] == [8080]
        assert one["livenessProbe"].get("grpc", {"port": 8080}) == {"port": 8080}  # filled in for HTTP and TCP alone; a Deployment wants it
        assert one["readinessProbe"].keys() & {"periodSeconds", "timeoutSeconds", "failureThreshold"} == set()
        assert (
            int(one["resources"]["limits"]["memory"].removesuffix("Gi").removesuffix("Mi")) * (1 if "Mi" in one["resources"]["limits"]["memory"] else 1024)
            > 512
        )


def test_sources_agree_with_the_catalogue(overlay: Objects) -> None:
    config = configuration(overlay)
    partitions, services = {topic.name: topic.partitions for topic in topics.declared()}, of(overlay, "Service")
    sources = of(overlay, "KafkaSource")
    assert sources.keys() == {row.host for row in functions() if row.row["kind"] == "event" and row.host in services}
    for row in functions():
        if row.host in sources:
            spec, trigger = sources[row.host]["spec"], row.row["trigger"]
            assert (spec["topics"], spec["consumerGroup"], spec["ordering"]) == (trigger["topics"], trigger["group"], trigger["ordering"])
            assert spec["consumers"] <= max(partitions[topic] for topic in spec["topics"])
            assert spec["bootstrapServers"] == config["data"]["KAFKA_BOOTSTRAP_SERVERS"].split(",")
            assert spec["sink"]["ref"]["name"] == row.host
            assert spec["initialOffset"] == "earliest"


def test_timers_are_called_each_minute(overlay: Objects) -> None:
    pings = of(overlay, "PingSource")
    assert {name: (one["spec"]["schedule"], one["spec"]["sink"]["ref"]["name"]) for name, one in pings.items()} == {"replay": ("* * * * *", "replay")}


def test_retries_last_a_day_and_those_of_dead_letters_as_long_as_the_topic_keeps_them(overlay: Objects) -> None:
    kept = {topic.name: int(topic.config["retention.ms"]) / 1000 for topic in topics.declared()}
    for name, source in of(overlay, "KafkaSource").items():
        delivery = source["spec"]["delivery"]
        seconds = float(delivery["backoffDelay"].removeprefix("PT").removesuffix("S")) * delivery["retry"] * (delivery["retry"] + 1) / 2
        assert delivery["backoffPolicy"] == "linear"
        if name == "dead-letter":
            assert "deadLetterSink" not in delivery
            assert seconds > kept["telemetry.dead-letters"]
        else:
            assert delivery["deadLetterSink"]["ref"]["name"] == "dead-letter"
            assert DAY < seconds < min(kept[topic] for topic in source["spec"]["topics"])


def test_topics_are_those_of_the_laptop(overlay: Objects, prod: Objects) -> None:
    made = {name: (one["spec"]["partitions"], one["spec"]["additionalConfig"]) for name, one in of(overlay, "Topic").items()}
    assert made == {topic.name: (topic.partitions, dict(topic.config)) for topic in topics.declared()}
    assert {one["spec"]["replicationFactor"] for one in of(prod, "Topic").values()} == {3}


def test_functions_own_port_is_open_to_nobody(overlay: Objects) -> None:
    """Whoever reached it would go past queue-proxy and the gateway."""
    policies = [one for one in overlay if one["kind"] == "NetworkPolicy" and one["metadata"]["namespace"] == "telemetry"]
    assert any(one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]} for one in policies)
    rules = [rule for one in policies for rule in one["spec"].get("ingress", [])]
    assert all(rule["from"] and {port["port"] for port in rule["ports"]} == {8012, 8013, 8112, 9090} for rule in rules)


def test_cluster_local_names_are_for_dispatcher_timer_replay_and_kong_in_prod(prod: Objects) -> None:
    (policy,) = [one for one in prod if one["kind"] == "NetworkPolicy" and one["metadata"]["namespace"] == "kourier-system"]
    (rule,) = [rule for rule in policy["spec"]["ingress"] if {"port": 8081} in rule["ports"]]
    pods = [one["podSelector"]["matchLabels"] for one in rule["from"] if "podSelector" in one]
    assert pods == [{"app": "kafka-source-dispatcher"}, {"sources.knative.dev/role": "adapter"}, {"serving.knative.dev/service": "replay"}]
    assert not [other for other in policy["spec"]["ingress"] if "from" not in other and {"port": 8081} in other["ports"]]


def test_kong_finds_the_services_by_their_names_inside_the_cluster(prod: Objects) -> None:
    """The port and the Host header that the gateway for cluster-local names goes by; every function that is there for customers."""
    (config,) = render("knative/kong")
    raw = yaml.safe_load(config["data"]["kong.yml"])
    schema.check(raw)
    hosts = {f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.cluster.local:80" for one in of(prod, "Service").values()}
    targets = [target["target"] for upstream in raw["upstreams"] for target in upstream["targets"]]
    assert set(targets) <= hosts
    assert {target.partition(".")[0] for target in targets} == {row.host for row in functions() if row.row["kind"] in {"http", "grpc"}}


def test_kong_is_otherwise_the_laptops_and_keeps_nobody_awake() -> None:
    """Health checks would, and would close a function for one slow instance."""
    ours, theirs = (yaml.safe_load((STACK / name / "kong.yml").read_text()) for name in ("kong", "knative/kong"))
    assert not [upstream for upstream in theirs["upstreams"] if "healthchecks" in upstream]
    assert {**theirs, "upstreams": 0} == {**ours, "upstreams": 0}
    assert [row["name"] for row in theirs["upstreams"]] == [row["name"] for row in ours["upstreams"]]


def test_kong_of_a_cluster_is_closed_by_the_same_line() -> None:
    assert (STACK / "knative" / "kong" / "kong.yml").read_text().count("&closed false") == 1


def test_monitoring_fits_its_schema_and_the_rest() -> None:
    """Applied beside an overlay: its objects are none of an overlay's, and the broker is the same."""
    made, overlay = render("knative/monitoring"), render("knative/prod")
    assert {(one["kind"], one["metadata"]["name"]) for one in made} == {
        ("ConfigMap", "telemetry-alerts"),
        ("ConfigMap", "telemetry-scrape"),
        ("Deployment", "lag"),
        ("NetworkPolicy", "functions-from-prometheus"),
        ("NetworkPolicy", "lag-from-prometheus"),
    }
    assert not {(one["kind"], one["metadata"]["name"]) for one in made} & {(one["kind"], one["metadata"]["name"]) for one in overlay}
    check(made)
    assert of(made, "ConfigMap")["telemetry-alerts"]["data"] == {"alerts.yml": (STACK / "prometheus" / "alerts.yml").read_text()}
    (lag,) = of(made, "Deployment")["lag"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "KAFKA_BOOTSTRAP_SERVERS", "value": knative.BROKER} in lag["env"]
    assert lag["command"] == ["python", "-m", "localdev.trigger.lag"]


def test_prometheus_finds_its_files_in_its_own_namespace(prod: Objects) -> None:
    """Which is that of the pods that the policies let in: a pod mounts no other's ConfigMaps."""
    made = render("knative/monitoring")
    rules = [rule for one in (made + prod) if one["kind"] == "NetworkPolicy" for rule in one["spec"].get("ingress", [])]
    prometheus = [peer for rule in rules for peer in rule.get("from", []) if peer.get("podSelector") == PROMETHEUS]
    (let_in,) = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in prometheus}
    assert {one["metadata"]["namespace"] for one in of(made, "ConfigMap").values()} == {let_in}
    assert {one["metadata"]["namespace"] for one in made if one["kind"] != "ConfigMap"} == {"telemetry"}


def test_broker_tells_prometheus_its_metrics_where_it_is_asked(overlay: Objects) -> None:
    """The port is its admin API's, too: for Prometheus alone."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((STACK / "knative" / "monitoring" / "scrape.yml").read_text())["scrape_configs"]}
    port = int(jobs["broker"]["static_configs"][0]["targets"][0].rpartition(":")[2])
    (rule,) = [rule for rule in of(overlay, "NetworkPolicy")["brokers"]["spec"]["ingress"] if {"port": port} in rule.get("ports", [])]
    assert rule["ports"] == [{"port": port}]
    assert [peer["podSelector"] for peer in rule["from"]] == [PROMETHEUS]


@pytest.mark.parametrize(("name", "deployed"), [("dev", None), ("prod", "sink_archive")])
def test_lag_counts_the_archives_group_where_the_archive_is_deployed(name: str, deployed: str | None) -> None:
    """Elsewhere nobody serves it, so it would be late for ever."""
    (container,) = pods(render("knative/monitoring"))["lag"]["containers"]
    (source,) = [env["valueFrom"]["configMapKeyRef"] for env in container["env"] if env["name"] == "OBSTACK_WITH"]
    assert source["optional"] is True
    config = of(render(f"knative/{name}"), "ConfigMap").get(source["name"], {"data": {}})
    assert config["data"].get(source["key"]) == deployed


def test_prometheus_is_let_in_where_pods_say_that_they_tell_metrics(prod: Objects) -> None:
    policies = of(render("knative/monitoring"), "NetworkPolicy")
    (rule,) = policies["functions-from-prometheus"]["spec"]["ingress"]
    annotated = {service["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] for service in of(prod, "Service").values()}
    assert {str(port["port"]) for port in rule["ports"]} == annotated
    assert all({"namespaceSelector", "podSelector"} == set(peer) for peer in rule["from"])


def test_the_example_for_backends_lets_prometheus_in_where_it_asks() -> None:
    """docs/security.md. The same Prometheus as at the functions, and each port of a backend that is scraped."""
    (example,) = pages.blocks(ROOT / "docs" / "security.md", "yaml")
    policy = yaml.safe_load(example)
    check([policy])
    (functions_rule,) = of(render("knative/monitoring"), "NetworkPolicy")["functions-from-prometheus"]["spec"]["ingress"]
    (rule,) = [rule for rule in policy["spec"]["ingress"] if rule["from"] == functions_rule["from"]]
    scraped = re.findall(r"\.backends:(\d+)", (STACK / "knative" / "monitoring" / "scrape.yml").read_text())
    assert {str(port["port"]) for port in rule["ports"]} == set(scraped)


def test_scraped_jobs_and_functions_have_the_names_that_the_rules_use() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((STACK / "knative" / "monitoring" / "scrape.yml").read_text())["scrape_configs"]}
    # A cluster has its own ways to see processes, and Prometheus adds itself.
    assert set(jobs) == {"functions", "certificates", *monitoring.JOBS} - {"supervisor", "monitoring"}
    renamed = [rule for rule in jobs["functions"]["relabel_configs"] if rule.get("target_label") == "function" and "regex" in rule]
    for row in functions():
        name = row.host
        for rule in renamed:
            if match := re.fullmatch(rule["regex"], name):
                name = "_".join(match.groups())
        assert name == row.name
