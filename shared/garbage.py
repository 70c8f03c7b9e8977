"""Python's search for cycles of garbage, in processes that serve requests."""

import gc


def collect_less() -> None:
    """For a process that is up: what is there stays, and requests leave hardly any cycles; looking for them every 700 objects takes a twentieth of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
