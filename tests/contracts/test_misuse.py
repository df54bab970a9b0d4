"""What a key must not do, tried with the PIN holder's full powers inside the token."""

import dataclasses
from typing import Any

import pytest
from pkcs11 import exceptions
from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism
from tests.hsmkeys import OpenedVault, altered, make, soon

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm import handles
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.templates import (
    MASK,
    Duty,
    Life,
    customer_template,
    duty_of,
    template,
)

pytestmark = pytest.mark.softhsm

WRAPPABLE = [
    s for s in KeySpec if s is not KeySpec.ECC_NIST_EDWARDS25519 and s not in ("RSA_3072", "RSA_4096")
]
A = Attribute


def lax(bound: BoundVersion, **changes: bool) -> Packed:
    """The template under which a wrapped key is loaded, with some attributes turned."""
    facts = SPECS[bound.spec]
    life = Life.EXPORTABLE if bound.exportable else Life.SEALED
    attributes = template(facts.family, life, duty_of(bound.spec, bound.usage))
    return pack(attributes | {Attribute[flag]: on for flag, on in changes.items()})


@pytest.mark.parametrize("spec", WRAPPABLE)
@pytest.mark.parametrize(
    "changes",
    [{"SENSITIVE": False}, {"EXTRACTABLE": True}, {"SENSITIVE": False, "EXTRACTABLE": True}, {"TOKEN": True}],
    ids="+".join,
)
async def test_sealed_key_cannot_be_unwrapped_so_that_it_could_leave(
    opened: OpenedVault, spec: KeySpec, changes: dict[str, bool]
) -> None:
    key = await make(opened.vault, spec)
    kek = opened.vault._house.keks[key.record.kek_id]

    with (
        opened.vault._parts.pool.fresh(writable=True) as session,
        pytest.raises(exceptions.TemplateInconsistent),
    ):
        handles.unwrap(session, kek, key.record.blob, lax(key, **changes))


@pytest.mark.parametrize("leave_out", [A.SENSITIVE, A.EXTRACTABLE])
async def test_leaving_an_attribute_out_does_not_help(opened: OpenedVault, leave_out: Attribute) -> None:
    key = await make(opened.vault, KeySpec.SYMMETRIC_DEFAULT)
    attributes = {name: value for name, value in lax(key).items() if name is not leave_out}

    with opened.vault._parts.pool.fresh() as session, pytest.raises(exceptions.TemplateInconsistent):
        handles.unwrap(session, opened.vault._house.keks[key.record.kek_id], key.record.blob, attributes)


@pytest.mark.parametrize("spec", WRAPPABLE)
async def test_loaded_sealed_key_cannot_be_wrapped_or_read(opened: OpenedVault, spec: KeySpec) -> None:
    key = await make(opened.vault, spec)
    loaded = opened.vault._held.loader.load(opened.vault._held._berths.keeper, key)
    with opened.vault._parts.pool.fresh() as session:
        for kek in opened.vault._house.keks.values():
            with pytest.raises((exceptions.KeyUnextractable, exceptions.KeyNotWrappable)):
                handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, loaded.handle)
        name = A.PRIVATE_EXPONENT if SPECS[spec].family is KeyFamily.RSA else A.VALUE
        with pytest.raises(exceptions.AttributeSensitive):
            loaded.held[name]
    loaded.held.destroy()


async def test_exportable_key_in_use_leaves_only_under_a_trusted_wrapping_key(opened: OpenedVault) -> None:
    key = await make(opened.vault, KeySpec.SYMMETRIC_DEFAULT, exportable=True)
    loaded = opened.vault._held.loader.load(opened.vault._held._berths.keeper, key)

    with opened.vault._parts.pool.fresh() as session:
        for kek in opened.vault._house.keks.values():
            with pytest.raises(exceptions.KeyNotWrappable):
                handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, loaded.handle)
        with pytest.raises(exceptions.PKCS11Error):
            handles.unwrap(
                session,
                opened.vault._house.keks[key.record.kek_id],
                key.record.blob,
                lax(key, SENSITIVE=False),
            )
    loaded.held.destroy()


async def test_blob_of_an_exportable_key_is_no_sealed_key(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT, exportable=True)

    with pytest.raises(StrongroomError) as refusal:
        await vault.seal(dataclasses.replace(key, exportable=False), b"data", b"", deadline=soon())

    assert refusal.value.reason in (Reason.KEY_UNAVAILABLE, Reason.INTERNAL)


