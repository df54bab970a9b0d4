"""One key in two houses: what is shared, what is each house's own, rotation, and handing the primary over."""

import json
from datetime import UTC, datetime

import pytest
from tests.harness import refused
from tests.people import Cast
from tests.regions import HERE, THERE, Alien, Houses, register

from strongroom import results

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

CONTEXT = {"tenant": "7"}
SIGNING = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
]
MACS = ["HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"]


def test_a_key_is_one_key_in_two_regions(houses: Houses) -> None:
    key = houses.replicated(description="here")

    one, other = houses.primary.describe_key(key), houses.replica.describe_key(key)

    assert key.startswith("mrk-")
    assert len(key) == 36
    assert one.arn.replace(HERE, THERE) == other.arn
    assert one.multi_region is not None
    assert other.multi_region is not None
    assert (one.multi_region.type, other.multi_region.type) == ("PRIMARY", "REPLICA")
    assert one.multi_region.primary_arn == other.multi_region.primary_arn == one.arn
    assert [(each.arn, each.acknowledged_version) for each in one.multi_region.replicas] == [(other.arn, 1)]
    assert (one.created_time, one.spec, one.usage) == (other.created_time, other.spec, other.usage)
    assert other.description == ""  # each house's own


def test_what_one_house_encrypts_the_other_decrypts(houses: Houses) -> None:
    key = houses.replicated()
    sealed = houses.primary.encrypt(key, b"from here", context=CONTEXT).ciphertext
    back = houses.replica.encrypt(key, b"from there", context=CONTEXT).ciphertext

    assert houses.replica.decrypt(sealed, context=CONTEXT).plaintext == b"from here"
    assert houses.primary.decrypt(back, context=CONTEXT).plaintext == b"from there"
    with refused("INVALID_CIPHERTEXT"):
        houses.replica.decrypt(sealed, context={"tenant": "8"})


@pytest.mark.parametrize("spec", SIGNING)
def test_what_one_house_signs_the_other_verifies(houses: Houses, spec: str) -> None:
    key = houses.replicated(spec=spec, usage="SIGN_VERIFY")
    algorithm = houses.primary.describe_key(key).signing_algorithms[0]

    for one, other in ((houses.primary, houses.replica), (houses.replica, houses.primary)):
        signature = one.sign(key, b"m", algorithm=algorithm).signature
        assert other.verify(key, b"m", signature, algorithm=algorithm).key_version == 1
    assert houses.primary.get_public_key(key).public_key == houses.replica.get_public_key(key).public_key


@pytest.mark.parametrize("spec", MACS)
def test_both_houses_make_the_same_macs(houses: Houses, spec: str) -> None:
    key = houses.replicated(spec=spec)

    assert houses.primary.generate_mac(key, b"m").mac == houses.replica.generate_mac(key, b"m").mac


def test_rsa_decryption_and_agreement_are_the_same_too(houses: Houses) -> None:
    rsa = houses.replicated(spec="RSA_2048", usage="ENCRYPT_DECRYPT")
    agree = houses.replicated(spec="ECC_NIST_P384", usage="KEY_AGREEMENT")
    peer = houses.primary.get_public_key(
        houses.primary.create_key(spec="ECC_NIST_P384", usage="KEY_AGREEMENT").key_id
    ).public_key
    sealed = houses.primary.encrypt(rsa, b"x", algorithm="RSAES_OAEP_SHA_256").ciphertext

    opened = houses.replica.decrypt(sealed, key=rsa, algorithm="RSAES_OAEP_SHA_256")
    assert opened.plaintext == b"x"
    secrets = [each.derive_shared_secret(agree, peer).secret for each in (houses.primary, houses.replica)]
    assert secrets[0] == secrets[1]


def test_an_exportable_key_stays_exportable_and_protected(houses: Houses) -> None:
    key = houses.replicated(exportable=True, quorum=3, policy=houses.here.policy())

    found = houses.replica.describe_key(key)

    assert (found.exportable, found.quorum) == (True, 3)
    assert houses.primary.generate_data_key(key).ciphertext


