"""Ports of the stack: `stack/ports.env`, each overridden by an environment variable of its name, all moved by `OBSTACK_PORT_OFFSET`. And free ones."""

import os
import socket

from localdev.paths import STACK


def ports() -> dict[str, int]:
    """Name (`KAFKA_PORT`) → port number.

    An address (`GATEWAY_PORT=tcp://10.0.0.1:8080`) isn't meant for us: Kubernetes sets one for each Service in a pod's namespace.
    Raises ValueError naming the variable when a value is not a port number.
    """
    offset = int(os.environ.get("OBSTACK_PORT_OFFSET", "0"))
    found: dict[str, int] = {}
    for line in (STACK / "ports.env").read_text().splitlines():
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        given = os.environ.get(name)
        port = int(given) if given and "://" not in given else int(value) + offset
        if not 0 < port < 65536:
            raise ValueError(f"{name}={port} is not a port number")
        found[name] = port
    return found


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does, on this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
