"""`python -m localdev.trigger`: calls the event functions of stack/functions.yml for each record of their topics, as KafkaSource does in a cluster."""

import uvloop

from localdev import functions, topics
from localdev.ports import ports
from localdev.trigger.run import run
from shared.telemetry import logs

if __name__ == "__main__":
    logs.configure("trigger", "INFO")
    uvloop.run(run(functions.catalogue(), topics.bootstrap_servers(), ports()["TRIGGER_PORT"]))