def test_policy_alias_tags_and_state_are_each_houses_own(houses: Houses) -> None:
    key = houses.key(tags={"team": "red"})
    policy = houses.there.policy("bob")
    houses.deliver(
        houses.primary.replicate_key(key, THERE), policy=policy, description="there", tags={"team": "blue"}
    )
    houses.replica.create_alias("alias/only-there", key)
    houses.replica.disable_key(key)

    assert houses.primary.encrypt(key, b"x").ciphertext
    with refused("KEY_DISABLED"):
        houses.replica.encrypt("alias/only-there", b"x")
    with refused("ACCESS_DENIED"):
        houses.primary.describe_key("alias/only-there")
    assert houses.replica.get_key_policy(key).policy == policy
    assert houses.primary.get_key_policy(key).policy != policy
    assert dict(houses.replica.list_tags(key).tags) == {"team": "blue"}
    assert dict(houses.primary.list_tags(key).tags) == {"team": "red"}
    assert houses.replica.describe_key(key).description == "there"


def test_the_same_bundle_again_changes_nothing_and_gives_the_receipt_again(houses: Houses) -> None:
    key = houses.key()
    bundle = houses.primary.replicate_key(key, THERE)
    first = houses.bring(bundle)
    before = houses.there.row("keys", key), houses.there.row("versions", f"{key}/1")

    again = houses.bring(bundle, policy=houses.there.policy("bob"), description="ignored")

    assert (houses.there.row("keys", key), houses.there.row("versions", f"{key}/1")) == before
    assert (again.key, again.newest_version) == (first.key, 1)
    houses.primary.acknowledge_replica(key, again.receipt.payload, again.receipt.signature)


# --- rotation


def test_a_new_version_waits_until_the_replica_has_it(houses: Houses) -> None:
    key = houses.replicated()

    waiting = houses.primary.rotate_key(key)
    assert waiting.current_version == 1
    assert houses.primary.encrypt(key, b"x").key_version == 1
    houses.bring(houses.primary.get_replica_bundle(key, THERE, after_version=1))  # its receipt is lost
    assert houses.primary.describe_key(key).current_version == 1
    assert houses.replica.encrypt(key, b"x").key_version == 1

    houses.deliver(houses.primary.get_replica_bundle(key, THERE))
    sealed = houses.primary.encrypt(key, b"second")
    assert sealed.key_version == 2
    assert houses.replica.decrypt(sealed.ciphertext).plaintext == b"second"

    houses.bring(houses.primary.get_replica_bundle(key, THERE))
    assert houses.replica.describe_key(key).current_version == 2
    back = houses.replica.encrypt(key, b"from there")
    assert (back.key_version, houses.primary.decrypt(back.ciphertext).plaintext) == (2, b"from there")


def test_what_was_encrypted_before_a_rotation_opens_everywhere(houses: Houses) -> None:
    key = houses.replicated()
    old = houses.primary.encrypt(key, b"old").ciphertext
    houses.primary.rotate_key(key)
    houses.sync(key)

    assert houses.replica.decrypt(old).plaintext == b"old"
    assert [each.version for each in houses.replica.list_key_versions(key).items] == [1, 2]


def test_one_version_waits_at_a_time(houses: Houses) -> None:
    key = houses.replicated()
    houses.primary.rotate_key(key)

    with refused("INVALID_KEY_STATE"):
        houses.primary.rotate_key(key)


def test_without_its_last_replica_a_waiting_version_becomes_current(houses: Houses) -> None:
    key = houses.replicated()
    houses.primary.rotate_key(key)

    assert houses.primary.remove_replica(key, THERE).current_version == 2
    with refused("NOT_FOUND", "region"):
        houses.primary.get_replica_bundle(key, THERE)


def test_a_replica_is_not_rotated_and_knows_the_schedule(houses: Houses) -> None:
    key = houses.key()
    houses.primary.enable_key_rotation(key, rotation_period_days=100)
    houses.deliver(houses.primary.replicate_key(key, THERE))

    assert houses.replica.get_key_rotation_status(key).rotation_period_days == 100
    for refuse in (
        lambda: houses.replica.rotate_key(key),
        lambda: houses.replica.enable_key_rotation(key, rotation_period_days=200),
        lambda: houses.replica.disable_key_rotation(key),
    ):
        with refused("INVALID_KEY_STATE"):
            refuse()


# --- handing over


