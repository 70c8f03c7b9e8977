"""A trigger for one function: `trigger.py BROKER GROUP TOPIC FUNCTION_PORT IN_FLIGHT STATUS_PORT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import uvloop

from localdev.functions import Function, Trigger
from localdev.trigger.run import run
from shared.telemetry import logs

if __name__ == "__main__":
    broker, group, topic, port, in_flight, status_port = sys.argv[1:]
    logs.configure("trigger", "INFO")
    uvloop.run(run([Function("sink_test", int(port), (), Trigger((topic,), group, int(in_flight)))], broker, int(status_port)))
