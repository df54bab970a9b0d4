"""Adopted keys on a real token and store: who adopts what, what such a key does and refuses, and how it ends."""

import dataclasses
import json
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, ADMIN, Core, make_core
from tests.faults.test_invocations import Worker, reserved, worker
from tests.hsmkeys import OpenedVault, plant, soon
from tests.unit.custody.test_events import compliance

from strongroomd.custody import rotation
from strongroomd.custody.adoptions import Adopted, NewAdoption
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.sealing import Ciphertext
from strongroomd.domain import adoption, envelope
from strongroomd.domain.adoption import ObjectName
from strongroomd.domain.algorithms import KeySpec, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)

pytestmark = pytest.mark.softhsm
DAY = 86_400.0


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


def planted(core: Core, **more: Any) -> tuple[str, Any]:
    """Put an object into the shared token; gives its label and itself."""
    label = f"theirs-{uuid.uuid4().hex}"
    return label, plant(core.opened.vault, label, **more)


async def adopted(core: Core, **more: Any) -> Adopted:
    label, _ = planted(core, **more)
    return await core.adoptions.adopt(core.caller(), NewAdoption(label=label))


async def reason(work: Any) -> tuple[str, str]:
    with pytest.raises(StrongroomError) as caught:
        await work
    return caught.value.reason.value, caught.value.field or ""


def records(core: Core, action: str) -> list[dict[str, Any]]:
    return [
        record for who in (ADMIN.arn, "upkeep") for record in core.audited(who) if record["action"] == action
    ]


async def told(core: Core, type_: str) -> list[dict[str, Any]]:
    events = await core.store.outbox.events(0, 1_000)
    return [event.facts() for event, _ in events if event.type == f"strongroom.{type_}"]


async def at_work(core: Core, made: Adopted) -> Worker:
    mine = worker(core)
    assert await mine.decrypt(await mine.encrypt(made.key)) == b"plaintext"
    return mine


