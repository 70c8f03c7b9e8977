"""Requests right, wrong and damaged, in large numbers, at an ingest function that runs on this machine: one module a protocol, `run` and the command line."""
