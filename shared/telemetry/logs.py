"""JSON lines on stdout, one a happening, with tenant, record and trace bound per request. Bodies, tokens and header values are never logged."""

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

tenant_id: ContextVar[str] = ContextVar("tenant_id", default="")
record_id: ContextVar[str] = ContextVar("record_id", default="")
trace_id: ContextVar[str] = ContextVar("trace_id", default="")


class _Bound(logging.Filter):
    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function

    def filter(self, record: logging.LogRecord) -> bool:
        record.function = self.function
        for name, variable in (("tenant", tenant_id), ("record", record_id), ("trace_id", trace_id)):
            if value := variable.get():
                setattr(record, name, value)
        return True


def configure(function: str, level: str) -> None:
    """Send the root logger to stdout as JSON: time, level, logger, function, message, and the tenant, record and trace at hand."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "time", "levelname": "level", "name": "logger"})
    )
    handler.addFilter(_Bound(function))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
