"""Recipes that put the real broker, database and backends on a bare machine: only Python, pip and a network are asked for.

`versions` holds every pin; `component` the cache; `tools` what comes from PyPI; `maven` and `go_build` the two ways to get servers; `kafka`, `opensearch`,
`postgres` and `servers` (those in Go) the recipes.
"""
