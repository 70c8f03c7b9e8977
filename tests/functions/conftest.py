"""Fixtures for the sinks' tests: a backend in place of the real one."""

from collections.abc import Iterator

import pytest

from tests.backends import GrpcBackend, HttpBackend


@pytest.fixture
def backend() -> Iterator[HttpBackend]:
    """An HTTP backend that says 204 to everything."""
    with HttpBackend() as backend:
        yield backend


@pytest.fixture
def tempo() -> Iterator[GrpcBackend]:
    """A gRPC backend that takes everything."""
    with GrpcBackend() as backend:
        yield backend