@pytest.mark.parametrize("spec", WRAPPABLE)
async def test_loaded_key_does_only_its_duty(opened: OpenedVault, spec: KeySpec) -> None:
    key = await make(opened.vault, spec)
    loaded = opened.vault._held.loader.load(opened.vault._held._berths.keeper, key)
    duty = duty_of(key.spec, key.usage)
    with opened.vault._parts.pool.fresh() as session:
        handle = loaded.handle
        attempts: dict[Attribute, Any] = {
            A.ENCRYPT: lambda: opened.vault._calls.encrypt_gcm(session, handle, bytes(12), b"", b"data"),
            A.DECRYPT: lambda: handles.decrypt_rsa(session, handle, Mechanism.RSA_PKCS, bytes(256)),
            A.SIGN: lambda: handles.sign(session, handle, Mechanism.SHA_1_HMAC, None, b"data"),
            A.DERIVE: lambda: handles.derive_blocks(session, handle, bytes(16), MASK),
            A.WRAP: lambda: handles.wrap(session, handle, Mechanism.AES_KEY_WRAP_PAD, handle),
            A.UNWRAP: lambda: handles.unwrap(session, handle, key.record.blob, lax(key)),
        }
        for flag, attempt in attempts.items():
            if flag not in duty.flags or flag in (A.DECRYPT, A.SIGN):
                with pytest.raises(exceptions.PKCS11Error):
                    attempt()
    loaded.held.destroy()


@pytest.mark.parametrize("position", [0, 7, 8, 39])
async def test_damaged_blob_is_an_unavailable_key_and_no_ill_token(vault: TokenVault, position: int) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    record = dataclasses.replace(key.record, blob=altered(key.record.blob, position))

    with pytest.raises(StrongroomError) as refusal:
        await vault.seal(dataclasses.replace(key, record=record), b"data", b"", deadline=soon())

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE
    assert "integrity" in str(refusal.value.detail)
    await vault.probe()


@pytest.mark.parametrize("spec", WRAPPABLE)
async def test_swapped_blobs_are_found(vault: TokenVault, spec: KeySpec) -> None:
    key, other = await make(vault, spec), await make(vault, spec)
    record = dataclasses.replace(key.record, blob=other.record.blob)
    swapped = dataclasses.replace(key, record=record)

    with pytest.raises(StrongroomError) as refusal:
        await vault._held.load(swapped, soon())

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE
    assert "integrity" in str(refusal.value.detail)


async def test_wrong_material_of_one_key_leaves_the_others_loaded(vault: TokenVault) -> None:
    healthy = await make(vault, KeySpec.HMAC_256)
    key, other = await make(vault, KeySpec.HMAC_256), await make(vault, KeySpec.HMAC_256)
    loaded = await vault._held.load(healthy, soon())
    record = dataclasses.replace(key.record, blob=other.record.blob)

    with pytest.raises(StrongroomError):
        await vault._held.load(dataclasses.replace(key, record=record), soon())

    assert vault._keys.get(healthy) is loaded


async def test_swapped_public_key_is_found(vault: TokenVault) -> None:
    for usage in (KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT):
        key = await make(vault, KeySpec.ECC_NIST_P256, usage)
        other = await make(vault, KeySpec.ECC_NIST_P256, usage)
        record = dataclasses.replace(
            key.record, public_key=other.record.public_key, check_value=other.record.check_value
        )

        with pytest.raises(StrongroomError) as refusal:
            await vault._held.load(dataclasses.replace(key, record=record), soon())

        assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_blob_under_an_unknown_kek_is_unavailable(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    record = dataclasses.replace(key.record, kek_id="00" * 16)

    with pytest.raises(StrongroomError) as refusal:
        await vault.seal(dataclasses.replace(key, record=record), b"data", b"", deadline=soon())

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


def test_no_two_duties_share_a_direction() -> None:
    """Keys that decrypt do not sign, keys that sign do not derive: one key, one purpose (SP 800-57, 5.2)."""
    for spec, facts in SPECS.items():
        for usage in facts.usages:
            duty: Duty = duty_of(spec, usage)
            assert len(duty.flags) == 1
            assert customer_template(spec, usage, Life.SEALED)
