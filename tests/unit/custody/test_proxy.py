"""What AWS KMS asks of a key store, on a real token: ciphertexts, who may, pins, quotas, and what is written down."""

import asyncio
import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests import leftovers
from tests.faults.core import ACCOUNT, ADMIN, Core, make_core
from tests.faults.keystores import (
    KMS_KEY,
    OTHER_KMS_KEY,
    ROLE,
    Shop,
    make_shop,
    reason,
    refusal,
)
from tests.hsmkeys import OpenedVault, altered, choosing

from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.xks.externalkeys import KeyForm
from strongroomd.custody.xks.stores import StoreForm
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import REFUSALS_BURST
from strongroomd.domain.quota import Rate
from strongroomd.domain.records import KeyRecord, KeyState
from strongroomd.domain.xks import layout
from strongroomd.domain.xks.layout import SealedParts
from strongroomd.domain.xks.names import store_arn
from strongroomd.domain.xks.records import Pinning
from strongroomd.ports import Vault

pytestmark = pytest.mark.softhsm


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


@pytest.fixture
async def shop(core: Core) -> Shop:
    made = make_shop(core)
    await made.open()
    return made


@pytest.fixture
async def gcm(core: Core) -> Shop:
    """A store whose key is AES-GCM itself, as adopted ones are."""
    made = make_shop(core)
    with choosing(core.opened.vault, "aes-gcm"):
        await made.open()
    return made


def store_id(shop: Shop) -> str:
    return shop.shelved().store_id


def key_id(shop: Shop) -> str:
    return shop.shelved().keys["key"].key_id


async def allow_only(shop: Shop, *statements: dict[str, Any]) -> None:
    form = StoreForm(policy=json.dumps({"Statement": list(statements)}))
    await shop.stores.update(shop.caller(), store_id(shop), form)


# --- ciphertexts


PLAINTEXTS = (b"", b"plaintext", b"x" * layout.MAX_PLAINTEXT)
AADS = (None, b"", b"aad", b"x" * layout.MAX_AAD)


async def test_what_is_encrypted_is_decrypted(shop: Shop) -> None:
    for plaintext, aad in itertools.product(PLAINTEXTS, AADS):
        parts = await shop.encrypt(plaintext, aad, integrity="yes")

        assert (len(parts.ciphertext), len(parts.iv), len(parts.tag)) == (len(plaintext), 12, 16)
        assert layout.parse_metadata(parts.metadata) == layout.Made(
            layout.Layout.XAES_256_GCM, 1, parts.metadata[5:]
        )
        whole = (aad or b"") + parts.metadata + parts.iv + parts.ciphertext + parts.tag
        assert parts.integrity == hashlib.sha256(whole).digest()
        assert await shop.decrypt(parts, aad) == plaintext


async def test_an_absent_aad_and_an_empty_one_are_the_same_and_no_value_is_given_unasked(shop: Shop) -> None:
    parts = await shop.encrypt(aad=None)

    assert parts.integrity == b""
    assert await shop.decrypt(parts, b"") == b"plaintext"


async def test_an_aes_gcm_key_writes_the_other_layout_and_is_counted(gcm: Shop) -> None:
    parts = await gcm.encrypt(integrity="yes")

    assert parts.metadata.hex() == "0200000001"
    assert await gcm.decrypt(parts) == b"plaintext"
    [row] = gcm.core.rows("SELECT reserved FROM invocations WHERE record_id = ?", f"{key_id(gcm)}/1")
    assert row["reserved"] > 0


@pytest.mark.parametrize("kind", ["shop", "gcm"])
async def test_any_part_that_was_changed_is_one_and_the_same_refusal(
    request: pytest.FixtureRequest, core: Core, kind: str
) -> None:
    shop = make_shop(core)
    with choosing(core.opened.vault, "aes-gcm" if kind == "gcm" else "xaes"):
        await shop.open()
    parts = await shop.encrypt()

    forged = [
        dataclasses.replace(parts, **{name: altered(getattr(parts, name), at)})
        for name in ("ciphertext", "iv", "tag", "metadata")
        for at in range(len(getattr(parts, name)))
    ]
    forged += [
        dataclasses.replace(parts, metadata=metadata)
        for metadata in (b"", b"key_version=1", parts.metadata + b"\0", parts.metadata[:-1])
    ]
    forged += [dataclasses.replace(parts, iv=iv) for iv in (b"", parts.iv[:-1], parts.iv + bytes(4))]
    forged += [dataclasses.replace(parts, tag=parts.tag[:12]), SealedParts(b"", parts.iv, parts.tag)]
    errors = [await refusal(shop.decrypt(each)) for each in forged]
    errors += [
        await refusal(shop.decrypt(parts, aad)) for aad in (None, b"", b"aaD", b"aad" + parts.metadata)
    ]

    assert {(error.reason, error.message, error.field) for error in errors} == {
        (Reason.INVALID_CIPHERTEXT, errors[0].message, errors[0].field)
    }
    assert await shop.decrypt(parts) == b"plaintext"


