"""Objects that were in the token before us, on a real SoftHSM: found, read, proved, used, and left as they are."""

import dataclasses
import os
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from tests.hsmkeys import OpenedVault, adopt, altered, make, plant, soon

from strongroomd.domain.adoption import ObjectName, Trait, Use
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import handles, loads
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.packing import pack

pytestmark = pytest.mark.softhsm
A = Attribute
SHOWN = (
    A.CLASS, A.KEY_TYPE, A.ID, A.LABEL, A.TOKEN, A.PRIVATE, A.SENSITIVE, A.EXTRACTABLE, A.ALWAYS_SENSITIVE,
    A.NEVER_EXTRACTABLE, A.LOCAL, A.MODIFIABLE, A.ENCRYPT, A.DECRYPT, A.SIGN, A.VERIFY, A.WRAP, A.UNWRAP, A.DERIVE,
    A.VALUE_LEN, A.ALLOWED_MECHANISMS,
)  # fmt: skip


def name() -> str:
    """A label that no other test uses: the token is shared."""
    return f"theirs-{uuid.uuid4().hex}"


async def refused(vault: TokenVault, reason: Reason, field: str, **named: str) -> str:
    with pytest.raises(StrongroomError) as caught:
        await vault.examine(ObjectName(**named), deadline=soon())
    assert (caught.value.reason, caught.value.field) == (reason, field)
    return caught.value.message


async def unavailable(vault: TokenVault, key: BoundVersion) -> str:
    with pytest.raises(StrongroomError) as caught:
        await vault.seal(key, b"x", b"", deadline=soon())
    assert caught.value.reason is Reason.KEY_UNAVAILABLE
    return str(caught.value.detail)


async def works(vault: TokenVault, key: BoundVersion) -> None:
    sealed = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
    assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"plaintext"


def attributes(held: Any) -> dict[Attribute, object]:
    return {each: held.get_attributes([each]).get(each) for each in SHOWN}


@pytest.mark.parametrize("by", ["label", "cka_id"])
async def test_an_object_is_found_by_label_or_id_used_and_left_as_it_was(vault: TokenVault, by: str) -> None:
    label, cka_id = name(), os.urandom(8)
    held = plant(vault, label, cka_id)
    before = attributes(held)

    key = await adopt(vault, **{by: {"label": label, "cka_id": cka_id.hex()}[by]})
    await works(vault, key)
    vault.forget(key.key_id)
    await works(vault, key)
    vault.forget(key.key_id)
    vault._keys.clear()

    assert (key.record.object_id, key.record.object_label) == (cka_id.hex(), label)
    assert key.uses == {Use.ENCRYPT, Use.DECRYPT}
    assert attributes(held) == before


# NIST's GCM test vectors (CAVP, gcmEncryptExtIV256, with a 96-bit IV), as McGrew and Viega's test case 16.
GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_PLAINTEXT = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_CIPHERTEXT = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)
GCM_TAG = bytes.fromhex("76fc6ece0f4e1768cddf8853bb2d551b")


async def test_published_aes_gcm_vector_opens_and_our_ciphertext_opens_elsewhere(vault: TokenVault) -> None:
    label = name()
    plant(vault, label, value=GCM_KEY)
    key = await adopt(vault, label=label)

    theirs = GCM_IV + GCM_CIPHERTEXT + GCM_TAG
    assert await vault.open(key, theirs, GCM_AAD, deadline=soon()) == GCM_PLAINTEXT
    ours = await vault.seal(key, b"from the token", b"aad", deadline=soon())
    assert AESGCM(GCM_KEY).decrypt(ours[:12], ours[12:], b"aad") == b"from the token"
    with pytest.raises(StrongroomError) as caught:
        await vault.open(key, altered(theirs, 40), GCM_AAD, deadline=soon())
    assert caught.value.reason is Reason.INVALID_CIPHERTEXT


GOOD = {Trait.SENSITIVE, Trait.ALWAYS_SENSITIVE, Trait.NEVER_EXTRACTABLE, Trait.PRIVATE, Trait.LOCAL}
WARNED = "others who can log in"


