"""What no house takes: bundles and receipts that are forged, altered, old, of others or for others."""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.harness import ACCOUNT, refused
from tests.regions import ALIEN, HERE, THERE, Alien, Houses, register, spelled

from strongroom import results
from strongroom.errors import StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

Claims = dict[str, Any]
Change = Callable[[Claims], object]
OTHER = "mrk-" + "5" * 32


def now(**ago: int) -> str:
    moment = datetime.now(UTC) - timedelta(**ago)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"


@pytest.fixture(scope="session")
def alien(houses: Houses) -> Iterator[Alien]:
    """A peer of the other house that says, truly signed, whatever a test wants it to."""
    alien = Alien()
    real = json.loads(houses.primary.get_peer_statement().payload)
    statement = alien.says("replica-peer", real["claims"] | {"region": ALIEN}, time=now())
    register(houses.there, statement, alien.public_key)
    yield alien
    houses.replica.remove_peer(ALIEN)


@dataclass
class Template:
    """A bundle of the first house, to be changed and signed by the alien."""

    key: str
    body: dict[str, Any]

    def by(self, alien: Alien, change: Change = lambda _: None, **envelope: Any) -> results.SignedStatement:
        claims = copy.deepcopy(self.body["claims"]) | {"source": ALIEN, "primary": ALIEN}
        change(claims)
        return alien.says("replica-bundle", claims, **{"time": now()} | envelope)


@pytest.fixture(scope="session")
def template(houses: Houses) -> Template:
    """The first bundle of a key that the other house does not have."""
    return made(houses)


def made(houses: Houses) -> Template:
    """The first bundle of a new key."""
    key = houses.key()
    houses.primary.rotate_key(key)
    bundle = houses.primary.replicate_key(key, THERE)
    return Template(key, json.loads(bundle.statement.payload))


def bring(houses: Houses, statement: results.SignedStatement) -> results.ReplicaImported:
    return houses.replica.import_replica(statement.payload, statement.signature)


def unknown(houses: Houses, key: str) -> bool:
    """Whether nothing of a key is in the other house."""
    tables = ("keys", "versions", "replica_copies")
    return all(
        houses.there.edit(f"UPDATE {t} SET record_id = record_id WHERE record_id LIKE ?", f"{key}%") == 0
        for t in tables
    )


def flipped(text: str) -> str:
    """Base64 text with one bit of its last byte changed."""
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def versions(change: Change) -> Change:
    """Change the last version of a bundle."""
    return lambda claims: change(claims["versions"][-1])