def test_the_primary_is_handed_over_and_back(houses: Houses) -> None:
    key = houses.replicated()
    (bundle,) = houses.primary.update_primary_region(key, THERE)
    assert kinds(houses, key) == ("REPLICA", "REPLICA")
    for house in (houses.primary, houses.replica):
        with refused("INVALID_KEY_STATE"):
            house.rotate_key(key)

    assert houses.bring(bundle).key.multi_region is not None
    assert kinds(houses, key) == ("REPLICA", "PRIMARY")
    assert houses.bring(bundle).key.key_id == key  # once more, it changes nothing
    houses.replica.rotate_key(key)
    there = Houses(houses.there, houses.here)
    there.deliver(houses.replica.get_replica_bundle(key, HERE))
    sealed = houses.replica.encrypt(key, b"second primary")
    assert sealed.key_version == 2
    assert houses.primary.decrypt(sealed.ciphertext).plaintext == b"second primary"

    there.bring(houses.replica.get_replica_bundle(key, HERE))
    (back,) = houses.replica.update_primary_region(key, HERE)
    there.bring(back)
    assert kinds(houses, key) == ("PRIMARY", "REPLICA")
    assert houses.primary.rotate_key(key).current_version == 2  # it waits for the replica


def test_bundles_that_were_lost_in_a_hand_over_are_given_again(houses: Houses) -> None:
    key = houses.replicated()
    houses.primary.update_primary_region(key, THERE)

    (again,) = houses.primary.update_primary_region(key, THERE)

    houses.bring(again)
    assert kinds(houses, key) == ("REPLICA", "PRIMARY")


def kinds(houses: Houses, key: str) -> tuple[str, str]:
    found = [house.describe_key(key).multi_region for house in (houses.primary, houses.replica)]
    one, other = (each.type if each else "" for each in found)
    return one, other


# --- the primary's house is lost


def moved(houses: Houses, at: Cast, key: str, region: str) -> results.Key:
    asked = at.admin.ask_lost_primary(key, region, purpose="the first house burnt down")
    return at.admin.move_lost_primary(key, region, at.agreed(asked))


def test_a_lost_primary_is_moved_and_the_lost_house_follows_when_it_is_back(houses: Houses) -> None:
    key = houses.replicated()
    old = houses.primary.encrypt(key, b"before").ciphertext
    houses.primary.rotate_key(key)  # this version waits, and is lost with the house
    stale = houses.primary.get_replica_bundle(key, THERE)

    moved(houses, houses.there, key, THERE)
    assert houses.replica.rotate_key(key).current_version == 3  # 2 was the lost house's number
    sealed = houses.replica.encrypt(key, b"after").ciphertext
    with refused("INVALID_KEY_STATE"):
        houses.bring(stale)

    moved(houses, houses.here, key, THERE)  # the lost house is back
    assert kinds(houses, key) == ("REPLICA", "PRIMARY")
    Houses(houses.there, houses.here).deliver(houses.replica.replicate_key(key, HERE))
    assert houses.primary.decrypt(sealed).plaintext == b"after"
    assert houses.primary.decrypt(old).plaintext == houses.replica.decrypt(old).plaintext == b"before"