async def test_metadata_are_not_moved_into_the_aad(shop: Shop) -> None:
    parts = await shop.encrypt(aad=b"")

    moved = dataclasses.replace(parts, metadata=parts.metadata[:5])
    assert await reason(shop.decrypt(moved, parts.metadata[5:])) == "INVALID_CIPHERTEXT"


async def test_a_ciphertext_is_of_its_key_and_opens_through_any_store_that_has_it(shop: Shop) -> None:
    other = await shop.store("/other")
    await shop.add(other, await shop.core.create())
    key = await shop.core.ledger.read(KeyRecord, key_id(shop))
    assert key is not None
    await shop.add(other, key, "same")

    parts = await shop.encrypt()

    assert await reason(shop.decrypt(parts, prefix="/other")) == "INVALID_CIPHERTEXT"
    assert await shop.decrypt(parts, prefix="/other", name="same") == b"plaintext"


async def test_a_rotated_key_encrypts_anew_and_opens_what_is_old(shop: Shop) -> None:
    old = await shop.encrypt()
    await shop.core.keys.rotate(shop.core.caller(), key_id(shop))

    new = await shop.encrypt()

    assert [parts.metadata[:5].hex() for parts in (old, new)] == ["0100000001", "0100000002"]
    assert [await shop.decrypt(parts) for parts in (old, new)] == [b"plaintext"] * 2
    relabelled = dataclasses.replace(new, metadata=old.metadata[:5] + new.metadata[5:])
    assert await reason(shop.decrypt(relabelled)) == "INVALID_CIPHERTEXT"


async def test_more_than_is_supported_is_too_large(shop: Shop) -> None:
    parts = await shop.encrypt()
    much = b"x" * (layout.MAX_PLAINTEXT + 1)

    errors = [
        await refusal(shop.encrypt(much)),
        await refusal(shop.encrypt(aad=b"x" * (layout.MAX_AAD + 1))),
        await refusal(shop.decrypt(dataclasses.replace(parts, ciphertext=much))),
        await refusal(shop.decrypt(parts, b"x" * (layout.MAX_AAD + 1))),
    ]

    assert [error.reason for error in errors] == [Reason.FIELD_TOO_LARGE] * 4
    assert [error.field for error in errors] == [
        "plaintext", "additionalAuthenticatedData", "ciphertext", "additionalAuthenticatedData",
    ]  # fmt: skip


class Liar:
    """A vault that opens something else than was sealed."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def seal_apart(self, *args: Any, **kwargs: Any) -> bytes:
        self.asked.append("seal")
        return await self._vault.seal_apart(*args, **kwargs)

    async def open(self, *args: Any, **kwargs: Any) -> bytes:
        self.asked.append("open")
        return altered(await self._vault.open(*args, **kwargs), 0)


async def test_a_fresh_ciphertext_that_decrypts_to_something_else_is_given_to_nobody(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = Liar(core.vault)
    shop = make_shop(core, vault=cast("Vault", liar))
    await shop.open()
    real = layout.integrity_value

    def computed(aad: bytes, parts: SealedParts) -> bytes:
        liar.asked.append("value")
        return real(aad, parts)

    monkeypatch.setattr(layout, "integrity_value", computed)

    assert await reason(shop.encrypt(integrity="yes")) == "INTERNAL"
    assert liar.asked == ["seal", "value", "open"]
    liar.asked.clear()
    assert await reason(shop.encrypt()) == "OK"
    assert liar.asked == ["seal"]


# --- what AWS's sample proxy made


def sample(key: bytes, aad: bytes | None, metadata: bytes = b"key_version=1") -> SealedParts:
    """Encrypt as AWS's sample proxy does: over the digest of the AAD."""
    digest = b"" if aad is None else hashlib.sha256(aad).digest()
    whole = len(aad or b"").to_bytes(2, "big") + digest + bytes([len(metadata)]) + metadata
    iv = bytes(range(12))
    sealed = AESGCM(key).encrypt(iv, b"plaintext", whole)
    return SealedParts(sealed[:-16], iv, sealed[-16:], metadata)