ALTERED: dict[str, tuple[Change, str, str]] = {
    "for another region": (lambda c: c.update(target="local-7"), "INVALID_FIELD", "bundle"),
    "of another account": (lambda c: c.update(account="999988887777"), "INVALID_FIELD", "bundle"),
    "of a region without a peer": (lambda c: c.update(source="local-8"), "NOT_FOUND", "bundle"),
    "of a house that has not the primary": (lambda c: c.update(primary="local-8"), "INVALID_FIELD", "bundle"),
    "with this house as the primary of a key that it never had": (
        lambda c: c.update(primary=THERE), "INVALID_FIELD", "bundle",
    ),
    "that begins in the middle": (
        lambda c: c.update(after=1, versions=c["versions"][1:]), "INVALID_FIELD", "bundle",
    ),
    "without a version": (lambda c: c.update(versions=[]), "INVALID_FIELD", "bundle"),
    "with a version twice": (lambda c: c["versions"].append(c["versions"][-1]), "INVALID_FIELD", "bundle"),
    "whose versions go down": (lambda c: c["versions"].reverse(), "INVALID_FIELD", "bundle"),
    "whose current version is not in it": (lambda c: c.update(current_version=9), "INVALID_FIELD", "bundle"),
    "with a key id that is none": (lambda c: c.update(key_id="mrk-xyz"), "INVALID_FIELD", "bundle"),
    "with the id of a key of one region": (
        lambda c: c.update(key_id="0bd1c72d-2ab3-4b42-8d9e-8b2f6c0c0000"), "INVALID_FIELD", "bundle",
    ),
    "with a spec that does not go with the usage": (lambda c: c.update(spec="HMAC_256"), "INVALID_FIELD", "bundle"),
    "at another level": (lambda c: c.update(level="host"), "INVALID_FIELD", "bundle"),
    "with a claim too many": (lambda c: c.update(more=1), "INVALID_FIELD", "bundle"),
    "with a claim too few": (lambda c: c.pop("term"), "INVALID_FIELD", "bundle"),
    "with a number as text": (lambda c: c.update(term="1"), "INVALID_FIELD", "bundle"),
    "with base64 that is none": (versions(lambda v: v.update(blob="*")), "INVALID_FIELD", "bundle"),
    "with an altered copy": (versions(lambda v: v.update(blob=flipped(v["blob"]))), "INVALID_CIPHERTEXT", ""),
    "with a copy that is cut off": (
        versions(lambda v: v.update(blob=base64.b64encode(base64.b64decode(v["blob"])[:512]).decode())),
        "INVALID_CIPHERTEXT", "",
    ),
    "wrapped to another pair": (versions(lambda v: v.update(pair="0" * 64)), "NOT_FOUND", "pair"),
    "with another check value": (
        versions(lambda v: v.update(check_value=flipped(v["check_value"]))), "INCORRECT_KEY_MATERIAL", "",
    ),
    "with the material of another version": (
        lambda c: c["versions"][1].update(blob=c["versions"][0]["blob"]), "INCORRECT_KEY_MATERIAL", "",
    ),
    "with a symmetric key's material as a MAC key's": (
        lambda c: c.update(spec="HMAC_256", usage="GENERATE_VERIFY_MAC"), "INVALID_CIPHERTEXT", "",
    ),
    "with a sealed key's material as one that may leave": (
        lambda c: c.update(exportable=True, quorum=1), "INVALID_CIPHERTEXT", "",
    ),
    "with a key's material as another key's": (lambda c: c.update(key_id=OTHER), "INVALID_CIPHERTEXT", ""),
    "with a key's material under another protection": (lambda c: c.update(quorum=2), "INVALID_CIPHERTEXT", ""),
    "that encrypts otherwise": (versions(lambda v: v.update(scheme="AES_GCM")), "UNSUPPORTED_BY_TOKEN", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", ALTERED)
def test_a_bundle_is_refused(houses: Houses, alien: Alien, template: Template, what: str) -> None:
    change, reason, field = ALTERED[what]

    with refused(reason, field):
        bring(houses, template.by(alien, change))

    assert unknown(houses, template.key)
    assert unknown(houses, OTHER)


def test_the_alien_is_believed_otherwise_so_that_these_refusals_mean_something(
    houses: Houses, alien: Alien
) -> None:
    template = made(houses)

    done = bring(houses, template.by(alien))

    assert (done.key.key_id, done.newest_version) == (template.key, 2)


@pytest.mark.parametrize(
    ("envelope", "field"),
    [
        ({"time": now(days=8)}, "bundle"),
        ({"time": now(days=-1)}, "bundle"),
        ({"house": f"/strongroom/{HERE}/{ACCOUNT}"}, "bundle"),
        ({"kind": "replica-receipt"}, "bundle"),
        ({"format": "strongroom.statement.v2"}, "bundle"),
    ],
)
def test_a_bundle_in_another_envelope_is_refused(
    houses: Houses, alien: Alien, template: Template, envelope: dict[str, Any], field: str
) -> None:
    with refused("INVALID_FIELD", field):
        bring(houses, template.by(alien, **envelope))


def test_a_forged_bundle_is_refused(houses: Houses, template: Template) -> None:
    forger = Alien()  # not the registered one
    with refused("NOT_FOUND", "bundle"):
        bring(houses, template.by(forger, lambda c: c.update(source="local-3")))
    with refused("INVALID_SIGNATURE", "signature"):
        bring(houses, forger.signed(spelled(template.body)))
    with refused("INVALID_FIELD", "bundle"):
        bring(houses, forger.signed(spelled(template.body) + b" "))


@pytest.mark.parametrize("place", [10, 200, -3])
def test_a_bundle_of_which_a_byte_was_changed_is_refused(houses: Houses, place: int) -> None:
    key = houses.key()
    statement = houses.primary.replicate_key(key, THERE).statement
    payload = bytearray(statement.payload)
    payload[place] ^= 1

    with pytest.raises(StrongroomError) as caught:
        houses.replica.import_replica(bytes(payload), statement.signature)

    assert caught.value.reason in {"INVALID_FIELD", "INVALID_SIGNATURE", "NOT_FOUND"}
    assert unknown(houses, key)


SAID_OTHERWISE: dict[str, Change] = {
    "spec": lambda c: c.update(spec="HMAC_256", usage="GENERATE_VERIFY_MAC"),
    "exportable": lambda c: c.update(exportable=True),
    "quorum": lambda c: c.update(quorum=2),
    "created": lambda c: c.update(created_at=c["created_at"] + 1),
}


@pytest.mark.parametrize("what", SAID_OTHERWISE)
def test_what_a_key_is_never_changes(houses: Houses, alien: Alien, what: str) -> None:
    template = made(houses)
    bring(houses, template.by(alien))

    with refused("INVALID_FIELD", "bundle"):
        bring(houses, template.by(alien, SAID_OTHERWISE[what]))


def test_an_older_bundle_is_refused(houses: Houses) -> None:
    key = houses.key()
    old = houses.primary.replicate_key(key, THERE)
    houses.deliver(old)
    houses.primary.rotate_key(key)
    houses.sync(key)

    with refused("INVALID_FIELD", "bundle"):
        houses.bring(old)

    assert houses.replica.describe_key(key).current_version == 2


def test_another_peer_does_not_speak_for_the_primary(houses: Houses, alien: Alien) -> None:
    key = houses.replicated()
    claims = json.loads(houses.primary.get_replica_bundle(key, THERE).statement.payload)["claims"]

    for change in (
        {"source": ALIEN},
        {"source": ALIEN, "primary": ALIEN},
        {"source": ALIEN, "primary": ALIEN, "term": 2},
        {"source": ALIEN, "primary": THERE, "term": 2},
        {"source": ALIEN, "versions": [*claims["versions"], claims["versions"][0] | {"version": 2}]},
    ):
        statement = alien.says("replica-bundle", claims | change, time=now())
        with suppress(StrongroomError):  # the first says only who has the primary, and changes nothing
            bring(houses, statement)

    found = houses.replica.describe_key(key)
    assert found.multi_region is not None
    assert (found.multi_region.primary_region, found.current_version) == (HERE, 1)


def test_the_primarys_house_takes_no_bundle_for_its_own_key(houses: Houses) -> None:
    key = houses.replicated()
    alien = Alien()
    claims = json.loads(houses.primary.get_replica_bundle(key, THERE).statement.payload)["claims"]
    real = json.loads(houses.replica.get_peer_statement().payload)["claims"]
    register(houses.here, alien.says("replica-peer", real | {"region": ALIEN}, time=now()), alien.public_key)

    mine = claims | {"source": ALIEN, "primary": ALIEN, "target": HERE, "term": 2}
    statement = alien.says("replica-bundle", mine, time=now())
    with refused("INVALID_KEY_STATE"):
        houses.primary.import_replica(statement.payload, statement.signature)
    houses.primary.remove_peer(ALIEN)


# --- at the primary


def test_only_a_primary_is_replicated(houses: Houses) -> None:
    plain, replica = houses.primary.create_key().key_id, houses.replicated()

    with refused("INVALID_KEY_STATE"):
        houses.primary.replicate_key(plain, THERE)
    with refused("INVALID_KEY_STATE"):
        houses.replica.replicate_key(replica, HERE)
    with refused("INVALID_KEY_STATE"):
        houses.replica.update_primary_region(replica, "local-3")
    with refused("INVALID_KEY_STATE"):
        houses.primary.update_primary_region(plain, THERE)


def test_one_replica_in_a_region(houses: Houses) -> None:
    key = houses.replicated()

    with refused("ALREADY_EXISTS", "region"):
        houses.primary.replicate_key(key, THERE)


@pytest.mark.parametrize("region", ["local-3", HERE])
def test_a_region_without_a_peer_is_refused(houses: Houses, region: str) -> None:
    with refused("NOT_FOUND", "region"):
        houses.primary.replicate_key(houses.key(), region)


@pytest.mark.parametrize("region", ["", "Local-2", "local_2", "x" * 33])
def test_a_region_that_is_none_is_refused(houses: Houses, region: str) -> None:
    with refused("INVALID_FIELD", "region"):
        houses.primary.replicate_key(houses.key(), region)


def test_a_disabled_key_is_not_replicated(houses: Houses) -> None:
    key = houses.key()
    houses.primary.disable_key(key)

    with refused("KEY_DISABLED"):
        houses.primary.replicate_key(key, THERE)


def test_versions_from_before_the_peer_are_named(houses: Houses) -> None:
    key = houses.key()
    assert houses.here.edit("DELETE FROM replica_copies WHERE key_id = ?", key) == 1
    with refused("INTEGRITY_FAILURE"):  # the journal knows better
        houses.primary.replicate_key(key, THERE)
    alien = Alien()
    real = json.loads(houses.replica.get_peer_statement().payload)["claims"]
    older = houses.key()
    register(houses.here, alien.says("replica-peer", real | {"region": ALIEN}, time=now()), alien.public_key)

    with pytest.raises(StrongroomError, match="version 1 was made before the peer") as caught:
        houses.primary.replicate_key(older, ALIEN)
    assert (caught.value.reason, caught.value.field) == ("INVALID_KEY_STATE", "region")
    houses.primary.remove_peer(ALIEN)


def test_a_replica_that_is_behind_gets_no_primary(houses: Houses) -> None:
    key = houses.key()
    houses.primary.replicate_key(key, THERE)
    with refused("INVALID_KEY_STATE"):
        houses.primary.update_primary_region(key, THERE)
    other = houses.replicated()
    houses.primary.rotate_key(other)
    with refused("INVALID_KEY_STATE"):
        houses.primary.update_primary_region(other, THERE)
    with refused("NOT_FOUND", "region"):
        houses.primary.update_primary_region(other, "local-3")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"origin": "EXTERNAL"}, "origin"),
        ({"custody_mode": "RESIDENT"}, "custody_mode"),
    ],
)
def test_keys_that_could_have_no_replica_are_refused(
    houses: Houses, wanted: dict[str, Any], field: str
) -> None:
    with refused("INVALID_FIELD", field):
        houses.primary.create_key(multi_region=True, **wanted)


