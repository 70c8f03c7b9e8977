"""`stack/kong/schema.yml` applied to a Kong file. Each fault is told with its place (names, not numbers), the key or value, and what is allowed."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from localdev.paths import STACK

PERIODS = ("second", "minute", "hour", "day", "month", "year")


class ConfigError(Exception):
    """The file is no Kong file of ours, or asks for something that the stand-in doesn't do; says what and where."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which Kong would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ConfigError(f"line {node.start_mark.line + 1}: {', '.join(sorted(twice))} is there twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """The file's content, checked. Raises ConfigError with all its faults."""
    try:
        raw = yaml.load(path.read_text(), _Loader)  # noqa: S506 (it is a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not YAML: {error}") from error
    check(raw)
    return raw


def check(raw: Any) -> None:
    """Raises ConfigError with all faults, a line each."""
    faults = [_told(raw, error) for error in sorted(_validator().iter_errors(raw), key=lambda error: error.json_path)]
    if faults := faults or list(_joined(raw)):
        raise ConfigError("\n".join(faults))


@functools.cache
def _validator() -> Any:
    schema = yaml.safe_load((STACK / "kong" / "schema.yml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _told(raw: Any, error: jsonschema.ValidationError) -> str:
    """jsonschema's own words; where they would repeat a whole service, which keys there must be."""
    said = error.message
    rule: Any = error.validator_value
    given: Any = error.instance
    match error.validator:
        case "anyOf" if isinstance(given, str):
            said = f"{given!r} matches none of {', '.join(option['pattern'] for option in rule)}"
        case "anyOf":
            said = f"{', '.join(map(str, given))}: there must be one of {', '.join(option['required'][0] for option in rule)}"
        case "oneOf":
            said = f"{', '.join(map(str, given))}: there must be either url, or host with protocol, port and path"
        case "not":
            said = f"{', '.join(map(str, given))}: there must be either message, or content_type with body"
    return f"{place(raw, list(error.absolute_path))}: {said}"


def place(raw: Any, path: Sequence[str | int]) -> str:
    """`services.query.routes.query.paths[0]`: what has a name goes by it."""
    told, here = "", raw
    for step in path:
        here = here[step]
        name = here.get("name") if isinstance(step, int) and isinstance(here, Mapping) else None
        told += f".{name or step}" if name or isinstance(step, str) else f"[{step}]"
    return told.lstrip(".") or "the file"


def _joined(raw: Mapping[str, Any]) -> Iterator[str]:
    """Faults that only several places together show."""
    services, upstreams = raw["services"], raw.get("upstreams", [])
    yield from _twice("services", services)
    yield from _twice("upstreams", upstreams)
    yield from _twice("routes", [route for service in services for route in service["routes"]])
    for where, plugins in scopes(raw):
        yield from _twice(f"{where}plugins", plugins)
        for plugin in plugins:
            if plugin["name"] == "rate-limiting":
                yield from _falling(f"{where}plugins.rate-limiting.config", plugin["config"])
    for service in services:
        yield from _no_upstream(service, {upstream["name"] for upstream in upstreams})
    for upstream in upstreams:
        if upstream["name"] not in {service.get("host") for service in services}:
            yield f"upstreams.{upstream['name']}: no service has this host"


def scopes(raw: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Every list of plugins, and what its place begins with."""
    yield "", raw.get("plugins", [])
    for service in raw["services"]:
        yield f"services.{service['name']}.", service.get("plugins", [])
        for route in service["routes"]:
            yield f"services.{service['name']}.routes.{route['name']}.", route.get("plugins", [])


def _twice(where: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [entry["name"] for entry in entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}.{name}: this name is there twice"


def _falling(where: str, config: Mapping[str, Any]) -> Iterator[str]:
    given = [(period, config[period]) for period in PERIODS if period in config]
    for (shorter, few), (longer, many) in itertools.pairwise(given):
        if many < few:
            yield f"{where}.{longer}: {many} is less than {few}, the limit of a {shorter}"


def _no_upstream(service: Mapping[str, Any], upstreams: set[str]) -> Iterator[str]:
    """A host without a dot that is no upstream's name is a slip of the pen, unless it says its port."""
    if "host" in service and service["host"] not in upstreams and "port" not in service:
        yield f"services.{service['name']}.host: {service['host']!r} is the name of no upstream; there are: {', '.join(sorted(upstreams)) or 'none'}"
    grpc = service.get("protocol", service.get("url", "").partition(":")[0]).startswith("grpc")
    for route in service["routes"]:
        if grpc != any(protocol.startswith("grpc") for protocol in route.get("protocols", [])):
            yield f"services.{service['name']}.routes.{route['name']}.protocols: a grpc service's routes have [grpc, grpcs], and only theirs"
