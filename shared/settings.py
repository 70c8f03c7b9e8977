"""Environment → typed, frozen settings. The only file that reads the environment.

A function composes the parts that it needs; a wrong or missing value ends the start with all faults named and no secret printed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from shared.contract import Flag, Switch


def _one_of(flag: Flag) -> Callable[[Any], Switch]:
    def check(value: Any) -> Switch:
        if value not in flag.values:
            raise ValueError(f"{value!r:.40} is none of {', '.join(flag.values)}")  # shown, unlike other settings' values: it can't be a secret
        return Switch(value)

    return check


Taking = Annotated[Switch, BeforeValidator(_one_of(Flag.INGEST))]
"""Default of an ingest function's flag."""
Writing = Annotated[Switch, BeforeValidator(_one_of(Flag.SINK_LOKI))]
"""Default of a sink's flag, whichever."""


def _url(value: str) -> str:
    where = urlsplit(value)
    if value and (where.scheme not in {"http", "https"} or not where.hostname):
        raise ValueError("a URL with http:// or https:// and a host is allowed")  # its value isn't shown: it may have a password
    where.port  # noqa: B018 raises ValueError when it is none
    return value


MaybeUrl = Annotated[str, AfterValidator(_url)]
"""A URL, or empty."""
Url = Annotated[str, Field(min_length=1), AfterValidator(_url)]


def faults(error: ValidationError) -> str:
    """What is wrong with which settings, by the names that the environment has: for whoever reads why a start ended.

    Values aren't shown, but a switch's, and short ones where a number or one of some words should be: no secret is as short as those.
    """
    return "; ".join(map(_told, error.errors()))


def _told(fault: ErrorDetails) -> str:
    message, name = fault["msg"].removeprefix("Value error, "), ".".join(map(str, fault["loc"])).upper()
    if fault["type"] in _HARMLESS and len(value := str(fault["input"])) <= _SHORT:
        message = f"{value!r}: {message}"
    return f"{name}: {message}" if name else message


_HARMLESS: Final = frozenset({"int_parsing", "float_parsing", "greater_than", "greater_than_equal", "less_than", "less_than_equal", "literal_error"})
"""pydantic's words for a number that isn't one, or isn't in its bounds, and for a word that is none of those allowed."""
_SHORT: Final = 16


MOUNTED = Path("/var/openfaas/secrets")
"""Where OpenFaaS puts a function's secrets, a file each; it has no other way to give one."""


class Mounted(SecretsSettingsSource):
    """Secrets as files, named as OpenFaaS takes names: `database-url`."""

    @classmethod
    def find_case_path(cls, dir_path: Path, file_name: str, case_sensitive: bool) -> Path | None:
        """A setting's file."""
        return super().find_case_path(dir_path, file_name.replace("_", "-"), case_sensitive)


class Settings(BaseSettings):
    """What every function has."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the library's names
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then OpenFaaS' files where there are any."""
        return (init_settings, env_settings, *((Mounted(settings_cls, MOUNTED),) if MOUNTED.is_dir() else ()))

    function_name: str = "function"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    obstack_version: str = "dev"
    """The image's."""
    memory_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """Bodies that one process holds at a time, as they came and decompressed; over it requests are told to come again."""
    otel_exporter_otlp_endpoint: MaybeUrl = ""
    """Where spans of our own go, by OTLP/HTTP: usually this pipeline itself. Empty: none are made."""
    otel_exporter_otlp_headers: SecretStr = SecretStr("")
    """With the token of the platform's own tenant, as OpenTelemetry has it: `authorization=Bearer%20obs_…`."""
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """How many of the requests leave spans."""
    platform_tenant_id: str = ""
    """The platform's own tenant: it gets these spans, its own requests leave none, and its admins have the operators' view. Without it nobody has."""


class Broker(Settings):
    """Functions that publish."""

    kafka_bootstrap_servers: str
    publish_timeout_seconds: float = Field(default=8.0, gt=0)
    """Until a record must be acknowledged by all in-sync replicas; below the 10 s after which common clients give up."""


class Database(Settings):
    """Functions that know tenants."""

    database_url: SecretStr
    token_ttl_seconds: float = Field(default=30.0, gt=0, le=30.0)
    """How long a token's answer is believed without asking again."""
    token_stale_seconds: float = Field(default=3600.0, ge=0)
    """How long a known token goes on while the database is away."""
    limits_storage_url: SecretStr | None = None
    """Where instances count a tenant's requests together (`redis://…`, `valkey://…`); without it each counts for itself."""


class Switched(Settings):
    """Functions that flags switch."""

    flags_seconds: float = Field(default=5.0, gt=0, le=7.0)
    """Between two looks at the flags; with the 3 s that an answer may take no flag is older than 10."""


class Ingest(Broker, Database, Switched):
    """The ingest functions."""

    ingest: Taking = Switch.ON


