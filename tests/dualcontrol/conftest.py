"""One daemon for all tests of approvals and export; its workers can be told where to die."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.failpoints import stopping
from tests.harness import make_folder
from tests.people import Cast, configure, gathered


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """A daemon and people who are enrolled."""
    folder = make_folder(tmp_path_factory.mktemp("house"), edit=configure)
    with stopping(folder) as daemon, gathered(daemon) as cast:
        yield cast


@pytest.fixture(scope="session")
def recipient() -> rsa.RSAPrivateKey:
    """Whom keys leave for."""
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture(scope="session")
def spki(recipient: rsa.RSAPrivateKey) -> bytes:
    """The recipient's public half."""
    return recipient.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
