"""The end of a key on a real store and token: who asked for it, the certificate, and who is let to read it."""

import dataclasses
import json
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, Core
from tests.hsmkeys import MADE, OpenedVault, plant

from strongroom.statements import verify
from strongroomd.custody.adoptions import NewAdoption
from strongroomd.custody.alarms import Alarms
from strongroomd.custody.attestation import Attestation
from strongroomd.custody.destructions import Certificates, Certifier
from strongroomd.custody.diary import Diary
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import CustodyMode, KeyRecord, VersionRecord, VersionState
from strongroomd.hsm.statements import HouseSigner

pytestmark = pytest.mark.softhsm
DAY = 86_400.0
HOUSE = f"/strongroom/eu-test-1/{ACCOUNT}"
NEIGHBOUR = Principal("arn:aws:iam::222233334444:user/neighbour", "222233334444", administrator=True)


class Rig:
    """A core with its certificates and attestations."""

    def __init__(self, core: Core) -> None:
        notary = Notary(HouseSigner(core.opened.vault), HOUSE, core.clock)
        diary = Diary(core.ledger, core.catalog, core.audit)
        self.core = core
        self.certifier = Certifier(
            core.ledger, core.catalog, core.store, core.vault, core.trail, notary, diary
        )
        self.certificates = Certificates(core.gate, core.catalog, core.ledger)
        self.attestation = Attestation(
            core.gate,
            core.catalog,
            core.ledger,
            core.store,
            core.vault,
            notary,
            HouseSigner(core.opened.vault),
            core.clock,
        )

    async def destroyed(self, mode: CustodyMode = CustodyMode.WRAPPED) -> KeyRecord:
        """Create a key, rotate it, have it destroyed, and let the leader do its work."""
        key = await self.core.create(mode)
        await self.core.keys.rotate(self.core.caller(), key.key_id)
        await self.core.keys.schedule_deletion(self.core.caller(), key.key_id, 7)
        await self.pass_days(7)
        return key

    async def pass_days(self, days: int) -> None:
        self.core.clock.pass_time(days * DAY + 1)
        await self.core.upkeep.settle()
        await self.certifier.certify()

    async def certificate(self, key_id: str) -> dict[str, Any]:
        """Read a certificate and verify it as a third party does; gives its claims."""
        stated = await self.certificates.certificate(self.core.caller(), key_id)
        return verified(self.core.opened, stated, "destruction-certificate")


def verified(opened: OpenedVault, stated: SignedStatement, kind: str) -> dict[str, Any]:
    found = verify(
        stated.payload, stated.signature.signature, opened.vault.statement_key, kind=kind, house=HOUSE
    )
    return dict(found.claims)


async def refusal_of(job: Any) -> StrongroomError:
    with pytest.raises(StrongroomError) as refusal:
        await job
    return refusal.value


@pytest.fixture
async def rig(core: Core) -> Rig:
    return Rig(core)


@pytest.fixture
async def own_rig(own_core: Core) -> Rig:
    return Rig(own_core)


@pytest.mark.parametrize("mode", MADE)
async def test_a_destroyed_key_has_a_certificate_that_third_parties_verify(
    own_rig: Rig, mode: CustodyMode
) -> None:
    rig, core = own_rig, own_rig.core
    key = await core.create(mode)
    await core.keys.rotate(core.caller(), key.key_id)
    attested = verified(
        core.opened, await rig.attestation.attest(core.caller(), key.key_id), "key-attestation"
    )
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.upkeep.checkpoint()

    await rig.pass_days(7)

    claims = await rig.certificate(key.key_id)
    assert claims["key"]["arn"].endswith(f":key/{key.key_id}")
    assert claims["key"]["custody_mode"] == mode.value
    assert claims["deletion"]["scheduled_by"].endswith(":user/admin")
    assert claims["deletion"]["scheduled"] < claims["deletion"]["due"] <= claims["deletion"]["destroyed"]
    assert [v["version"] for v in claims["versions"]] == [1, 2]
    assert [v["check_value"] for v in claims["versions"]] == [v["check_value"] for v in attested["versions"]]
    assert all(v["check_value"] for v in claims["versions"])
    end = "erased from the store" if mode is CustodyMode.WRAPPED else "seen to be gone"
    assert all(end in v["end"] for v in claims["versions"])
    assert claims["position"]["audit_checkpoint"] >= 1
    assert "Backup sets" in claims["not_covered"]
    assert core.events.counted["emitted", "strongroom.key.destruction_certified"] == 1
    assert await core.vault.list_resident() == []


