"""Two houses for all tests of multi-region keys."""

from collections.abc import Iterator

import pytest
from tests.regions import Houses, two_houses


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """Two houses that are registered with each other."""
    with two_houses(tmp_path_factory.mktemp("houses")) as found:
        yield found
