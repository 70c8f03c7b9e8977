"""A customer's program with OpenTelemetry in it: reads the modules of Python's standard library and counts their functions.

`python -m localdev.demo.program --endpoint http://127.0.0.1:4318 --run NAME --files 40`. One trace with a span for the run and two for each file, a log record
a file, and three metrics. At the end it prints what it sent as one line of JSON: `{"logs", "spans", "files", "functions", "trace_id", "ended_at"}`.
"""

import argparse
import ast
import json
import logging
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Tracer

SERVICE = "indexer"


@dataclass(frozen=True)
class Telemetry:
    """The program's three instruments."""

    tracer: Tracer
    logger: Logger
    meter: Meter


@contextmanager
def telemetry(endpoint: str, run: str) -> Iterator[Telemetry]:
    """Set OpenTelemetry up and flush it at the end."""
    resource = Resource.create({"service.name": SERVICE, "service.namespace": "demo", "service.instance.id": run})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), schedule_delay_millis=500))
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs"), schedule_delay_millis=500))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"), export_interval_millis=5000)
    metrics = MeterProvider([reader], resource=resource)
    try:
        yield Telemetry(traces.get_tracer(SERVICE), logs.get_logger(SERVICE), metrics.get_meter(SERVICE))
    finally:
        for provider in (traces, logs, metrics):
            provider.force_flush()
            provider.shutdown()


def index(files: list[Path], run: str, tools: Telemetry) -> dict[str, object]:
    """Read and parse the files; what was done and sent."""
    counted = tools.meter.create_counter("indexer.files", description="Files read.")
    found = tools.meter.create_counter("indexer.functions", description="Functions found.")
    seconds = tools.meter.create_histogram("indexer.parse", unit="s", description="Time to parse a file.")
    functions = 0
    with tools.tracer.start_as_current_span("index", attributes={"run": run, "files": len(files)}) as root:
        for number, path in enumerate(files):
            began = time.perf_counter()
            amount = index_file(path, tools.tracer)
            seconds.record(time.perf_counter() - began, {"run": run})
            counted.add(1, {"run": run})
            found.add(amount, {"run": run})
            functions += amount
            log(tools.logger, f"run {run}: file {number} {path.name} has {amount} functions", {"run": run, "file": path.name, "number": number})
    return {
        "logs": len(files),
        "spans": 2 * len(files) + 1,
        "files": len(files),
        "functions": functions,
        "trace_id": f"{root.get_span_context().trace_id:032x}",
        "ended_at": time.time(),
    }


def index_file(path: Path, tracer: Tracer) -> int:
    """How many functions are in the file."""
    span: Span
    with tracer.start_as_current_span("file", attributes={"file": path.name}) as span:
        source = path.read_text(encoding="utf-8", errors="replace")
        span.set_attribute("bytes", len(source))
        with tracer.start_as_current_span("parse"):
            tree = ast.parse(source)
        return sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def log(logger: Logger, body: str, attributes: dict[str, str | int]) -> None:
    """An INFO record, now, in the current span."""
    logger.emit(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, severity_text="INFO", body=body, attributes=attributes)


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="OTLP/HTTP endpoint, such as http://127.0.0.1:4318")
    parser.add_argument("--run", required=True, help="a name to find this run by")
    parser.add_argument("--files", type=int, default=40)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[: arguments.files]
    with telemetry(arguments.endpoint, arguments.run) as tools:
        sent = index(files, arguments.run, tools)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
