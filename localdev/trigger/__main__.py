"""`python -m localdev.trigger`: calls the event functions of stack/functions.yml for each record of their topics, as KafkaSource does in a cluster.

In a container SINK_URLS says where they are (shared/settings.py), KAFKA_BOOTSTRAP_SERVERS where the broker is, and HOST where to listen.
"""

import os
from dataclasses import replace

import uvloop

from localdev import functions, topics, where
from localdev.functions import Function
from localdev.ports import ports
from localdev.trigger.run import run
from shared.telemetry import logs


def called() -> list[Function]:
    """What there is to call, and where. Raises Failure when SINK_URLS isn't as it should be."""
    rows = [function for function in functions.catalogue() if function.trigger or function.every]
    return [replace(function, elsewhere=where.sink_url(function)) for function in rows] if os.environ.get("SINK_URLS") else rows


if __name__ == "__main__":
    logs.configure("trigger", "INFO")
    broker = where.bootstrap_servers() if os.environ.get("SINK_URLS") else topics.bootstrap_servers()
    uvloop.run(run(called(), broker, ports()["TRIGGER_PORT"], os.environ.get("HOST", "127.0.0.1")))