@pytest.mark.parametrize(
    ("more", "traits", "warnings"),
    [
        ({}, GOOD, []),
        ({"EXTRACTABLE": True}, GOOD - {Trait.NEVER_EXTRACTABLE} | {Trait.EXTRACTABLE}, ["extractable", 'not "never']),
        ({"SENSITIVE": False}, GOOD - {Trait.SENSITIVE, Trait.ALWAYS_SENSITIVE}, ["not sensitive"]),
        ({"PRIVATE": False}, GOOD - {Trait.PRIVATE}, ["not private"]),
        ({"value": bytes(range(32))}, {Trait.SENSITIVE, Trait.PRIVATE}, ['not "never', "not made inside"]),
        ({"uses": ("ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE")}, GOOD, ["may wrap", "may unwrap", "may derive"]),
        ({"uses": ()}, GOOD, ["no check value"]),
    ],
)  # fmt: skip
async def test_how_an_object_is_kept_is_reported_and_warned_of(
    vault: TokenVault, more: dict[str, Any], traits: set[Trait], warnings: list[str]
) -> None:
    label = name()
    plant(vault, label, **more)

    found = await vault.examine(ObjectName(label=label), deadline=soon())

    assert (found.spec, found.object_class, set(found.traits)) == ("AES_256", "SECRET_KEY", traits)
    said = found.warnings()
    assert len(said) == len(warnings) + 1
    assert all(text.startswith(begin) for text, begin in zip(said, [*warnings, WARNED], strict=True))


async def test_what_is_not_there_and_what_is_there_twice_is_refused(vault: TokenVault) -> None:
    label, cka_id = name(), os.urandom(4)
    await refused(vault, Reason.NOT_FOUND, "label", label=label)
    await refused(vault, Reason.NOT_FOUND, "cka_id", cka_id=cka_id.hex())
    for _ in range(2):
        plant(vault, label, cka_id)

    assert "2" in await refused(vault, Reason.INVALID_FIELD, "label", label=label)
    assert "2" in await refused(vault, Reason.INVALID_FIELD, "cka_id", cka_id=cka_id.hex())


async def test_two_of_one_label_are_told_apart_by_id_and_each_is_found_again(vault: TokenVault) -> None:
    label, ids = name(), [os.urandom(4), os.urandom(4)]
    for cka_id in ids:
        plant(vault, label, cka_id)
    one, other = [await adopt(vault, cka_id=cka_id.hex()) for cka_id in ids]

    sealed = await vault.seal(one, b"x", b"", deadline=soon())
    vault.forget(one.key_id)

    assert await vault.open(one, sealed, b"", deadline=soon()) == b"x"
    with pytest.raises(StrongroomError):
        await vault.open(other, sealed, b"", deadline=soon())


async def test_the_daemons_own_objects_are_refused(opened: OpenedVault) -> None:
    vault = opened.vault
    resident = await make(vault, KeySpec.SYMMETRIC_DEFAULT, mode=CustodyMode.RESIDENT)
    own = [resident.record.hsm_id, *(record.hsm_id for record in opened.house)]

    for cka_id in own:
        assert "daemon" in await refused(vault, Reason.INVALID_FIELD, "cka_id", cka_id=cka_id)
    for label in ("strongroom key", "strongroom house key"):
        await refused(vault, Reason.INVALID_FIELD, "label", label=label)


@pytest.mark.parametrize(("length", "found"), [(16, "AES_128"), (24, "AES_192")])
async def test_shorter_aes_keys_are_refused_by_name(vault: TokenVault, length: int, found: str) -> None:
    label = name()
    plant(vault, label, value=bytes(range(length)))

    assert found in await refused(vault, Reason.INVALID_FIELD, "label", label=label)