async def test_the_store_keeps_the_tombstone_and_no_material_and_no_alias(rig: Rig) -> None:
    core = rig.core
    key = await core.create()
    await core.aliases.create(core.caller(), "alias/going", key.key_id)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)

    await rig.pass_days(7)

    (row,) = core.rows("SELECT * FROM versions WHERE key_id = ?", key.key_id)
    assert (row["state"], row["blob"], row["recovery_blob"]) == ("DESTROYED", b"", b"")
    assert core.rows("SELECT * FROM aliases WHERE key_id = ?", key.key_id) == []
    assert (await refusal_of(core.keys.describe(core.caller(), key.key_id))).reason is Reason.ACCESS_DENIED


async def test_an_adopted_keys_certificate_says_that_the_object_stays(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    plant(core.opened.vault, label="old-master")
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label="old-master"))
    await core.keys.schedule_deletion(core.caller(), made.key.key_id, 7)

    await rig.pass_days(7)

    claims = await rig.certificate(made.key.key_id)
    assert "stays in the token" in claims["versions"][0]["end"]


async def test_the_certificate_waits_for_an_object_that_cannot_be_seen_to_be_gone(
    own_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, core = own_rig, own_rig.core
    key = await core.create(CustodyMode.RESIDENT)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    with monkeypatch.context() as token:
        token.setattr(core.opened.vault, "usable", lambda _: False)
        await rig.pass_days(7)

        waiting = await refusal_of(rig.certificates.certificate(core.caller(), key.key_id))
        assert (waiting.reason, waiting.retry_after) == (Reason.INVALID_KEY_STATE, 10.0)
    await rig.pass_days(0)

    assert len((await rig.certificate(key.key_id))["versions"]) == 1


async def test_certifying_again_changes_nothing(rig: Rig) -> None:
    key = await rig.destroyed()
    first = await rig.certificates.certificate(rig.core.caller(), key.key_id)

    await rig.certifier.certify()

    assert await rig.certificates.certificate(rig.core.caller(), key.key_id) == first


async def test_a_key_that_an_earlier_release_scheduled_has_a_certificate_without_who(rig: Rig) -> None:
    core = rig.core
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    async with core.ledger.change() as change:
        record = await change.get(DeletionRecord, key.key_id)
        assert record is not None
        await change.delete(record)

    await rig.pass_days(7)

    deletion = (await rig.certificate(key.key_id))["deletion"]
    assert (deletion["scheduled_by"], deletion["scheduled"]) == (None, None)
    assert deletion["destroyed"]


@pytest.mark.parametrize("name", ["living", "pending", "cancelled", "never", "alias"])
async def test_what_was_not_destroyed_has_no_certificate(rig: Rig, name: str) -> None:
    core = rig.core
    key = (await core.create()).key_id
    if name in {"pending", "cancelled"}:
        await core.keys.schedule_deletion(core.caller(), key, 7)
    if name == "cancelled":
        await core.keys.cancel_deletion(core.caller(), key)
        assert await core.ledger.read(DeletionRecord, key) is None
    asked = {"never": "12345678-1234-4234-8234-123456789012", "alias": "alias/x"}.get(name, key)

    refusal = await refusal_of(rig.certificates.certificate(core.caller(), asked))

    assert (refusal.reason, refusal.field) == (Reason.NOT_FOUND, "key")


async def test_a_deletion_called_off_and_scheduled_again_names_who_did_it_last(rig: Rig) -> None:
    core = rig.core
    key = (await core.create()).key_id
    await core.keys.schedule_deletion(core.caller(), key, 7)
    await core.keys.cancel_deletion(core.caller(), key)
    core.clock.pass_time(DAY)
    await core.keys.schedule_deletion(core.caller(), key, 7)

    await rig.pass_days(6)
    assert (await core.keys.describe(core.caller(), key)).key_id == key
    await rig.pass_days(1)

    assert (await rig.certificate(key))["deletion"]["scheduled_by"].endswith(":user/admin")


async def test_another_accounts_administrator_hears_what_they_hear_of_a_key_that_never_was(rig: Rig) -> None:
    key = await rig.destroyed()
    arn = rig.core.catalog.realm.key_arn(key.key_id, key.account)
    elsewhere = rig.core.catalog.realm.key_arn(key.key_id, NEIGHBOUR.account)
    deadline = rig.core.clock.monotonic() + 60

    answers = [
        await refusal_of(rig.certificates.certificate(Caller(NEIGHBOUR, "t", deadline), name))
        for name in (key.key_id, arn, elsewhere, "12345678-1234-4234-8234-123456789012")
    ]

    assert {(each.reason, each.message) for each in answers} == {(answers[0].reason, answers[0].message)}
    assert answers[0].reason in {Reason.NOT_FOUND, Reason.ACCESS_DENIED}


async def test_who_administers_nothing_reads_no_certificate(rig: Rig) -> None:
    key = await rig.destroyed()
    nobody = Principal(f"arn:aws:iam::{ACCOUNT}:user/nobody", ACCOUNT)

    refusal = await refusal_of(
        rig.certificates.certificate(Caller(nobody, "t", rig.core.clock.monotonic() + 60), key.key_id)
    )

    assert refusal.reason is Reason.ACCESS_DENIED


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE deletions SET certificate = x'7b7d'",
        "UPDATE deletions SET signature = x'00'",
        "UPDATE deletions SET signer = 'other'",
        "UPDATE deletions SET destroyed_at = destroyed_at + 1",
        "UPDATE deletions SET account = '222233334444'",
        "UPDATE deletions SET scheduled_by = 'arn:aws:iam::111122223333:user/bob'",
        "DELETE FROM deletions",
    ],
)
async def test_a_record_that_was_edited_is_not_given_out(rig: Rig, edit: str) -> None:
    key = await rig.destroyed()
    assert rig.core.edit(edit) >= 1

    refusal = await refusal_of(rig.certificates.certificate(rig.core.caller(), key.key_id))

    assert refusal.reason is Reason.INTEGRITY_FAILURE


