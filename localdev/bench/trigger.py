"""`python -m localdev.bench.trigger NAME…`: the stack's trigger, for these functions alone."""

import sys

import uvloop

from localdev import functions, topics
from localdev.ports import ports
from localdev.trigger.run import run
from shared.telemetry import logs

if __name__ == "__main__":
    logs.configure("trigger", "INFO")
    chosen = [function for function in functions.catalogue() if function.name in sys.argv[1:]]
    uvloop.run(run(chosen, topics.bootstrap_servers(), ports()["TRIGGER_PORT"]))