async def test_other_kinds_of_objects_are_refused_by_what_they_are(vault: TokenVault) -> None:
    session, labels = vault._parts.login.session, [name() for _ in range(3)]
    plant(vault, labels[0], value=bytes(32), KEY_TYPE=int(KeyType.GENERIC_SECRET), uses=("SIGN",))
    data = {A.CLASS: int(ObjectClass.DATA), A.TOKEN: True, A.LABEL: labels[1], A.VALUE: b"data"}
    session.create_object(pack(data))
    public, private = session._generate_keypair(
        KeyType.RSA, 2048, capabilities=0, mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        public_template=pack({A.TOKEN: False, A.PUBLIC_EXPONENT: b"\x01\x00\x01"}),
        private_template=pack({A.TOKEN: True, A.PRIVATE: True, A.LABEL: labels[2], A.DECRYPT: True}),
    )  # fmt: skip
    public.destroy()

    said = [await refused(vault, Reason.INVALID_FIELD, "label", label=label) for label in labels]

    assert [kind in text for kind, text in zip(("GENERIC_SECRET", "DATA", "RSA"), said, strict=True)] == [
        True
    ] * 3
    private.destroy()


async def test_a_session_object_is_nobodys_to_adopt(vault: TokenVault) -> None:
    label = name()
    plant(vault, label, value=bytes(32), TOKEN=False)

    await refused(vault, Reason.NOT_FOUND, "label", label=label)


@pytest.mark.parametrize("uses", [("ENCRYPT", "DECRYPT"), ("ENCRYPT",), ("DECRYPT",)])
async def test_an_object_that_may_not_do_gcm_is_refused(vault: TokenVault, uses: tuple[str, ...]) -> None:
    label = name()
    plant(vault, label, uses=uses, ALLOWED_MECHANISMS=(int(Mechanism.AES_CBC),))

    await refused(vault, Reason.UNSUPPORTED_BY_TOKEN, "label", label=label)


@pytest.mark.parametrize(
    ("uses", "more", "proof"),
    [
        (("ENCRYPT", "DECRYPT"), {}, 60),
        (("ENCRYPT",), {}, 60),
        (("DECRYPT",), {}, 8),
        (("DECRYPT",), {"ALLOWED_MECHANISMS": (int(Mechanism.AES_GCM),)}, 0),
        (("WRAP", "UNWRAP"), {}, 0),
        ((), {}, 0),
    ],
)
async def test_an_object_that_lacks_a_use_is_proved_by_those_it_has(
    vault: TokenVault, uses: tuple[str, ...], more: dict[str, Any], proof: int
) -> None:
    label, value = name(), os.urandom(32)
    held = plant(vault, label, b"id", value, uses, **more)
    key = await adopt(vault, label=label)

    assert (key.record.uses, len(key.record.check_value)) == (",".join(uses), proof)
    if "ENCRYPT" in uses:
        assert await vault.seal(key, b"x", b"", deadline=soon())
    if "DECRYPT" in uses:
        sealed = bytes(12) + AESGCM(value).encrypt(bytes(12), b"x", b"")
        assert await vault.open(key, sealed, b"", deadline=soon()) == b"x"
    # Another key with the same name and uses, where there is a proof, is not taken for it.
    held.destroy()
    plant(vault, label, b"id", os.urandom(32), uses, **more)
    vault.forget(key.key_id)
    with pytest.raises(StrongroomError) as caught:
        await vault.open(key, bytes(40), b"", deadline=soon())
    assert (caught.value.reason is Reason.KEY_UNAVAILABLE) is bool(proof)