def test_a_spec_that_the_token_does_not_wrap_is_refused_by_its_mechanism(houses: Houses) -> None:
    with pytest.raises(StrongroomError, match="CKM_AES_KEY_WRAP_PAD") as caught:
        houses.primary.create_key(multi_region=True, spec="ECC_NIST_EDWARDS25519")
    assert caught.value.reason == "UNSUPPORTED_BY_TOKEN"


# --- receipts


def test_receipts_of_others_are_refused(houses: Houses) -> None:
    key, other = houses.replicated(), houses.replicated()
    houses.primary.rotate_key(key)
    forger = Alien(THERE)
    claims = {"key_id": key, "account": ACCOUNT, "region": THERE, "newest": 2, "check_value": "AAAA"}
    true = houses.bring(houses.primary.get_replica_bundle(other, THERE)).receipt

    for statement, reason in (
        (forger.says("replica-receipt", claims, time=now()), "INVALID_SIGNATURE"),
        (forger.says("replica-receipt", claims | {"region": "local-3"}, time=now()), "NOT_FOUND"),
        (forger.says("replica-receipt", claims | {"newest": 0}, time=now()), "INVALID_FIELD"),
        (forger.says("replica-bundle", claims, time=now()), "INVALID_FIELD"),
        (true, "INVALID_FIELD"),  # of another key
    ):
        with refused(reason):
            houses.primary.acknowledge_replica(key, statement.payload, statement.signature)
    assert houses.primary.describe_key(key).current_version == 1


