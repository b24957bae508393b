"""The toy family and source are known to these tests alone."""

from collections.abc import Iterator

import pytest

from tests.engine.training import toy


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    """Registered for one module."""
    with toy.registered():
        yield
