"""Key stores of the shared daemon, as AWS KMS meets them: two workers, TLS, keys in SoftHSM."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.harness import Daemon
from tests.kms import Kms, open_store

from strongroom import Client


@pytest.fixture(scope="module")
def kms(daemon: Daemon, admin: Client) -> Iterator[Kms]:
    """A store that tests call and do not change."""
    _, kms = open_store(daemon, admin)
    with closing(kms.connection):
        yield kms


@pytest.fixture
def own(daemon: Daemon, admin: Client) -> Iterator[Kms]:
    """A store of the test's own."""
    _, kms = open_store(daemon, admin)
    with closing(kms.connection):
        yield kms