@pytest.fixture
def follower(houses: Houses) -> Iterator[Alien]:
    """A peer of the first house that acknowledges, truly signed, whatever a test wants it to."""
    alien = Alien()
    real = json.loads(houses.replica.get_peer_statement().payload)["claims"]
    register(houses.here, alien.says("replica-peer", real | {"region": ALIEN}, time=now()), alien.public_key)
    yield alien
    with suppress(StrongroomError):
        houses.primary.remove_peer(ALIEN)


def first_check(bundle: results.ReplicaBundle) -> str:
    """The check value of the first version in a bundle."""
    found: str = json.loads(bundle.statement.payload)["claims"]["versions"][0]["check_value"]
    return found


def acknowledge(houses: Houses, by: Alien, key: str, newest: int, check: str) -> results.Key:
    """Take a receipt of the alien's."""
    claims = {"key_id": key, "account": ACCOUNT, "region": ALIEN, "newest": newest, "check_value": check}
    statement = by.says("replica-receipt", claims, time=now())
    return houses.primary.acknowledge_replica(key, statement.payload, statement.signature)


def test_a_receipt_of_another_version_of_the_same_number_is_refused(houses: Houses, follower: Alien) -> None:
    key = houses.key()
    first = first_check(houses.primary.replicate_key(key, ALIEN))
    houses.primary.rotate_key(key)

    for newest, check in ((1, flipped(first)), (2, first), (3, first), (1, "")):
        with refused("INCORRECT_KEY_MATERIAL", "receipt"):
            acknowledge(houses, follower, key, newest, check)
    assert acknowledge(houses, follower, key, 1, first).current_version == 1