class Known:
    """A vault that opens under a key that the test knows."""

    def __init__(self, vault: Vault, key: bytes) -> None:
        self._vault = vault
        self._key = AESGCM(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def open(self, key: Any, sealed: bytes, aad: bytes, *, deadline: float) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - of this double

        from strongroomd.domain.errors import StrongroomError  # noqa: PLC0415

        try:
            return self._key.decrypt(sealed[:12], sealed[12:], aad)
        except InvalidTag:
            raise StrongroomError(Reason.INVALID_CIPHERTEXT) from None


@pytest.mark.parametrize("aad", [None, b"", b"project=nile"])
async def test_a_compatible_key_opens_what_the_sample_proxy_made(core: Core, aad: bytes | None) -> None:
    secret = bytes(range(32))
    shop = make_shop(core, vault=cast("Vault", Known(core.vault, secret)))
    with choosing(core.opened.vault, "aes-gcm"):
        await shop.open()
    parts = sample(secret, aad)
    assert await reason(shop.decrypt(parts, aad)) == "INVALID_CIPHERTEXT"

    await shop.external_keys.update(shop.caller(), store_id(shop), "key", KeyForm(compatible=True))

    assert await shop.decrypt(parts, aad) == b"plaintext"
    other = b"" if aad is None else None
    assert await reason(shop.decrypt(parts, other)) == "INVALID_CIPHERTEXT"
    assert await reason(shop.decrypt(dataclasses.replace(parts, metadata=b"x"), aad)) == "INVALID_CIPHERTEXT"
    assert "sample-proxy" in [record.get("layout") for record in shop.written()]


async def test_a_key_of_the_other_scheme_opens_nothing_of_the_sample_proxy(shop: Shop) -> None:
    await shop.external_keys.update(shop.caller(), store_id(shop), "key", KeyForm(compatible=True))

    assert await reason(shop.decrypt(sample(bytes(32), b"aad"))) == "INVALID_CIPHERTEXT"
    assert await shop.decrypt(await shop.encrypt()) == b"plaintext"


# --- who may

USES: dict[str, Callable[[Shop, SealedParts], Any]] = {
    "encrypt": lambda shop, _: shop.encrypt(),
    "decrypt": lambda shop, parts: shop.decrypt(parts),
}


async def every(shop: Shop, parts: SealedParts, **said: Any) -> list[str]:
    """How encrypt, decrypt and metadata end."""
    return [
        await reason(shop.encrypt(**said)),
        await reason(shop.decrypt(parts, **said)),
        await reason(shop.metadata(**said)),
    ]


async def test_a_key_that_the_store_does_not_have_is_not_found(shop: Shop) -> None:
    parts = await shop.encrypt()

    assert await every(shop, parts, name="Key") == ["KEY_NOT_FOUND"] * 3
    await shop.external_keys.remove(shop.caller(), store_id(shop), "key")
    assert await every(shop, parts) == ["KEY_NOT_FOUND"] * 3


async def test_a_blocked_store_answers_nothing_else_and_works_again(shop: Shop) -> None:
    parts = await shop.encrypt()
    await shop.stores.block(shop.caller(), store_id(shop))

    assert await every(shop, parts) == ["BLOCKED"] * 3
    assert await every(shop, parts, name="nothing") == ["BLOCKED"] * 3
    assert await reason(shop.proxy.health(shop.kms(), shop.call(""))) == "BLOCKED"
    await shop.stores.unblock(shop.caller(), store_id(shop))
    assert await every(shop, parts) == ["OK"] * 3


async def test_where_it_cannot_be_said_whether_the_key_denies_it_does(shop: Shop) -> None:
    parts = await shop.encrypt()
    tags = (("team", "red"), ("Team", "blue"))  # aws:ResourceTag/team is either
    await shop.core.keys.tag(shop.core.caller(), key_id(shop), tags)
    condition = {"StringEquals": {"aws:ResourceTag/team": "red"}}
    uses = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"]
    await set_policy(
        shop, {"Effect": "Deny", "Principal": "*", "Action": uses, "Resource": "*", "Condition": condition}
    )

    assert await every(shop, parts) == ["ACCESS_DENIED"] * 3


async def test_a_store_that_is_refused_too_often_for_the_audit_log_is_still_told_why(shop: Shop) -> None:
    await shop.stores.block(shop.caller(), store_id(shop))

    errors = await asyncio.gather(*(refusal(shop.encrypt()) for _ in range(3 * REFUSALS_BURST // 2)))

    written = [record for record in shop.written() if record["outcome"] == "BLOCKED"]
    assert REFUSALS_BURST <= len(written) < len(errors)
    assert {error.reason for error in errors} == {Reason.BLOCKED, Reason.QUOTA_EXCEEDED}
    causes = {error.__cause__ for error in errors if error.reason is Reason.QUOTA_EXCEEDED}
    assert all(isinstance(cause, StrongroomError) and cause.reason is Reason.BLOCKED for cause in causes)


async def test_a_blocked_key_is_not_used_and_says_that_it_is_disabled(shop: Shop) -> None:
    parts = await shop.encrypt()
    await shop.external_keys.block(shop.caller(), store_id(shop), "key")

    assert await every(shop, parts) == ["BLOCKED", "BLOCKED", "OK"]
    assert not (await shop.metadata()).enabled
    await shop.external_keys.unblock(shop.caller(), store_id(shop), "key")
    assert (await shop.metadata()).enabled
    assert await shop.decrypt(parts) == b"plaintext"


async def test_what_the_stores_policy_denies_is_refused_and_the_ground_is_written_down(shop: Shop) -> None:
    parts = await shop.encrypt()
    only = {"StringLike": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/*"}}
    await allow_only(
        shop,
        {"Sid": "app", "Effect": "Allow", "Action": "xks:*", "Condition": only},
        {"Sid": "no ebs", "Effect": "Deny", "Action": "*", "Condition": {"StringEquals": {"kms:ViaService": "ebs"}}},
    )  # fmt: skip

    assert await every(shop, parts) == ["OK"] * 3
    assert await every(shop, parts, principal_arn="AWS Internal") == ["ACCESS_DENIED"] * 3
    assert await every(shop, parts, via_service="ebs") == ["ACCESS_DENIED"] * 3
    assert await reason(shop.proxy.health(shop.kms(), shop.call("", principal_arn=""))) == "OK"
    grounds = [record["store_policy"] for record in shop.written() if "store_policy" in record]
    assert grounds == [
        "the signature is enough",
        *["app"] * 3,
        *["no statement allows it"] * 3,
        *["no ebs"] * 3,
    ]


async def test_what_the_policy_denies_is_denied_of_keys_that_there_are_not_as_well(shop: Shop) -> None:
    await allow_only(shop, {"Effect": "Deny", "Action": "xks:*"})

    errors = [await refusal(shop.encrypt(name=name)) for name in ("key", "nothing")]

    assert [error.reason for error in errors] == [Reason.ACCESS_DENIED] * 2
    assert errors[0].message == errors[1].message


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (KeyForm(encrypts=False), ["INVALID_KEY_USAGE", "OK", "INVALID_KEY_USAGE", ("DECRYPT",)]),
        (KeyForm(decrypts=False), ["OK", "INVALID_KEY_USAGE", "INVALID_KEY_USAGE", ("ENCRYPT",)]),
        (KeyForm(encrypts=False, decrypts=False), [*["INVALID_KEY_USAGE"] * 3, ()]),
    ],
)
async def test_a_store_does_with_a_key_what_was_said(shop: Shop, form: KeyForm, expected: list[Any]) -> None:
    parts = await shop.encrypt()
    await shop.external_keys.update(shop.caller(), store_id(shop), "key", form)

    answers: list[Any] = [
        await reason(shop.encrypt()),
        await reason(shop.decrypt(parts)),
        await reason(shop.encrypt(integrity="yes")),
    ]
    assert [*answers, (await shop.metadata()).usages] == expected


async def set_policy(shop: Shop, *statements: dict[str, Any]) -> None:
    manage = {"Effect": "Allow", "Principal": {"AWS": ADMIN.arn}, "Action": "kms:*", "Resource": "*"}
    text = json.dumps({"Statement": [manage, *statements]})
    await shop.core.keys.put_policy(shop.core.caller(), key_id(shop), text, bypass=False)


async def test_the_keys_policy_needs_no_word_for_the_store_and_can_deny_it(shop: Shop) -> None:
    parts = await shop.encrypt()
    arn = store_arn(ACCOUNT, store_id(shop))
    await set_policy(shop)
    assert await every(shop, parts) == ["OK"] * 3

    await set_policy(
        shop, {"Effect": "Deny", "Principal": {"AWS": arn}, "Action": "kms:Decrypt", "Resource": "*"}
    )

    assert await every(shop, parts) == ["OK", "ACCESS_DENIED", "OK"]
    await set_policy(shop, {"Effect": "Deny", "Principal": "*", "Action": "kms:*crypt", "Resource": "*"})
    assert await every(shop, parts) == ["ACCESS_DENIED", "ACCESS_DENIED", "OK"]


async def test_a_key_that_cannot_be_used_is_refused_for_its_state_and_says_disabled(shop: Shop) -> None:
    parts, core, key = await shop.encrypt(), shop.core, key_id(shop)

    await core.keys.disable(core.caller(), key)
    assert await every(shop, parts) == ["KEY_DISABLED", "KEY_DISABLED", "OK"]
    assert not (await shop.metadata()).enabled

    await core.keys.schedule_deletion(core.caller(), key, 7)
    assert await every(shop, parts) == ["KEY_PENDING_DELETION", "KEY_PENDING_DELETION", "OK"]
    assert not (await shop.metadata()).enabled

    record = await core.ledger.read(KeyRecord, key)
    assert record is not None
    async with core.ledger.change() as change:
        await change.put(
            dataclasses.replace(record, state=KeyState.DESTROYED, row_version=record.row_version + 1)
        )
    assert await every(shop, parts) == ["KEY_NOT_FOUND"] * 3


@pytest.mark.parametrize(
    ("spec", "usage", "told"),
    [
        (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, ("AES_256", ("ENCRYPT", "DECRYPT"))),
        (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, ("RSA_2048", ("ENCRYPT", "DECRYPT"))),
        (KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY, ("RSA_2048", ("SIGN", "VERIFY"))),
        (KeySpec.ECC_NIST_P256, KeyUsage.KEY_AGREEMENT, ("ECC_NIST_P256", ("DERIVE",))),
        (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, ("HMAC_256", ("SIGN", "VERIFY"))),
    ],
)
async def test_metadata_tell_what_the_key_truly_is(
    core: Core, spec: KeySpec, usage: KeyUsage, told: tuple[str, tuple[str, ...]]
) -> None:
    shop = make_shop(core)
    await shop.add(await shop.store(), await core.keys.create(core.caller(), NewKey(spec, usage, None)))

    found = await shop.metadata()

    assert (found.spec, found.usages, found.enabled) == (*told, True)
    used = "OK" if spec is KeySpec.SYMMETRIC_DEFAULT else "INVALID_KEY_USAGE"
    parts = SealedParts(b"x" * 9, bytes(12), bytes(16), bytes.fromhex("0100000001") + bytes(12))
    assert await reason(shop.encrypt()) == used
    assert await reason(shop.decrypt(parts)) == ("INVALID_CIPHERTEXT" if used == "OK" else used)


# --- pins


async def pinned(shop: Shop, pinning: Pinning, arn: str = "") -> None:
    form = KeyForm(pinning=pinning, kms_key_arn=arn)
    await shop.external_keys.update(shop.caller(), store_id(shop), "key", form)


async def test_a_key_is_bound_to_the_first_kms_key_that_uses_it(shop: Shop) -> None:
    parts = await shop.encrypt()
    await pinned(shop, Pinning.FIRST_USE)
    assert await reason(shop.metadata(kms_key_arn=OTHER_KMS_KEY)) == "OK"  # a look binds nothing

    assert await shop.decrypt(parts) == b"plaintext"

    assert shop.shelved().keys["key"].kms_key_arn == KMS_KEY
    assert await every(shop, parts) == ["OK"] * 3
    assert await every(shop, parts, kms_key_arn=OTHER_KMS_KEY) == ["ACCESS_DENIED"] * 3
    assert await every(shop, parts, kms_key_arn="") == ["ACCESS_DENIED", "ACCESS_DENIED", "OK"]


async def test_of_two_first_uses_at_once_one_wins(shop: Shop) -> None:
    await pinned(shop, Pinning.FIRST_USE)

    answers = await asyncio.gather(
        *(reason(shop.encrypt(kms_key_arn=arn)) for arn in (KMS_KEY, OTHER_KMS_KEY, KMS_KEY, OTHER_KMS_KEY))
    )

    assert sorted(answers) == ["ACCESS_DENIED", "ACCESS_DENIED", "OK", "OK"]
    assert answers[0] == answers[2]


async def test_a_first_use_that_fails_binds_nothing(shop: Shop) -> None:
    parts = await shop.encrypt()
    await pinned(shop, Pinning.FIRST_USE)
    forged = dataclasses.replace(parts, tag=bytes(16))

    assert await reason(shop.decrypt(forged, kms_key_arn=OTHER_KMS_KEY)) == "INVALID_CIPHERTEXT"

    assert shop.shelved().keys["key"].kms_key_arn == ""
    assert await reason(shop.decrypt(parts)) == "OK"
    assert shop.shelved().keys["key"].kms_key_arn == KMS_KEY


async def test_a_first_use_that_is_refused_binds_nothing(shop: Shop) -> None:
    await pinned(shop, Pinning.FIRST_USE)
    await shop.core.keys.disable(shop.core.caller(), key_id(shop))

    assert await reason(shop.encrypt(kms_key_arn=OTHER_KMS_KEY)) == "KEY_DISABLED"

    await shop.core.keys.enable(shop.core.caller(), key_id(shop))
    assert await reason(shop.encrypt()) == "OK"


async def test_a_configured_pin_refuses_the_first_use_of_another(shop: Shop) -> None:
    parts = await shop.encrypt()
    await pinned(shop, Pinning.FIXED, OTHER_KMS_KEY)

    assert await every(shop, parts) == ["ACCESS_DENIED"] * 3
    assert await every(shop, parts, kms_key_arn=OTHER_KMS_KEY) == ["OK"] * 3
    await pinned(shop, Pinning.NONE)
    assert await every(shop, parts) == ["OK"] * 3


# --- quotas


@pytest.mark.parametrize(
    ("limit", "other"),
    [
        ("rate", {"name": "key2", "principal_arn": "x"}),
        ("key_rate", {}),
        ("principal_rate", {"name": "key2"}),
    ],
)
async def test_what_is_over_a_limit_is_refused_with_the_wait(
    shop: Shop, limit: str, other: dict[str, Any]
) -> None:
    key = await shop.core.ledger.read(KeyRecord, key_id(shop))
    assert key is not None
    await shop.add(shop.shelved().record, key, "key2")

    def limiting(rate: Rate) -> StoreForm:
        form: dict[str, Any] = {limit: rate}
        return StoreForm(**form)

    await shop.stores.update(shop.caller(), store_id(shop), limiting(Rate(1, 2)))

    answers = [await reason(shop.encrypt()) for _ in range(3)]
    error = await refusal(shop.encrypt(**other))

    assert answers == ["OK", "OK", "QUOTA_EXCEEDED"]
    assert (error.reason, 0 < (error.retry_after or 0) <= 1) == (Reason.QUOTA_EXCEEDED, True)
    free: dict[str, Any] | None = {
        "rate": None,
        "key_rate": {"name": "key2"},
        "principal_rate": {"principal_arn": "x"},
    }[limit]
    if free is not None:
        assert await reason(shop.encrypt(**free)) == "OK"
    await shop.stores.update(shop.caller(), store_id(shop), limiting(Rate(0, 0)))
    assert await reason(shop.encrypt()) == "OK"


async def test_one_stores_limit_is_not_anothers(shop: Shop) -> None:
    other = await shop.store("/other", rate=Rate(1, 1))
    await shop.add(other, await shop.core.create())

    assert await reason(shop.encrypt(prefix="/other")) == "OK"
    assert await reason(shop.encrypt(prefix="/other")) == "QUOTA_EXCEEDED"
    assert await reason(shop.proxy.health(shop.kms("/other"), shop.call("", "/other"))) == "QUOTA_EXCEEDED"
    assert [await reason(shop.encrypt()) for _ in range(5)] == ["OK"] * 5


# --- what is written down


async def test_each_call_is_one_record_that_tells_who_asked_for_what_and_nothing_secret(shop: Shop) -> None:
    await shop.encrypt(b"a plaintext of note", b"an aad of note", source_vpc="vpc-1")

    [record] = shop.written()

    expected = {
        "action": "kms:Encrypt", "door": "xks", "identity": "xks-credential:" + "A" * 24, "source": "192.0.2.1",
        "outcome": "OK", "kind": "outcome", "key_store": store_id(shop), "external_key": "key", "version": 1,
        "signing_region": "us-east-1", "kms_request_id": "kms-1", "kms_operation": "Encrypt",
        "aws_principal": ROLE, "kms_key": KMS_KEY, "source_vpc": "vpc-1",
        "key": f"arn:aws:kms:eu-test-1:{ACCOUNT}:key/{key_id(shop)}",
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert "of note" not in json.dumps(record)


async def test_a_refusal_is_written_down_with_its_reason(shop: Shop) -> None:
    await reason(shop.encrypt(name="nothing"))
    await reason(shop.decrypt(SealedParts(b"x", bytes(12), bytes(16))))

    outcomes = [(record["action"], record["outcome"]) for record in shop.written()]
    assert outcomes == [("kms:Encrypt", "KEY_NOT_FOUND"), ("kms:Decrypt", "INVALID_CIPHERTEXT")]


# --- health


async def test_health_is_of_the_tokens_that_the_stores_keys_live_in(shop: Shop) -> None:
    await shop.board.look()

    found = await shop.proxy.health(shop.kms(), shop.call("", principal_arn="", kms_key_arn=""))

    assert [(each.id, each.status.value) for each in found.fleet] == [("node/main", "ACTIVE")]
    assert (found.fleet_size, found.vendor, found.ekm_vendor) == (1, "Strongroom", "model of ")
    assert shop.written()[-1]["action"] == "strongroom:GetKeyStoreHealth"


async def test_what_a_store_asks_beyond_its_limit_is_shed_early_once_its_refusals_are_only_counted(
    shop: Shop,
) -> None:
    await shop.stores.update(shop.caller(), store_id(shop), StoreForm(rate=Rate(1, 1)))
    store, deadline = shop.shelved(), time.monotonic() + 5.0

    def shed() -> Reason | None:
        try:
            shop.proxy.require_turn(store, deadline)
        except StrongroomError as error:
            return error.reason
        return None

    assert [shed(), await reason(shop.encrypt())] == [None, "OK"]
    for _ in range(REFUSALS_BURST + 20):
        last = shed()
    assert last is Reason.QUOTA_EXCEEDED
    await shop.stores.update(shop.caller(), store_id(shop), StoreForm(rate=Rate(0, 0)))
    store = shop.shelved()
    assert shed() is None


async def test_what_is_shed_early_leaves_nothing_to_the_garbage_collector(shop: Shop) -> None:
    await shop.stores.update(shop.caller(), store_id(shop), StoreForm(rate=Rate(1, 1)))
    store, deadline = shop.shelved(), time.monotonic() + 5.0
    assert await reason(shop.encrypt()) == "OK"

    with leftovers.counted() as left:
        for _ in range(REFUSALS_BURST + 20):
            with suppress(StrongroomError):
                shop.proxy.require_turn(store, deadline)

    assert not left


async def test_what_waits_to_be_paid_counts_for_whoever_comes_behind_it(shop: Shop) -> None:
    await shop.stores.update(shop.caller(), store_id(shop), StoreForm(rate=Rate(2, 2)))
    (charge,) = shop.shelved().charges
    quotas = shop.proxy.gate.quotas

    assert [quotas.is_used_up(charge, ahead) for ahead in range(4)] == [False, False, True, True]
    await shop.encrypt()
    assert [quotas.is_used_up(charge, ahead) for ahead in range(3)] == [False, True, True]


async def test_a_call_behind_as_many_as_the_limit_still_grants_is_shed(shop: Shop) -> None:
    await shop.stores.update(shop.caller(), store_id(shop), StoreForm(rate=Rate(2, 2)))
    store, deadline = shop.shelved(), time.monotonic() + 5.0

    for _ in range(REFUSALS_BURST + 20):
        with suppress(StrongroomError):
            shop.proxy.require_turn(store, deadline, 2)

    with pytest.raises(StrongroomError) as caught:
        shop.proxy.require_turn(store, deadline, 2)
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    shop.proxy.require_turn(store, deadline, 1)
