"""A stand-in for a server: answers 200 on a port, may have workers in its process group that hold the port too, may ignore SIGTERM, may crash."""

import argparse
import http.server
import os
import signal
import socket
import sys
import time


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--worker", action="store_true", help="a child that inherits the listening socket")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--crash", action="store_true")
    parser.add_argument("--note", help="append a line to this file at start and at SIGTERM")
    arguments = parser.parse_args()
    if arguments.crash:
        sys.exit("no configuration: SETTING is missing")
    server = http.server.HTTPServer(("127.0.0.1", arguments.port), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.server_bind()
    server.server_activate()
    if arguments.worker and os.fork() == 0:
        time.sleep(3600)

    def note(event: str) -> None:
        if arguments.note:
            with open(arguments.note, "a") as file:  # noqa: PTH123
                file.write(f"{event} {arguments.port}\n")

    def stop(*_: object) -> None:
        note("stop")
        if not arguments.ignore_term:
            os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    note("start")
    server.serve_forever()


if __name__ == "__main__":
    main()