# --- handing over


def test_the_primary_stays_while_any_replica_is_behind(houses: Houses, follower: Alien) -> None:
    key = houses.replicated()
    first = first_check(houses.primary.replicate_key(key, ALIEN))

    with refused("INVALID_KEY_STATE"):  # it could get what it lacks neither here nor there
        houses.primary.update_primary_region(key, THERE)

    acknowledge(houses, follower, key, 1, first)
    given = houses.primary.update_primary_region(key, THERE)
    assert {each.region for each in given} == {THERE, ALIEN}


def test_the_primary_is_not_given_to_a_house_that_is_no_peer_any_more(
    houses: Houses, follower: Alien
) -> None:
    key = houses.key()
    acknowledge(houses, follower, key, 1, first_check(houses.primary.replicate_key(key, ALIEN)))
    houses.primary.remove_peer(ALIEN)

    with refused("NOT_FOUND", "region"):
        houses.primary.update_primary_region(key, ALIEN)

    found = houses.primary.describe_key(key).multi_region
    assert found is not None
    assert (found.type, found.primary_region) == ("PRIMARY", HERE)


# --- receipts, once more


def test_a_receipt_from_before_the_replica_counts_for_nothing(houses: Houses) -> None:
    key = houses.key()
    done = houses.deliver(houses.primary.replicate_key(key, THERE))
    houses.primary.remove_replica(key, THERE)

    with refused("NOT_FOUND", "receipt"):
        houses.primary.acknowledge_replica(key, done.receipt.payload, done.receipt.signature)


# --- peers


def test_a_peer_needs_approval_of_exactly_this(houses: Houses) -> None:
    alien = Alien("local-4")
    real = json.loads(houses.primary.get_peer_statement().payload)["claims"]
    statement = alien.says("replica-peer", real | {"region": "local-4"}, time=now())
    given = (statement.payload, statement.signature, alien.public_key)
    admin = houses.here.admin

    with refused("APPROVAL_REQUIRED", "approval_id"):
        admin.register_peer(*given, "")
    asked = admin.ask_peer(*given, purpose="x")
    with refused("APPROVAL_REQUIRED", "approval_id"):
        admin.register_peer(*given, asked.approval_id)
    other = Alien("local-4")
    forged = other.says("replica-peer", real | {"region": "local-4"}, time=now())
    approval = houses.here.agreed(asked)
    with refused("APPROVAL_MISMATCH", "approval_id"):
        admin.register_peer(forged.payload, forged.signature, other.public_key, approval)
    assert [peer.region for peer in admin.list_peers()] == [THERE]
    assert {name for name, _ in asked.parameters.items()} == {
        "region", "house", "replica_key_sha256", "statement_key_sha256",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "key", "reason", "field"),
    [
        ({"region": HERE}, None, "INVALID_FIELD", "statement"),
        ({"region": "Local"}, None, "INVALID_FIELD", "statement"),
        ({"level": "host", "more": 1}, None, "INVALID_FIELD", "statement"),
        ({"replica_key": "AAAA"}, None, "INVALID_FIELD", "statement"),
        ({}, b"no key", "INVALID_FIELD", "statement_key"),
    ],
)
def test_a_statement_that_is_no_peers_is_refused(
    houses: Houses, claims: Claims, key: bytes | None, reason: str, field: str
) -> None:
    alien = Alien("local-5")
    real = json.loads(houses.replica.get_peer_statement().payload)["claims"]
    statement = alien.says("replica-peer", real | claims, time=now())
    given = (statement.payload, statement.signature, key or alien.public_key)

    if claims.get("region") == HERE:  # refused when it is registered: who asks may not know the region yet
        asked = houses.here.agreed(houses.primary.ask_peer(*given, purpose="x"))
        with refused(reason, field):
            houses.primary.register_peer(*given, asked)
        return
    with refused(reason, field):
        houses.primary.ask_peer(*given, purpose="x")


def test_a_removed_peer_gets_nothing_and_says_nothing(
    houses: Houses, alien: Alien, template: Template
) -> None:
    with refused("NOT_FOUND", "region"):
        houses.replica.remove_peer("local-3")
    stranger = Alien("local-6")
    with refused("NOT_FOUND", "bundle"):
        bring(houses, template.by(stranger, lambda c: c.update(source="local-6", primary="local-6")))
