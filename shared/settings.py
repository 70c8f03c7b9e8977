"""Environment → typed, frozen settings. The only file that reads the environment.

A function composes the parts that it needs; a wrong or missing value ends the start with all faults named and no value printed.
"""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What every function has."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    function_name: str = "function"
    log_level: str = "INFO"
    memory_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """Bodies that one process holds at a time, as they came and decompressed; over it requests are told to come again."""


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


class Ingest(Broker, Database):
    """The ingest functions."""


class GrpcServer(Ingest):
    """The one function that serves itself."""

    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 9464


class Sessions(Database):
    """The query function: who is logged in, and where the backends are read."""

    session_secret: SecretStr = Field(min_length=32)
    session_hours: float = Field(default=12.0, gt=0)
    loki_url: str
    prom_label_proxy_url: str
    tempo_url: str
    opensearch_url: str


class LokiSink(Broker):
    """Broker for the dead letters, Loki for the rest."""

    loki_url: str


class OpenSearchSink(Broker):
    """Broker for the dead letters, OpenSearch for the rest."""

    opensearch_url: str


class PrometheusSink(Broker):
    """Broker for the dead letters, Prometheus for the rest."""

    prometheus_url: str


class TempoSink(Broker):
    """Broker for the dead letters, Tempo's OTLP/gRPC receiver (host:port) for the rest."""

    tempo_otlp_endpoint: str
