"""Grafana's dashboards, made of the short descriptions in stack/grafana/source: those are what people read and change, the JSON is what Grafana loads."""