def test_a_house_that_got_what_waited_in_the_lost_one_follows_another(houses: Houses) -> None:
    lost = Alien("local-7")
    real = json.loads(houses.replica.get_peer_statement().payload)["claims"]
    card = lost.says("replica-peer", real | {"region": lost.region}, time=now())
    register(houses.there, card, lost.public_key)
    key = houses.key()
    houses.primary.replicate_key(key, THERE)
    houses.primary.rotate_key(key)  # version 2 waits, and stands for the lost house's
    claims = json.loads(houses.primary.get_replica_bundle(key, THERE).statement.payload)["claims"]
    said = {"source": lost.region, "primary": lost.region, "replicas": {HERE: 1}}
    bundle = lost.says("replica-bundle", claims | said, time=now())
    assert houses.replica.import_replica(bundle.payload, bundle.signature).newest_version == 2
    houses.replica.remove_peer(lost.region)

    for region in (THERE, HERE):  # as if it had been the lost house's replica, too
        moved(houses, houses.here, key, region)
    moved(houses, houses.there, key, HERE)
    houses.deliver(houses.primary.replicate_key(key, THERE))
    houses.primary.rotate_key(key)
    houses.sync(key)

    sealed = houses.primary.encrypt(key, b"x")
    assert sealed.key_version == 3
    assert houses.replica.decrypt(sealed.ciphertext).plaintext == b"x"
    (handed,) = houses.primary.update_primary_region(key, THERE)
    houses.bring(handed)
    Houses(houses.there, houses.here).deliver(houses.replica.get_replica_bundle(key, HERE))
    for house in (houses.primary, houses.replica):
        assert [each.version for each in house.list_key_versions(key).items] == [1, 2, 3]


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def test_moving_a_lost_primary_needs_approval_of_exactly_this(houses: Houses) -> None:
    key, other = houses.replicated(), houses.replicated()
    there = houses.there.admin
    with refused("APPROVAL_REQUIRED", "approval_id"):
        there.move_lost_primary(key, THERE, "")
    asked = there.ask_lost_primary(key, THERE, purpose="x")
    with refused("APPROVAL_REQUIRED", "approval_id"):
        there.move_lost_primary(key, THERE, asked.approval_id)
    approval = houses.there.agreed(asked)
    with refused("APPROVAL_MISMATCH", "approval_id"):
        there.move_lost_primary(other, THERE, approval)
    there.move_lost_primary(key, THERE, approval)
    with refused("INVALID_KEY_STATE"):  # it is there already
        there.move_lost_primary(key, THERE, approval)


@pytest.mark.parametrize(("region", "reason"), [("local-3", "NOT_FOUND"), (HERE, "INVALID_KEY_STATE")])
def test_a_primary_is_moved_to_known_houses_only(houses: Houses, region: str, reason: str) -> None:
    key = houses.replicated()
    asked = houses.replica.ask_lost_primary(key, region, purpose="x")
    approval = houses.there.agreed(asked)
    with refused(reason):
        houses.replica.move_lost_primary(key, region, approval)
    plain = houses.replica.create_key().key_id
    with refused("INVALID_KEY_STATE"):
        houses.replica.move_lost_primary(plain, THERE, approval)


# --- the end


def test_a_primary_with_replicas_is_not_deleted(houses: Houses) -> None:
    key = houses.replicated()

    with refused("INVALID_KEY_STATE"):
        houses.primary.schedule_key_deletion(key, pending_window_days=7)

    houses.replica.schedule_key_deletion(key, pending_window_days=7)
    houses.primary.remove_replica(key, THERE)
    assert houses.primary.schedule_key_deletion(key, pending_window_days=7).state == "PENDING_DELETION"


# --- what is written down


def test_the_audit_log_names_the_level_and_the_region(houses: Houses) -> None:
    key = houses.key()
    done = houses.deliver(houses.primary.replicate_key(key, THERE))

    houses.there.audited("ImportReplica", "OK", key=done.key.arn, level="token", source=HERE)
    found = houses.primary.list_audit_records(action="kms:ReplicateKey", outcome="OK", page_size=1000).items
    records = [json.loads(each.canonical_json) for each in found]
    (mine,) = [record for record in records if record["key"].endswith(key)]
    assert (mine["replica_region"], mine["level"], mine["versions"]) == (THERE, "token", [1])


def test_an_attestation_says_for_which_pairs_a_key_was_wrapped(houses: Houses) -> None:
    key = houses.replicated()
    pair = next(peer for peer in houses.primary.list_peers() if peer.region == THERE).replica_key_sha256

    said = json.loads(houses.primary.get_key_attestation(key).payload)["claims"]["key"]

    assert (said["multi_region"], said["primary_region"]) == ("PRIMARY", HERE)
    assert {"region": THERE, "replica_key_sha256": pair} in said["wrapped_for"]
    plain = houses.primary.create_key().key_id
    assert "wrapped_for" not in json.loads(houses.primary.get_key_attestation(plain).payload)["claims"]["key"]


def test_a_destroyed_replica_does_not_come_back(houses: Houses) -> None:
    key = houses.replicated()
    bundle = houses.primary.get_replica_bundle(key, THERE)
    houses.replica.schedule_key_deletion(key, pending_window_days=7)

    with refused("KEY_PENDING_DELETION"):
        houses.bring(bundle)
