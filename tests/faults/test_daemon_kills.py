"""Workers of a daemon killed before they answer: a client of the SDK that repeats its call never notices.

Every step of every action is in test_kills.py, without doors.
"""

from collections.abc import Iterator

import pytest
from tests.failpoints import dying_at, steps, stopping
from tests.harness import Daemon, fresh_id, make_folder
from tests.imports import wrapped

from strongroom import Client, RetryPolicy
from strongroom.errors import InvalidRequest
from strongroom.results import ImportParameters
from strongroomd.domain.importing import WrappingAlgorithm

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
NEVER = "KEY_MATERIAL_DOES_NOT_EXPIRE"
PATIENT = RetryPolicy(max_attempts=12)
MATERIAL = b"\x21" * 32


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose workers die where a test says, one at a time."""
    with stopping(make_folder(tmp_path_factory.mktemp("mortal"))) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def client(mortal: Daemon) -> Iterator[Client]:
    """A client that tries again until some worker serves."""
    with mortal.client(timeout=40.0, retry=PATIENT) as client:
        yield client


@pytest.fixture
def key(client: Client) -> str:
    return client.create_key(origin="EXTERNAL").key_id


def parameters(client: Client, key: str, request_id: str | None = None) -> ImportParameters:
    return client.get_parameters_for_import(
        key, wrapping_algorithm="RSAES_OAEP_SHA_1", wrapping_key_spec="RSA_2048", request_id=request_id
    )


def bring(
    client: Client, key: str, given: ImportParameters, material: bytes = MATERIAL, kind: str = ""
) -> int:
    sent = wrapped(material, WrappingAlgorithm.RSAES_OAEP_SHA_1, given.public_key)
    made = client.import_key_material(key, given.import_token, sent, expiration_model=NEVER, import_type=kind)
    return made.material.key_version


PARAMETERS, IMPORT = steps("import-parameters")[-1:], steps("import")[-1:]
DELETE, TURN, ROTATE = steps("delete-material")[-1:], steps("rotate-imported")[-1:], steps("rotate")[-1:]


@pytest.mark.parametrize("step", PARAMETERS)
def test_parameters_that_were_answered_are_good_after_a_kill(
    mortal: Daemon, client: Client, key: str, step: str
) -> None:
    with dying_at(mortal, step):
        given = parameters(client, key)

    assert bring(client, key, given) == 1


@pytest.mark.parametrize("step", IMPORT)
def test_an_import_is_whole_or_did_not_happen_and_its_token_is_good_once(
    mortal: Daemon, client: Client, key: str, step: str
) -> None:
    given = parameters(client, key)

    with dying_at(mortal, step):
        assert bring(client, key, given) == 1

    assert client.describe_key(key).state == "ENABLED"
    assert client.decrypt(client.encrypt(key, b"x").ciphertext).plaintext == b"x"
    with pytest.raises(InvalidRequest) as caught:
        bring(client, key, given)
    assert caught.value.reason == "INVALID_IMPORT_TOKEN"
    assert len(client.list_key_versions(key).items) == 1


@pytest.mark.parametrize("step", DELETE)
def test_a_deletion_that_was_answered_happened(mortal: Daemon, client: Client, key: str, step: str) -> None:
    bring(client, key, parameters(client, key))
    sealed = client.encrypt(key, b"x").ciphertext

    with dying_at(mortal, step):
        assert client.delete_imported_key_material(key).state == "PENDING_IMPORT"

    assert client.describe_key(key).state == "PENDING_IMPORT"
    bring(client, key, parameters(client, key))
    assert client.decrypt(sealed).plaintext == b"x"


@pytest.mark.parametrize("step", ROTATE)
def test_a_rotation_is_made_once(mortal: Daemon, client: Client, step: str) -> None:
    key = client.create_key().key_id
    sealed = client.encrypt(key, b"x").ciphertext

    with dying_at(mortal, step):
        assert client.rotate_key(key).current_version == 2

    assert [found.version for found in client.list_key_versions(key).items] == [1, 2]
    assert client.get_key_rotation_status(key).on_demand_rotations == 1
    assert client.decrypt(sealed).plaintext == b"x"


@pytest.mark.parametrize("step", TURN)
def test_a_rotation_that_was_answered_happened_once(
    mortal: Daemon, client: Client, key: str, step: str
) -> None:
    bring(client, key, parameters(client, key))
    old = client.encrypt(key, b"x").ciphertext
    bring(client, key, parameters(client, key), b"\x22" * 32, kind="NEW_KEY_MATERIAL")

    with dying_at(mortal, step):
        assert client.rotate_key(key, request_id=fresh_id()).current_version == 2

    assert client.decrypt(old).plaintext == b"x"
    assert [v.pending_rotation for v in client.list_key_versions(key).items] == [False, False]
