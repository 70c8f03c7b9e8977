"""What the metrics of this process say."""

from collections.abc import Callable

from prometheus_client import REGISTRY


def told(name: str, **labels: str) -> float:
    """A series' value; 0 while there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def growth(name: str, **labels: str) -> Callable[[], float]:
    """By how much a series has grown since now: other tests count in the same process."""
    before = told(name, **labels)
    return lambda: told(name, **labels) - before
