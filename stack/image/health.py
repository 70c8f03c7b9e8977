"""An image's health check: exit code 0 when the function answers."""

import os
import sys
from http.client import HTTPConnection

try:
    if os.environ["FUNCTION"] == "ingest_otlp_grpc":
        port, path = os.environ["METRICS_PORT"], "/metrics"
    else:
        port, path = os.environ["PORT"], "/healthz"
    connection = HTTPConnection("127.0.0.1", int(port), timeout=4)
    connection.request("GET", path)
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"not healthy: {error}")
