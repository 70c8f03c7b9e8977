#!/bin/sh
# An image's server for the function FUNCTION on HOST:PORT, as localdev/functions.py starts it on a laptop; a test compares the two.
set -eu

# Speaks HTTP/2 by a server of its own.
if [ "$FUNCTION" = ingest_otlp_grpc ]; then
    exec python -m "functions.$FUNCTION.main"
fi

sockets="--ws none"
if [ "$FUNCTION" = query ]; then
    sockets="--ws websockets-sansio --ws-max-size 4096 --ws-per-message-deflate false"
fi
# shellcheck disable=SC2086 # several words
exec uvicorn --host "$HOST" --port "$PORT" --loop uvloop --http httptools $sockets \
    --no-access-log --no-server-header --no-proxy-headers --log-level warning --timeout-graceful-shutdown 30 "functions.$FUNCTION.main:app"
