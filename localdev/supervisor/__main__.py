"""`python -m localdev.supervisor`: the process behind `./task up`; runs in the foreground until SIGTERM."""

from localdev.ports import ports
from localdev.supervisor import stack
from localdev.supervisor.run import run

if __name__ == "__main__":
    run(stack.services(), ports()["SUPERVISOR_PORT"])
