"""stack/compose.yaml: a Compose file by the specification's own schema, and the same stack as the catalogue, the gateway's file and the laptop's."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check  # type: ignore[import-untyped]
from click.testing import CliRunner

from localdev import compose, functions, monitoring, topics
from localdev.backends import prometheus, s3, tempo
from localdev.paths import STACK
from localdev.seed import _TENANTS

FILE = STACK / "compose.yaml"
TEXT = FILE.read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
CATALOGUE: dict[str, dict[str, Any]] = functions.described()
PORTS = dict(line.split("=", 1) for line in (STACK / "ports.env").read_text().splitlines() if "=" in line and not line.startswith("#"))
ADMIN = "admin"  # runs only when it is called
ONCE = {name for name, service in SERVICES.items() if service.get("restart") == "no" and name != ADMIN}


def test_file_follows_the_compose_specification() -> None:
    done = CliRunner().invoke(check, ["--builtin-schema", "vendor.compose-spec", str(FILE)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", CATALOGUE)
def test_function_has_its_settings_and_its_own_image(name: str) -> None:
    """No more settings than its row names: one that reads more fails here, too."""
    service = SERVICES[name.replace("_", "-")]
    assert set(service["environment"]) == set(CATALOGUE[name]["settings"])
    assert service["build"]["args"] == {"FUNCTION": name}
    assert f"/{name.replace('_', '-')}:" in service["image"]
    assert service.get("profiles", []) == ([name] if CATALOGUE[name].get("optional") else [])
    assert service["read_only"] is True


def test_all_else_that_the_stack_needs_is_there() -> None:
    rest = SERVICES.keys() - {name.replace("_", "-") for name in CATALOGUE}
    backends = {"redpanda", "postgres", "loki", "prometheus", "prom-label-proxy", "tempo", "opensearch", "minio", "monitoring"}
    assert rest == backends | ONCE | {ADMIN, "kong", "grafana", "trigger"}
    assert {"topics", "migrations", "accounts", "opensearch-setup", "bucket"} == ONCE


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned_and_limited(name: str) -> None:
    service = SERVICES[name]
    tag = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["image"]).rpartition(":")[2]
    assert tag == "dev" or re.search(r"\d", tag)
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["cpus"]


def test_server_has_a_health_check() -> None:
    """A function's and, when it is one of ours, a one-shot's is the image's or none."""
    functions = {name.replace("_", "-") for name in CATALOGUE}
    assert not [name for name in SERVICES.keys() - functions - ONCE - {ADMIN} if "healthcheck" not in SERVICES[name]]


def test_dependencies_are_there_and_one_shots_are_waited_for() -> None:
    """`up --wait` takes a container that ended for a failure unless somebody depends on its end."""
    waited = set()
    for service in SERVICES.values():
        on = service.get("depends_on", {})
        assert set(on) <= set(SERVICES)
        waited |= {name for name, how in on.items() if how["condition"] == "service_completed_successfully"} if isinstance(on, dict) else set()
    assert waited == ONCE


def test_variables_have_defaults_or_are_secrets_that_task_makes() -> None:
    found = re.findall(r"(?<!\$)\$\{(\w+)(:[-?])?([^}]*)\}", TEXT)
    assert found
    assert {name for name, kind, _ in found if kind == ":?"} == set(compose.SECRETS)
    assert all(kind for _, kind, _ in found)
    assert {name: default for name, _, default in found if name.endswith("_PORT")} == {
        name: PORTS[name] for name in ("GATEWAY_PORT", "INGEST_OTLP_GRPC_PORT", "GRAFANA_PORT")
    }


def test_only_gateway_and_grafana_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"kong", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_addresses_name_services_and_their_ports() -> None:
    """Whatever a service is told to call, there is one of that name that listens there."""
    listening = {"redpanda": 9092, "postgres": 5432, "minio": 9000, "prom-label-proxy": 9091, "tempo-otlp": 4327}
    listening |= {"loki": 3100, "prometheus": 9090, "monitoring": 9090, "tempo": 3200, "opensearch": 9200}
    for service in SERVICES.values():
        for host, port in re.findall(
            r"(?:@|://|^)([a-z][a-z-]+):(\d+)", "\n".join(map(str, service["environment"].values())) if "environment" in service else ""
        ):
            assert int(port) in (listening[host], listening.get(f"{host}-otlp")), (host, port)