async def test_one_damaged_record_keeps_no_other_certificate_waiting(rig: Rig) -> None:
    core = rig.core
    damaged, sound = (await core.create()).key_id, (await core.create()).key_id
    for key in (damaged, sound):
        await core.keys.schedule_deletion(core.caller(), key, 7)
    core.clock.pass_time(7 * DAY + 1)
    await core.upkeep.settle()
    core.edit("UPDATE deletions SET scheduled_at = 1 WHERE key_id = ?", damaged)

    await rig.certifier.certify()

    assert (await rig.certificate(sound))["key"]["account"] == ACCOUNT
    assert (await refusal_of(rig.certificates.certificate(core.caller(), damaged))).reason is (
        Reason.INTEGRITY_FAILURE
    )


async def test_the_audit_log_tells_of_the_certificate(rig: Rig) -> None:
    key = await rig.destroyed()

    told = [r for r in rig.core.audited("upkeep") if r["action"] == "strongroom:CertifyDestruction"]

    assert [(r["kind"], r["outcome"]) for r in told] == [("intent", "PENDING"), ("outcome", "OK")]
    assert told[0]["key"].endswith(key.key_id)


async def test_a_key_that_is_wanted_while_it_waits_for_its_deletion_rings_the_alarm(rig: Rig) -> None:
    core = rig.core
    key = (await core.create()).key_id
    await core.keys.schedule_deletion(core.caller(), key, 7)
    assert (await refusal_of(core.keys.public_key(core.caller(), key))).reason is Reason.KEY_PENDING_DELETION

    stranger = Principal("arn:aws:iam::222233334444:user/stranger", "222233334444")
    caller = Caller(stranger, "t", core.clock.monotonic() + 60)
    assert (await refusal_of(core.keys.public_key(caller, key))).reason is Reason.ACCESS_DENIED
    await core.keys.describe(core.caller(), key)

    assert core.meter.found[f"wanted {key}"] == 1


async def test_the_alarm_is_one_event_a_minute_with_who_asked_last(rig: Rig) -> None:
    core = rig.core
    key = (await core.create()).key_id
    assert core.ledger.scribe is not None
    alarms = Alarms(core.ledger.scribe, core.store, core.clock, "node")
    for principal in ("arn:one", "arn:two"):
        alarms.wanted_while_pending(key, principal)
    await alarms.flush()
    alarms.wanted_while_pending(key, "arn:three")
    await alarms.flush()
    core.clock.pass_time(61)
    alarms.wanted_while_pending(key, "arn:four")
    await alarms.flush()
    await alarms.flush()

    rows = core.rows("SELECT subject, data FROM events WHERE type LIKE '%wanted_while%' ORDER BY position")
    assert [json.loads(row["data"]) for row in rows] == [
        {"refusals": 2, "last_principal": "arn:two"},
        {"refusals": 1, "last_principal": "arn:four"},
    ]
    assert {row["subject"] for row in rows} == {core.catalog.realm.key_arn(key, ACCOUNT)}


