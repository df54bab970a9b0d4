"""Kill -9 at every step of ImportReplica: nothing half of a key is there, and the same bundle goes on."""

from contextlib import suppress

import pytest
from tests.failpoints import dying_at, steps
from tests.regions import THERE, Houses

from strongroom.errors import StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

NOTHING_YET = ("replica-import.1", "replica-import.2", "replica-import.3", "replica-import.4")
DONE = ("replica-import.5",)


def test_every_step_is_tried() -> None:
    assert steps("replica-import") == [*NOTHING_YET, *DONE]


@pytest.mark.parametrize("step", [*NOTHING_YET, *DONE])
def test_a_new_replica_is_there_whole_or_not_at_all(houses: Houses, step: str) -> None:
    key = houses.key()
    sealed = houses.primary.encrypt(key, b"x").ciphertext
    bundle = houses.primary.replicate_key(key, THERE)
    with dying_at(houses.there.daemon, step), suppress(StrongroomError):
        houses.bring(bundle)  # the client tries again by itself, once the worker's successor serves

    assert there(houses, key) in ({"versions": 0, "keys": 0}, {"versions": 1, "keys": 1})
    houses.deliver(bundle)
    assert there(houses, key) == {"versions": 1, "keys": 1}
    assert houses.replica.decrypt(sealed).plaintext == b"x"


@pytest.mark.parametrize("step", [*NOTHING_YET, *DONE])
def test_a_replica_follows_whole_or_not_at_all(houses: Houses, step: str) -> None:
    key = houses.replicated()
    houses.primary.rotate_key(key)
    bundle = houses.primary.get_replica_bundle(key, THERE, after_version=1)
    with dying_at(houses.there.daemon, step), suppress(StrongroomError):
        houses.bring(bundle)

    houses.deliver(bundle)
    sealed = houses.primary.encrypt(key, b"second")
    assert sealed.key_version == 2
    assert houses.replica.decrypt(sealed.ciphertext).plaintext == b"second"
    assert there(houses, key) == {"versions": 2, "keys": 1}


def there(houses: Houses, key: str) -> dict[str, int]:
    """How many rows of a key are in the other house's database."""
    return {
        table: houses.there.edit(
            f"UPDATE {table} SET record_id = record_id WHERE record_id LIKE ?", f"{key}%"
        )
        for table in ("versions", "keys")
    }
