"""The customers' side of the demo as processes: a real Collector and an instrumented program, a real Prometheus, a shipper of logs.

They are children of the demo and end with it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from localdev import backends, functions
from localdev.backends import folders
from localdev.paths import ROOT, local
from localdev.ports import listens, ports
from localdev.supervisor import launch, state

REMOTE_WRITE_1 = "prometheus.WriteRequest"
REMOTE_WRITE_2 = "io.prometheus.write.v2.Request"
STOP_SECONDS = 20.0


def otlp_endpoint() -> str:
    """Where the customer's Collector takes OTLP/HTTP."""
    return f"http://127.0.0.1:{ports()['AGENT_OTLP_PORT']}"


@contextmanager
def collector(gateway: str, token: str) -> Iterator[None]:
    """A Collector that forwards to the gateway, until the end of the block. It must be installed."""
    config = folders.render("collector/agent.yml", folders.config("collector") / "agent.yml", folders.values(OBSTACK_URL=gateway))
    with _process("agent-collector", [str(backends.collector_binary()), f"--config={config}"], {"OBSTACK_TOKEN": token}):
        _wait_for_port(ports()["AGENT_OTLP_PORT"], 30)
        yield


@contextmanager
def prometheus(gateway: str, token: str, message: str = REMOTE_WRITE_1) -> Iterator[None]:
    """A Prometheus that scrapes the pipeline and remote-writes to the gateway."""
    folder = folders.config("agent-prometheus")
    folders.make(folder)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    targets = ", ".join(f'"127.0.0.1:{function.metrics_port}"' for function in functions.catalogue())
    values = folders.values(OBSTACK_URL=gateway, TOKEN_FILE=token_file, FUNCTION_TARGETS=targets, PROTOBUF_MESSAGE=message)
    config = folders.render("prometheus/agent.yml", folder / "agent.yml", values)
    port = ports()["AGENT_PROMETHEUS_PORT"]
    command = [str(backends.prometheus_binary()), "--agent", f"--config.file={config}", f"--storage.agent.path={local() / 'data' / 'agent-prometheus'}"]
    with _process("agent-prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], {}):
        _wait_for_port(port, 30)
        yield


@contextmanager
def shipper(gateway: str, token: str) -> Iterator[None]:
    """Sends the pipeline's own logs: all that is logged within the block, and nothing from before."""
    ready = state.run_folder() / "agent-shipper.ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "localdev.demo.shipper", "--folder", str(state.log_folder()), "--gateway", gateway, "--ready", str(ready)]
    with _process("agent-shipper", command, {"OBSTACK_TOKEN": token}):
        _wait_for(ready.exists, 60, "the shipper of logs isn't ready")
        yield


def run_program(run: str, files: int) -> dict[str, Any]:
    """Run the instrumented program once through the Collector; what it says it sent."""
    command = [sys.executable, "-m", "localdev.demo.program", "--endpoint", otlp_endpoint(), "--run", run, "--files", str(files)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode:
        raise RuntimeError(f"the instrumented program failed: {result.stderr[-2000:]}")
    return dict(json.loads(result.stdout))


@contextmanager
def _process(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A child with its log beside the others'; SIGTERM and a wait at the end. It dies with us, however we end."""
    with ExitStack() as stack:
        output = stack.enter_context((state.log_folder() / f"{name}.log").open("ab"))
        child = subprocess.Popen(
            _bound(command), cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        stack.callback(_end, child)
        yield


def _bound(command: Sequence[str]) -> list[str]:
    """The command through the supervisor's launcher, which asks the kernel to end it when we die."""
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", *command]


def _wait_for_port(port: int, seconds: float) -> None:
    _wait_for(lambda: listens(port), seconds, f"nothing listens on port {port}")


def _wait_for(holds: Callable[[], bool], seconds: float, missing: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{missing} after {seconds:.0f} s; see the logs in {state.log_folder()}")
        time.sleep(0.05)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