async def test_an_object_becomes_a_key_that_says_what_it_is_and_works(core: Core) -> None:
    label, _ = planted(core, cka_id=b"\xc0\xde")
    wanted = NewAdoption(label=label, description="the old vault", tags=(("team", "blue"),))

    made = await core.adoptions.adopt(core.caller(), wanted)
    await at_work(core, made)

    key, version = made.key, made.version
    assert (key.mode, key.origin, key.exportable) == (CustodyMode.ADOPTED, Origin.EXTERNAL_KEY_STORE, False)
    assert (key.custody_note, key.description, key.account) == (adoption.NOTE, "the old vault", ACCOUNT)
    assert (version.object_id, version.object_label, version.hsm_id, version.kek_id) == (
        "c0de",
        label,
        "",
        "",
    )
    assert (version.scheme, version.uses) == (Scheme.AES_GCM, "ENCRYPT,DECRYPT")
    assert [event["custody"] for event in await told(core, "key.created")] == ["ADOPTED"]
    intent, outcome = records(core, "strongroom:AdoptKey")
    assert (intent["kind"], intent["object"]) == ("intent", {"label": label})
    assert (outcome["outcome"], outcome["key"].endswith(key.key_id)) == ("OK", True)
    assert outcome["object"] == {
        "cka_id": "c0de", "label": label, "spec": "AES_256", "uses": ["ENCRYPT", "DECRYPT"], "proved": True,
        "traits": ["SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "PRIVATE", "LOCAL"],
    }  # fmt: skip
    assert key.tags == (("team", "blue"),)


async def test_what_was_sealed_opens_after_a_restart(core: Core) -> None:
    made = await adopted(core)
    sealed = await worker(core).encrypt(made.key)
    core.opened.vault._keys.clear()

    reborn = core.reborn()
    await reborn.start()
    again = await reborn.read(VersionRecord, made.version.record_id)

    assert again == made.version
    assert await worker(core, reborn).decrypt(sealed) == b"plaintext"


async def test_nobody_but_an_operator_adopts_whatever_policies_say(core: Core) -> None:
    label, _ = planted(core)
    administrator = Principal(f"arn:aws:iam::{ACCOUNT}:user/administrator", ACCOUNT, administrator=True)
    entitled, nobody = (Principal(f"arn:aws:iam::{ACCOUNT}:user/{name}", ACCOUNT) for name in ("x", "nobody"))
    await core.rooms.accounts.create(core.caller(), ACCOUNT, "")
    await core.rooms.principals.create(core.caller(), NewPrincipal(entitled.arn, "", ()))
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    everything = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await core.rooms.attachments.put_policy(core.caller(), entitled.arn, "all", everything)

    for principal in (administrator, entitled, nobody):
        caller = Caller(principal, "test", core.clock.monotonic() + 60)
        for wanted in (NewAdoption(label=label), NewAdoption(label="nothing has this name")):
            assert await reason(core.adoptions.adopt(caller, wanted)) == ("ACCESS_DENIED", "")
        if principal is not nobody:  # they may make keys: only this is not theirs
            await core.keys.create(caller, NewKey(KeySpec.SYMMETRIC_DEFAULT))


async def test_a_repeated_request_gives_the_first_answer_and_makes_nothing(core: Core) -> None:
    label, held = planted(core)
    wanted, again = NewAdoption(label=label), core.adoptions.adopt
    made = await again(core.caller(), wanted, "once")
    held.destroy()  # nothing is asked of the token any more

    assert await again(core.caller(), wanted, "once") == made
    for other in (NewAdoption(label="other"), NewAdoption(label=label, description="other")):
        assert await reason(again(core.caller(), other, "once")) == ("REQUEST_ID_REUSED", "request_id")
    assert len(core.rows("SELECT * FROM keys")) == 1


MEANINGLESS: list[tuple[NewAdoption, tuple[str, str]]] = [
    (NewAdoption(), ("INVALID_FIELD", "label")),
    (NewAdoption(cka_id="c0de", label="x"), ("INVALID_FIELD", "cka_id")),
    (NewAdoption(cka_id="c0d"), ("INVALID_FIELD", "cka_id")),
    (NewAdoption(cka_id="0xc0de"), ("INVALID_FIELD", "cka_id")),
    (NewAdoption(cka_id="c0" * 129), ("FIELD_TOO_LARGE", "cka_id")),
    (NewAdoption(label="x" * 257), ("FIELD_TOO_LARGE", "label")),
    (NewAdoption(label="a\nb"), ("INVALID_FIELD", "label")),
    (NewAdoption(label="nothing has this name"), ("NOT_FOUND", "label")),
    (NewAdoption(label="x", etag="1"), ("INVALID_FIELD", "etag")),
    (NewAdoption(label="x", policy="{"), ("MALFORMED_POLICY", "policy")),
    (NewAdoption(label="x", tags=(("aws:x", ""),)), ("INVALID_FIELD", "tags[0].key")),
]


async def test_what_cannot_be_meant_is_refused_and_leaves_nothing(core: Core) -> None:
    for wanted, refusal in MEANINGLESS:
        assert await reason(core.adoptions.adopt(core.caller(), wanted)) == refusal, wanted
    elsewhere = core.adoptions.adopt(core.caller(), NewAdoption(label="x"), token="elsewhere")
    assert await reason(elsewhere) == ("INVALID_FIELD", "token")
    new = NewKey(KeySpec.SYMMETRIC_DEFAULT, mode=CustodyMode.ADOPTED)
    assert await reason(core.keys.create(core.caller(), new)) == ("INVALID_FIELD", "custody_mode")
    assert core.rows("SELECT * FROM keys") == []


async def test_one_object_is_one_key_however_it_is_named(core: Core) -> None:
    cka_id = os.urandom(8)
    label, _ = planted(core, cka_id=cka_id)
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label=label))
    named = (NewAdoption(label=label), NewAdoption(cka_id=cka_id.hex().upper()))

    for again in named:
        assert await reason(core.adoptions.adopt(core.caller(), again)) == ("ALREADY_EXISTS", "")
    key = made.key.key_id
    for again in named:
        work = core.adoptions.adopt(core.caller(), dataclasses.replace(again, key=key))
        assert await reason(work) == ("ALREADY_EXISTS", "")


async def test_an_object_that_the_daemon_made_is_refused_even_when_its_label_was_changed(core: Core) -> None:
    key = await core.create(CustodyMode.RESIDENT)
    hsm_id = (await core.catalog.version(await core.catalog.entry(key.key_id))).record.hsm_id
    refusal = ("INVALID_FIELD", "cka_id")
    assert await reason(core.adoptions.adopt(core.caller(), NewAdoption(cka_id=hsm_id))) == refusal

    # Somebody took the object away and put one of their own under its id.
    await core.vault.destroy_resident(hsm_id)
    planted(core, cka_id=bytes.fromhex(hsm_id))
    assert await reason(core.adoptions.adopt(core.caller(), NewAdoption(cka_id=hsm_id))) == refusal


async def test_another_object_becomes_the_next_version_and_old_ciphertexts_open(core: Core) -> None:
    made = await adopted(core)
    mine = await at_work(core, made)
    old = await mine.encrypt(made.key)
    label, _ = planted(core)

    next_ = await core.adoptions.adopt(core.caller(), NewAdoption(label=label, key=made.key.key_id, etag="1"))

    assert (next_.key.key_id, next_.key.current_version, next_.version.version) == (made.key.key_id, 2, 2)
    assert next_.version.object_label == label
    assert await mine.decrypt(old) == b"plaintext"
    assert await mine.decrypt(await mine.encrypt(next_.key)) == b"plaintext"
    assert [facts["version"] for facts in await told(core, "key.rotated")] == [2]
    assert (reserved(core, made.key, 1), reserved(core, made.key, 2)) != (0, 0)


