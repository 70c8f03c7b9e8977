"""Ships the pipeline's own logs as a customer's: follows the log files of a folder and sends each new line by OTLP, with a span for each round.

`OBSTACK_TOKEN=… python -m localdev.demo.shipper --folder .local/logs --gateway http://127.0.0.1:8000 --ready FILE`, until SIGTERM. Only logs of our own
programs are followed, from where they end at the start: the backends' are long and would tell little. FILE is made as soon as that is settled: what is logged
from then on is sent.
"""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from localdev import functions
from shared.contract import OTLP_PREFIX, TOKEN_HEADER

ROUND_SECONDS = 1.0
SERVICE = "log-shipper"
_SEVERITIES = {"DEBUG": SeverityNumber.DEBUG, "INFO": SeverityNumber.INFO, "WARNING": SeverityNumber.WARN, "ERROR": SeverityNumber.ERROR}


class Follower:
    """One growing file, from where it ends now; from its beginning if it isn't there yet, and again when it was cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """Whole lines that came since the last call."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._position:
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                read = file.read(1_000_000)
                self._position = file.tell()
        except FileNotFoundError:
            return
        *whole, self._rest = (self._rest + read).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


class Shipper:
    """Reads all files once a round, sends what is new."""

    def __init__(self, folder: Path, gateway: str, token: str) -> None:
        names = [function.name for function in functions.catalogue()] + ["gateway", "trigger", "supervisor"]
        self._followers = [Follower(folder / f"{name}.log") for name in names]
        headers = {TOKEN_HEADER: token}
        resource = Resource.create({"service.name": SERVICE})
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{gateway}{OTLP_PREFIX}/v1/traces", headers=headers), schedule_delay_millis=500))
        self._tracer = self._traces.get_tracer(SERVICE)
        self._logs: dict[str, LoggerProvider] = {}
        for name in names:
            self._logs[name] = LoggerProvider(resource=Resource.create({"service.name": name, "service.namespace": "obstack"}))
            exporter = OTLPLogExporter(f"{gateway}{OTLP_PREFIX}/v1/logs", headers=headers)
            self._logs[name].add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=200))

    def round(self) -> None:
        """Send what came since the last round."""
        with self._tracer.start_as_current_span("round") as span:
            sent = 0
            for follower in self._followers:
                logger = self._logs[follower.path.stem].get_logger(SERVICE)
                for line in follower.lines():
                    send(logger, line, follower.path.name)
                    sent += 1
            span.set_attribute("lines", sent)

    def close(self) -> None:
        """Flush."""
        self._traces.shutdown()
        for provider in self._logs.values():
            provider.shutdown()


def send(logger: Logger, line: str, file: str) -> None:
    """A line as a log record; a JSON line of ours gives severity and message."""
    try:
        fields = json.loads(line)
        body, level = str(fields["message"]), str(fields.get("level", "INFO"))
    except (ValueError, KeyError, TypeError):
        fields, body, level = {}, line, "INFO"
    attributes = {str(name): str(value) for name, value in fields.items() if name not in {"message", "level", "time", "tenant"}}
    logger.emit(
        timestamp=time.time_ns(),
        severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
        severity_text=level,
        body=body,
        attributes={"log.file.name": file, **attributes},
    )


def main() -> None:
    """Ship until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--ready", type=Path, required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    shipper = Shipper(arguments.folder, arguments.gateway, os.environ["OBSTACK_TOKEN"])
    arguments.ready.touch()
    while not stop.wait(ROUND_SECONDS):
        shipper.round()
    shipper.close()


if __name__ == "__main__":
    main()
