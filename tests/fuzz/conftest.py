"""How much is tried: little and the same each time, or as much as OBSTACK_FUZZ_EXAMPLES says, at random."""

import os

from hypothesis import HealthCheck, settings

# The machine may be slow; a fixture is one for all examples of a test, as it is meant to be.
_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]

settings.register_profile("every-time", derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=_FINE)
settings.load_profile("every-time")
if examples := os.environ.get("OBSTACK_FUZZ_EXAMPLES"):
    settings.register_profile("long", database=None, deadline=None, max_examples=int(examples), suppress_health_check=_FINE)
    settings.load_profile("long")