class GrpcServer(Ingest):
    """The one function that serves itself."""

    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 9464


class Sessions(Database):
    """The query function: who is logged in, and where the backends are read."""

    session_secret: SecretStr = Field(min_length=32)
    session_hours: float = Field(default=12.0, gt=0)
    reads_per_tenant: int = Field(default=20, gt=0)
    """Reads of one tenant under way at the same time in each instance."""
    tails_per_tenant: int = Field(default=10, gt=0)
    """The same of tails."""
    read_days: float = Field(default=31.0, gt=0)
    """Longest time range of one read."""
    loki_url: Url
    prom_label_proxy_url: Url
    tempo_url: Url
    opensearch_url: Url
    operations_prometheus_url: MaybeUrl = ""
    """The Prometheus that scrapes the pipeline itself, for that view; it is not the customers' store."""


class Sink(Broker, Switched):
    """Broker for the dead letters, a backend for the rest."""

    database_url: SecretStr | None = None
    """Where its flag is; without it the setting alone says what the sink does."""

    backend_timeout_seconds: float = Field(default=5.0, gt=0)
    """Until the backend must have answered a request; a slow one is asked again later, so that it doesn't hold the function's connections."""


class LokiSink(Sink):
    """Loki."""

    loki_url: Url
    loki_writes: Writing = Switch.ON


class OpenSearchSink(Sink):
    """OpenSearch."""

    opensearch_url: Url
    opensearch_writes: Writing = Switch.ON


class OpenSearchSetup(Settings):
    """OpenSearch's set-up; ages in days, counted from the end of an index's period."""

    opensearch_url: Url
    opensearch_warm_days: int = Field(default=8, ge=1)
    """Later than the oldest records that ingest takes (7 days): what is merged should be complete."""
    opensearch_delete_days: int = Field(default=30, ge=2)
    opensearch_warm_nodes: str = Field(default="", pattern=r"^(\w+=\w+)?$")
    """Where warm indices move to: nodes with this attribute, as `temp=warm`; empty: they stay."""

    @model_validator(mode="after")
    def _in_order(self) -> "OpenSearchSetup":
        if self.opensearch_warm_days >= self.opensearch_delete_days:
            raise ValueError("OPENSEARCH_WARM_DAYS must be less than OPENSEARCH_DELETE_DAYS")
        return self


class PrometheusSink(Sink):
    """Prometheus, or whoever else takes remote_write and OTLP."""

    prometheus_url: Url
    prometheus_writes: Writing = Switch.ON


class TempoSink(Sink):
    """Tempo's OTLP/gRPC receiver (host:port)."""

    tempo_otlp_endpoint: str
    tempo_writes: Writing = Switch.ON
    tempo_wal_seconds: float = Field(default=0.0, ge=0, le=10)
    """How long after its yes a single Tempo has the spans in its log, flush checks and a margin: only then is an event answered. 0: not waited for,
    where several ingesters have each span."""
    tempo_url: MaybeUrl = ""
    """Needed when that is waited for: Tempo's HTTP, for `/metrics`."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> "TempoSink":
        if self.tempo_wal_seconds and not self.tempo_url:
            raise ValueError("TEMPO_WAL_SECONDS needs TEMPO_URL")
        return self


class ObjectStore(Settings):
    """S3, or what speaks its protocol: the dead letters and the archive, in one bucket."""

    s3_bucket: str
    s3_endpoint_url: MaybeUrl = ""
    """Empty: Amazon's own."""
    s3_timeout_seconds: float = Field(default=5.0, gt=0)
    aws_region: str = "us-east-1"
    aws_access_key_id: SecretStr | None = None
    """Without key and secret: the role that the platform gives the function."""
    aws_secret_access_key: SecretStr | None = None


class SinkUrls(Settings):
    """Whoever calls sinks by their names."""

    sink_urls: dict[str, Url] | Annotated[str, Field(pattern=r"^https?://.*\{sink\}")]
    """JSON, `{"sink_loki": "http://…"}`, or one for all in which `{sink}` stands for the name with hyphens: `http://{sink}.telemetry.svc.cluster.local`."""

    def sink_url(self, sink: str) -> str:
        """A sink's; empty for one that isn't among them."""
        return self.sink_urls.get(sink, "") if isinstance(self.sink_urls, dict) else self.sink_urls.replace("{sink}", sink.replace("_", "-"))


class Replay(ObjectStore, SinkUrls):
    """Dead letters to their sinks again."""

    replay_seconds: float = Field(default=20.0, gt=0)
    """After which a tick sends no further letter."""
    replay_timeout_seconds: float = Field(default=30.0, gt=0)
    """Until a sink must have answered."""


class ArchiveSink(Sink, ObjectStore):
    """The archive."""

    archive_writes: Writing = Switch.ON