async def test_a_next_version_is_refused_where_a_rotation_would_be_and_where_it_means_something_else(
    core: Core,
) -> None:
    made, own = await adopted(core), await core.create()
    label, _ = planted(core)
    key, adopt = made.key.key_id, core.adoptions.adopt

    async def refusal(token: str = "", **fields: Any) -> tuple[str, str]:
        return await reason(adopt(core.caller(), NewAdoption(label=label, **fields), token=token))

    assert await refusal(key=own.key_id) == ("INVALID_FIELD", "key")
    assert await refusal(key=str(uuid.uuid4())) == ("ACCESS_DENIED", "")
    assert await refusal(key=key, etag="7") == ("ETAG_MISMATCH", "etag")
    assert await refusal(key=key, description="x") == ("INVALID_FIELD", "description")
    assert await refusal(key=key, policy="{}") == ("INVALID_FIELD", "policy")
    assert await refusal(key=key, tags=(("a", "b"),)) == ("INVALID_FIELD", "tags")
    core.adoptions._tokens = dataclasses.replace(core.adoptions._tokens, further=frozenset({"second"}))
    assert await refusal(key=key, token="second") == ("INVALID_FIELD", "token")
    await core.keys.disable(core.caller(), key)
    assert await refusal(key=key) == ("KEY_DISABLED", "")
    await core.keys.enable(core.caller(), key)
    other = f"arn:aws:iam::{ACCOUNT}:user/other"
    policy = {"Effect": "Allow", "Principal": {"AWS": other}, "Action": "kms:*", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    await core.keys.put_policy(core.caller(), key, text, bypass=True)
    assert await refusal(key=key) == ("ACCESS_DENIED", "")
    assert len(core.rows("SELECT * FROM versions WHERE key_id = ?", key)) == 1


async def test_the_daemon_makes_no_versions_itself(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    log = SimpleNamespace(warning=lambda _, **facts: said.append(facts), error=lambda *_, **__: None)
    monkeypatch.setattr(rotation, "_log", log)
    made = await adopted(core)
    mine = worker(core)
    await mine.encrypt(made.key, 81)

    assert (await reason(core.keys.rotate(core.caller(), made.key.key_id)))[0] == "INVALID_KEY_STATE"
    await mine.rotation.renew()

    assert mine.meter.levels == {80: 1, 90: 1}
    assert said == [{"key": made.key.key_id}]
    assert records(core, "kms:RotateKeyOnDemand")[-1]["outcome"] == "INVALID_KEY_STATE"
    assert (await core.catalog.entry(made.key.key_id)).key.current_version == 1


class Untouched:
    """A vault that fails the test if it is asked to use a key."""

    def __init__(self, vault: Any) -> None:
        self._vault = vault

    def __getattr__(self, name: str) -> Any:
        assert name not in {"seal", "open"}, "the token was asked"
        return getattr(self._vault, name)


async def test_a_use_that_the_object_lacks_is_refused_before_the_token_is_asked(core: Core) -> None:
    for uses in (("ENCRYPT",), ("DECRYPT",), ("WRAP", "UNWRAP"), ()):
        await refuses_all_but(core, uses)


async def refuses_all_but(core: Core, uses: tuple[str, ...]) -> None:
    made = await adopted(core, uses=uses)
    other = await core.create()
    mine, key, who = worker(core), made.key.key_id, core.caller
    theirs = (await mine.crypto.encrypt(who(), other.key_id, b"x")).ciphertext
    ours = envelope.header(envelope.FORMATS[Scheme.AES_GCM], key, 1) + bytes(40)
    if "ENCRYPT" in uses:
        ours = await mine.encrypt(made.key)
    crypto = mine.crypto
    crypto._sealer.vault = crypto._vault = Untouched(core.vault)
    refusals: dict[str, list[Callable[[], Any]]] = {
        "encrypt": [
            lambda: crypto.encrypt(who(), key, b"x"),
            lambda: crypto.encrypt(who(), key, b"x", dry_run=True),
            lambda: crypto.generate_data_key(who(), key, 32),
            lambda: crypto.generate_data_key_without_plaintext(who(), key, 32, dry_run=True),
            lambda: crypto.generate_data_key_pair(who(), key, KeySpec.ECC_NIST_P256),
            lambda: crypto.re_encrypt(who(), Ciphertext(theirs), key),
            lambda: mine.batches.encrypt(who(), key, [(b"x", ())]),
        ],
        "decrypt": [
            lambda: crypto.decrypt(who(), Ciphertext(ours)),
            lambda: crypto.decrypt(who(), Ciphertext(ours), dry_run=True),
            lambda: crypto.re_encrypt(who(), Ciphertext(ours), other.key_id),
        ],
    }

    for use, calls in refusals.items():
        if use.upper() not in uses:
            assert {await reason(call()) for call in calls} == {("INVALID_KEY_USAGE", "")}
    if "DECRYPT" not in uses:
        batch = await mine.batches.decrypt(who(), [Ciphertext(ours)])
        assert [getattr(result, "reason", None) for result in batch.results] == [Reason.INVALID_KEY_USAGE]
    bound = await core.catalog.version(await core.catalog.entry(key))
    assert bound.uses == set(uses)


async def test_deletion_leaves_a_tombstone_and_the_object_and_says_so(core: Core) -> None:
    label, _ = planted(core)
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label=label))
    mine = await at_work(core, made)
    sealed = await mine.encrypt(made.key)

    answer = await core.keys.schedule_deletion(core.caller(), made.key.key_id, 7)
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()

    assert "leaves the object in the token" in answer.custody_note
    end = await core.ledger.read(KeyRecord, made.key.key_id)
    version = await core.ledger.read(VersionRecord, made.version.record_id)
    assert end is not None
    assert version is not None
    assert (end.state, version.state) == (KeyState.DESTROYED, VersionState.DESTROYED)
    assert (await reason(mine.decrypt(sealed)))[0] == "ACCESS_DENIED"
    found = await core.vault.examine(ObjectName(label=label), deadline=soon())
    assert found.label == label
    assert records(core, "kms:ScheduleKeyDeletion")[-1]["object_stays_in_token"] is True
    assert records(core, "strongroom:DestroyKey")[-1]["object_stays_in_token"] is True
    for type_ in ("key.deletion_scheduled", "key.destroyed"):
        assert [facts["object_stays_in_token"] for facts in await told(core, type_)] == [True]


