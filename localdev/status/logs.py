"""The last trouble in a service's log, as one line. Our own programs log JSON, of which warnings count too; of the backends' many forms, errors alone."""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

TAIL_BYTES = 128 * 1024
"""So much of a log's end is looked at."""
_MOST = 300
_OURS = frozenset({"WARNING", "ERROR", "CRITICAL"})
_THEIRS = re.compile(r"\blevel=(?:error|fatal)\b|\[(?:ERROR|FATAL)\s*\]|\] (?:ERROR|FATAL) |\b(?:ERROR|FATAL|PANIC):  ")
"""logfmt (Loki, Prometheus, Tempo), log4j (OpenSearch, Kafka), PostgreSQL."""
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Failure|PortTaken)\b: ?.+")
"""What a traceback says: Python's last line, Java's first, below a line of the log."""
_WHEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)?( ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?")
_SAYS = re.compile(r'\b(?:msg|message|err|error)=("(?:[^"\\]|\\.)*"|\S+)')


@dataclass(frozen=True)
class LastError:
    """`at`: seconds since 1970, None where the line has no time; `message`: one line, cut at 300 characters."""

    at: float | None
    level: str
    message: str


def last_error(log: Path) -> LastError | None:
    """The last one in the log's end, None when there is none or no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    raised = ""
    for line in reversed(lines):
        if found := _read(line):
            return replace(found, message=f"{found.message}: {raised}"[:_MOST]) if raised else found
        if raised and (at := _when(line)):
            return LastError(at, "ERROR", raised)  # it came after something else was logged
        if _RAISED.match(line):
            raised = line[:_MOST]
    return LastError(None, "ERROR", raised) if raised else None


def _read(line: str) -> LastError | None:
    if line.startswith("{"):
        return _ours(line)
    if found := _THEIRS.search(line):
        says = [said[1:-1].replace('\\"', '"') if said.startswith('"') else said for said in _SAYS.findall(line)]
        return LastError(_when(line), "ERROR", (": ".join(says) or line[found.end() :].lstrip(" ]"))[:_MOST])
    return None


def _ours(line: str) -> LastError | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    level = str(fields.get("level", "")).upper()
    if level not in _OURS:
        return None
    # An exception's own words are the last line of its traceback.
    raised = str(fields.get("exc_info") or "").strip().rpartition("\n")[2]
    message = ": ".join(filter(None, (str(fields.get("message", "")), raised, str(fields.get("error") or "")))).replace("\n", " ")
    return LastError(_when(str(fields.get("time", ""))), level, message[:_MOST])


def _when(text: str) -> float | None:
    """The line's time; without a zone it is this machine's."""
    found = _WHEN.search(text)
    if not found:
        return None
    zone = (found[3] or "").strip()
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{'+00:00' if zone in {'Z', 'UTC', 'GMT'} else zone}").timestamp()
    except ValueError:
        return None