async def test_wrapped_versions_are_attested_by_record_and_resident_ones_by_the_token(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    wrapped, resident = await core.create(), await core.create(CustodyMode.RESIDENT)

    by_record, by_token = [
        verified(
            core.opened, await rig.attestation.attest(core.caller(), key.key_id, "n-1"), "key-attestation"
        )
        for key in (wrapped, resident)
    ]

    (first,) = by_record["versions"]
    assert (first["evidence"], first["sensitive"], first["extractable"]) == ("record", True, False)
    assert (
        first["kek"] == core.rows("SELECT kek_id FROM versions WHERE key_id = ?", wrapped.key_id)[0]["kek_id"]
    )
    assert "attributes" not in first
    (second,) = by_token["versions"]
    assert (second["evidence"], second["sensitive"], second["extractable"]) == ("token", True, False)
    assert second["attributes"] == {
        "token": True,
        "private": True,
        "sensitive": True,
        "always_sensitive": True,
        "extractable": False,
        "never_extractable": True,
        "local": True,
        "modifiable": False,
        "copyable": False,
        "destroyable": True,
        "wrap_with_trusted": False,
    }
    assert second["read_at"].endswith("Z")
    assert by_token["nonce"] == "n-1"


async def test_an_adopted_object_is_attested_as_the_token_shows_it(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    plant(core.opened.vault, label="loose", EXTRACTABLE=True, SENSITIVE=False)
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label="loose"))

    claims = verified(
        core.opened, await rig.attestation.attest(core.caller(), made.key.key_id), "key-attestation"
    )

    (version,) = claims["versions"]
    assert (version["evidence"], version["sensitive"], version["extractable"]) == ("token", False, True)
    assert claims["key"]["origin"] == "EXTERNAL_KEY_STORE"


async def test_a_missing_object_is_attested_as_missing_and_nothing_is_claimed_of_it(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    key = await core.create(CustodyMode.RESIDENT)
    async with core.ledger.change() as change:
        version = await change.get(VersionRecord, f"{key.key_id}/1")
        assert version is not None
        await change.put(dataclasses.replace(version, state=VersionState.MISSING, row_version=3))

    claims = verified(core.opened, await rig.attestation.attest(core.caller(), key.key_id), "key-attestation")

    (version_claims,) = claims["versions"]
    assert (version_claims["state"], version_claims["evidence"]) == ("MISSING", "none")
    assert (version_claims["sensitive"], version_claims["extractable"]) == (None, None)


async def test_an_object_that_is_gone_from_the_token_is_not_attested(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    key = await core.create(CustodyMode.RESIDENT)
    (held,) = await core.vault.list_resident()
    await core.vault.destroy_resident(held.hsm_id)

    refusal = await refusal_of(rig.attestation.attest(core.caller(), key.key_id))

    assert refusal.reason is Reason.KEY_UNAVAILABLE


async def test_check_values_say_same_or_other_and_are_not_what_the_store_keeps(rig: Rig) -> None:
    core = rig.core
    one, other = await core.create(), await core.create()

    async def check(key: KeyRecord) -> str:
        stated = await rig.attestation.attest(core.caller(), key.key_id)
        return str(json.loads(stated.payload)["claims"]["versions"][0]["check_value"])

    values = [await check(one), await check(one), await check(other)]
    assert values[0] == values[1] != values[2]
    kept = core.rows("SELECT check_value FROM versions WHERE key_id = ?", one.key_id)[0]["check_value"]
    assert len(bytes.fromhex(values[0])) == 8
    assert bytes.fromhex(values[0]) not in kept
    assert kept[:8] != bytes.fromhex(values[0])


async def test_who_may_not_describe_a_key_gets_no_attestation(rig: Rig) -> None:
    key = await rig.core.create()
    stranger = Principal("arn:aws:iam::222233334444:user/stranger", "222233334444")

    refusal = await refusal_of(
        rig.attestation.attest(Caller(stranger, "t", rig.core.clock.monotonic() + 60), key.key_id)
    )

    assert refusal.reason is Reason.ACCESS_DENIED


@pytest.mark.parametrize("nonce", ["x" * 129, "a\n", "☃", "\x00"])
async def test_a_nonce_is_short_printable_ascii(rig: Rig, nonce: str) -> None:
    key = await rig.core.create()

    refusal = await refusal_of(rig.attestation.attest(rig.core.caller(), key.key_id, nonce))

    assert (refusal.reason, refusal.field) == (Reason.INVALID_FIELD, "nonce")


async def test_a_statement_speaks_of_the_newest_hundred_versions(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroomd.custody.attestation.MOST_VERSIONS", 2)
    key = (await rig.core.create()).key_id
    for _ in range(3):
        await rig.core.keys.rotate(rig.core.caller(), key)

    stated = await rig.attestation.attest(rig.core.caller(), key)

    claims = verified(rig.core.opened, stated, "key-attestation")
    assert [v["version"] for v in claims["versions"]] == [3, 4]
    assert [v["current"] for v in claims["versions"]] == [False, True]
    assert claims["versions_omitted"] == 2


async def test_statement_keys_are_for_everybody_the_current_one_last(rig: Rig) -> None:
    stranger = Principal("arn:aws:iam::222233334444:user/stranger", "222233334444")

    keys = await rig.attestation.statement_keys(Caller(stranger, "t", rig.core.clock.monotonic() + 60))

    assert list(keys.values()) == [rig.core.opened.vault.statement_key]