async def test_an_object_may_be_adopted_again_after_its_key_and_is_counted_on(core: Core) -> None:
    label, _ = planted(core)
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label=label))
    await worker(core).encrypt(made.key, 50)
    before = reserved(core, made.key)
    await core.keys.schedule_deletion(core.caller(), made.key.key_id, 7)
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()

    again = await core.adoptions.adopt(core.caller(), NewAdoption(label=label))

    assert again.key.key_id != made.key.key_id
    assert reserved(core, again.key) == before + 1
    await at_work(core, again)


async def test_upkeep_neither_misses_nor_owns_adopted_objects(core: Core) -> None:
    async def differences() -> Counter[str]:
        """What upkeep counts now: in the shared token, other tests' resident keys are orphans."""
        before = Counter(core.meter.found)
        await core.upkeep.reconcile()
        return Counter(core.meter.found) - before

    usual = await differences()
    label, held = planted(core)
    made = await core.adoptions.adopt(core.caller(), NewAdoption(label=label))
    assert await differences() == usual

    held.destroy()
    assert await differences() == usual
    await core.upkeep.settle()

    assert (await core.adoptions.version(made.key)).state is VersionState.ACTIVE
    assert (await reason(worker(core).encrypt(made.key)))[0] == "KEY_UNAVAILABLE"


async def test_compliance_notes_an_object_whose_value_can_leave(core: Core) -> None:
    await adopted(core)
    await core.create()
    loose = [await adopted(core, EXTRACTABLE=True), await adopted(core, SENSITIVE=False)]

    await compliance(core).run()

    found = await core.store.outbox.findings(after=("", ""), limit=9)
    names = {core.catalog.realm.key_arn(each.key.key_id, ACCOUNT) for each in loose}
    assert {(each.subject, each.check) for each in found} == {(n, "OBJECT_NOT_CONFINED") for n in names}


async def test_an_edited_record_of_an_object_is_not_believed(core: Core) -> None:
    made, own = await adopted(core, cka_id=os.urandom(4)), await core.create()
    edits = {
        "object_class": "PRIVATE_KEY", "object_id": "c0de", "object_label": "mine", "uses": "DECRYPT",
        "traits": "SENSITIVE", "check_value": b"", "length": 16, "token": "second",
    }  # fmt: skip

    for record_id in (made.version.record_id, f"{own.key_id}/1"):
        for column, value in edits.items():
            [row] = core.rows("SELECT * FROM versions WHERE record_id = ?", record_id)
            core.edit(f"UPDATE versions SET {column} = ? WHERE record_id = ?", value, record_id)
            work = core.ledger.read(VersionRecord, record_id)
            assert (await reason(work))[0] == "INTEGRITY_FAILURE", column
            core.edit(f"UPDATE versions SET {column} = ? WHERE record_id = ?", row[column], record_id)
        assert await core.ledger.read(VersionRecord, record_id) is not None