async def test_an_object_that_went_is_not_searched_for_by_every_call(
    vault: TokenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = handles.find
    searches: list[object] = []

    def counted(*asked: Any) -> Any:
        searches.append(asked)
        return find(*asked)

    monkeypatch.setattr(handles, "find", counted)
    held = plant(vault, label := name())
    key = await adopt(vault, label=label)
    held.destroy()
    searches.clear()

    for _ in range(5):
        assert "0 objects" in await unavailable(vault, key)

    assert len(searches) == 2, "for the object, and for the sentinel"
    vault.forget(key.key_id)
    assert "0 objects" in await unavailable(vault, key)
    assert len(searches) == 4


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that looks again at once for what it did not find."""
    monkeypatch.setattr(loads, "ABSENT_SECONDS", 0.0)


@pytest.mark.usefixtures("eager")
async def test_an_object_that_went_is_unavailable_and_works_when_it_is_back(vault: TokenVault) -> None:
    label, value = name(), os.urandom(32)
    held = plant(vault, label, value=value)
    key = await adopt(vault, label=label)
    sealed = await vault.seal(key, b"x", b"", deadline=soon())

    held.destroy()
    for _ in range(2):
        assert "0 objects" in await unavailable(vault, key)
    twins = [plant(vault, label, value=value) for _ in range(2)]
    assert "2 objects" in await unavailable(vault, key)
    twins[0].destroy()

    assert await vault.open(key, sealed, b"", deadline=soon()) == b"x"
    await works(vault, key)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"value": bytes(16)}, "another kind"),
        ({"KEY_TYPE": int(KeyType.GENERIC_SECRET), "value": bytes(32), "uses": ("SIGN",)}, "another kind"),
        ({"uses": ("ENCRYPT",)}, "uses"),
        ({"uses": ("ENCRYPT", "DECRYPT", "WRAP")}, "uses"),
        ({}, "check value"),
    ],
)
async def test_another_object_in_its_place_is_not_taken_for_it(
    vault: TokenVault, more: dict[str, Any], why: str
) -> None:
    label = name()
    held = plant(vault, label)
    key = await adopt(vault, label=label)
    await works(vault, key)

    held.destroy()
    plant(vault, label, **more)

    assert why in await unavailable(vault, key)


@pytest.mark.usefixtures("eager")
async def test_an_object_that_somebody_changes_is_not_used_until_it_is_as_it_was(vault: TokenVault) -> None:
    label = name()
    held = plant(vault, label)
    key = await adopt(vault, label=label)
    await works(vault, key)

    for attribute, was, now, why in (
        (A.ENCRYPT, True, False, "uses"),
        (A.LABEL, label, name(), "0 objects"),
    ):
        held.__setitem__(attribute, pack({attribute: now})[attribute])
        if attribute is A.LABEL:
            vault.forget(key.key_id)
        assert why in await unavailable(vault, key)
        held.__setitem__(attribute, pack({attribute: was})[attribute])
        await works(vault, key)


async def test_a_token_that_shows_nothing_is_away_and_not_believed(own: OpenedVault) -> None:
    vault, label = own.vault, name()
    held = plant(vault, label)
    key = await adopt(vault, label=label)
    held.destroy()
    hidden = dataclasses.replace(vault._house, sentinel=pack({A.ID: b"nobody"}))
    vault._house = hidden
    vault._held.loader = dataclasses.replace(vault._held.loader, house=hidden)

    for work in (
        vault.examine(ObjectName(label=label), deadline=soon()),
        vault.seal(key, b"x", b"", deadline=soon()),
    ):
        with pytest.raises(StrongroomError) as caught:
            await work
        assert caught.value.reason is Reason.HSM_UNAVAILABLE


async def test_an_object_is_proved_by_one_encryption_and_a_load_makes_none(
    vault: TokenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[bytes] = []
    real = handles.encrypt_gcm

    def counting(session: Any, handle: int, iv: bytes, aad: bytes, data: bytes) -> bytes:
        sealed.append(iv)
        return real(session, handle, iv, aad, data)

    monkeypatch.setattr(handles, "encrypt_gcm", counting)
    label, only = name(), name()
    plant(vault, label)
    plant(vault, only, uses=("ENCRYPT",))
    whole, limited = await adopt(vault, label=label), await adopt(vault, label=only)
    for key in (whole, limited):
        for _ in range(3):
            vault.forget(key.key_id)
            await vault.seal(key, b"x", b"", deadline=soon())

    assert len(sealed) == 1 + 2 + 3  # one that only encrypts repeats its proof, under the very same IV
    assert len(set(sealed)) == 2


async def test_an_examination_uses_read_only_sessions(
    vault: TokenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, taken = name(), vault._device.pool.take
    seen: list[Any] = []
    plant(vault, label)

    def take() -> Any:
        seen.append(taken())
        return seen[-1]

    monkeypatch.setattr(vault._device.pool, "take", take)
    await vault.examine(ObjectName(label=label), deadline=soon())

    assert seen
    assert not any(session.rw for session in seen)