def test_gateway_finds_its_upstreams() -> None:
    targets = re.findall(r'target: "?([a-z-]+):(\d+)', (STACK / "kong" / "kong.yml").read_text())
    assert targets
    assert not [target for target in targets if target[0] not in SERVICES or target[1] != "8080"]


def test_gateways_file_may_be_changed_while_it_runs() -> None:
    """Closing the gateway is an edit and a reload: a file that is mounted alone would stay the old one for the container. Kong's own files aren't hidden."""
    (mount,) = SERVICES["kong"]["volumes"]
    source, target, _ = mount.split(":")
    declared = Path(SERVICES["kong"]["environment"]["KONG_DECLARATIVE_CONFIG"])
    assert (STACK / source).is_dir()
    assert STACK / source / declared.relative_to(target) == STACK / "kong" / "kong.yml"
    assert not Path("/etc/kong").is_relative_to(target)


def test_configuration_that_is_mounted_exists_and_gets_its_values() -> None:
    """The laptop's files, with every placeholder set."""
    for name, service in SERVICES.items():
        for source, target, *_ in (volume.split(":") for volume in service.get("volumes", []) if volume.startswith("./")):
            path = STACK / source
            assert path.exists(), source
            if name in ("loki", "tempo", "opensearch") and Path(target).suffix == ".yml":
                assert set(re.findall(r"^[^#\n]*\$\{(\w+)\}", path.read_text(), re.MULTILINE)) <= set(service["environment"])


def test_label_proxy_confines_as_the_laptops_does() -> None:
    def flags(words: list[str]) -> set[str]:
        return {word for word in words if not word.startswith(("-insecure-listen-address", "-upstream"))}

    assert flags(SERVICES["prom-label-proxy"]["command"]) == flags(prometheus._proxy_command()[1:])


def test_values_are_the_laptops() -> None:
    assert SERVICES["sink-tempo"]["environment"]["TEMPO_WAL_SECONDS"] == tempo.WAL_SECONDS
    assert SERVICES["dead-letter"]["environment"]["S3_BUCKET"] == s3.BUCKET
    default = SERVICES["topics"]["environment"]["TOPIC_RETENTION_HOURS"].removeprefix("${TOPIC_RETENTION_HOURS:-").removesuffix("}")
    customers = [topic for topic in topics.declared() if topic.name != "telemetry.dead-letters"]
    assert {topic.config["retention.ms"] for topic in customers} == {str(int(default) * 3_600_000)}


def test_operators_prometheus_is_the_laptops() -> None:
    """Its configuration is made of the same template (tests/stack/test_alerts.py)."""
    assert set(monitoring.RETENTION) <= set(SERVICES["monitoring"]["command"])
    assert SERVICES["monitoring"]["image"] == SERVICES["prometheus"]["image"]
    assert SERVICES["monitoring"]["environment"] == monitoring.service().env()


def test_operators_prometheus_asks_services_that_are_there() -> None:
    jobs = yaml.safe_load((STACK / "prometheus" / "compose.yml").read_text())["scrape_configs"]
    hosts = {target.partition(":")[0] for job in jobs for static in job["static_configs"] for target in static["targets"]}
    assert {name.replace("_", "-") for name, row in CATALOGUE.items() if not row.get("optional")} < hosts
    assert hosts - {"localhost"} <= SERVICES.keys()


def test_retention_spares_dead_letters() -> None:
    kept = {topic.name: topics._kept_for(topic, 1).config["retention.ms"] for topic in topics.declared()}
    assert kept.pop("telemetry.dead-letters") == "1209600000"
    assert set(kept.values()) == {"3600000"}


def test_grafana_reads_each_tenant_by_its_own_token() -> None:
    """Never the backends themselves, which would show everybody's."""
    sources = yaml.safe_load((STACK / "grafana" / "provisioning" / "datasources" / "tenants.yml").read_text())["datasources"]
    assert {source["url"].removeprefix("http://query:8080/query") for source in sources} == {"", "/prometheus", "/tempo"}
    for number, (tenant, _) in enumerate(_TENANTS, 1):
        own = [source for source in sources if source["name"].startswith(f"{tenant}: ")]
        assert {source["type"] for source in own} == {"loki", "prometheus", "tempo"}
        assert {source["secureJsonData"]["basicAuthPassword"] for source in own} == {f"$__file{{/accounts/tenant-{number}.token}}"}
    assert len(sources) == 3 * len(_TENANTS)


def test_the_operators_are_the_tenant_that_is_seeded() -> None:
    assert SERVICES["query"]["environment"]["PLATFORM_TENANT_ID"] == functions.PLATFORM_TENANT_ID
