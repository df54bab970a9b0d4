"""Wrapping a key that leaves: what the token lets leave, what is proved before, and that nothing stays."""

import dataclasses
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import exceptions
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from tests.hsmkeys import OpenedVault, altered, make, make_gcm, soon

from strongroomd.domain.algorithms import KeySpec, MacAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import ExportAlgorithm, Recipient
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm import handles
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.packing import pack
from strongroomd.hsm.templates import EPHEMERAL, House, Life, customer_template, house_template

pytestmark = pytest.mark.softhsm

A = Attribute
ROOT = Path(__file__).parents[2]
RECIPIENT = Recipient(
    rsa.generate_private_key(65_537, 2_048)
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
TOKEN = ExportAlgorithm.RSA_AES_KEY_WRAP_SHA_1


async def refusal(opened: OpenedVault, key: BoundVersion, recipient: Recipient = RECIPIENT) -> Reason:
    algorithm = ExportAlgorithm.AES_KEY_WRAP_PAD if recipient.blob else TOKEN
    with pytest.raises(StrongroomError) as caught:
        await opened.vault.export(key, recipient, algorithm, deadline=soon())
    return caught.value.reason


@pytest.mark.parametrize("spec", [KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256, KeySpec.ECC_NIST_P256])
async def test_the_token_refuses_to_let_a_sealed_key_leave_whatever_the_record_says(
    opened: OpenedVault, spec: KeySpec
) -> None:
    key = await make(opened.vault, spec)
    assert await refusal(opened, key) is Reason.KEY_UNAVAILABLE
    forged = dataclasses.replace(key, exportable=True)
    assert await refusal(opened, forged) is Reason.UNSUPPORTED_BY_TOKEN


async def test_a_blob_that_is_not_the_records_does_not_leave(opened: OpenedVault) -> None:
    key, other = [await make(opened.vault, KeySpec.HMAC_256, exportable=True) for _ in range(2)]
    swapped = dataclasses.replace(key, record=dataclasses.replace(key.record, blob=other.record.blob))
    assert await refusal(opened, swapped) is Reason.KEY_UNAVAILABLE
    broken = dataclasses.replace(key.record, blob=altered(key.record.blob, 3))
    assert await refusal(opened, dataclasses.replace(key, record=broken)) is not None


async def test_a_key_of_an_older_kek_does_not_leave_and_says_what_to_do(opened: OpenedVault) -> None:
    """Such a KEK forces WRAP_WITH_TRUSTED."""
    key = await make(opened.vault, KeySpec.SYMMETRIC_DEFAULT, exportable=True)
    with older_kek(opened.vault) as (kek_id, kek):
        with opened.vault._parts.pool.fresh() as session:
            template = customer_template(key.spec, key.usage, Life.BORN, key.record.scheme)
            born = session.generate_key(
                KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=template
            )
            blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, born.handle)
            born.destroy()
        old = dataclasses.replace(key, record=dataclasses.replace(key.record, kek_id=kek_id, blob=blob))
        with pytest.raises(StrongroomError) as caught:
            await opened.vault.export(old, RECIPIENT, TOKEN, deadline=soon())
    assert caught.value.reason is Reason.UNSUPPORTED_BY_TOKEN
    assert "rotate" in caught.value.message


@contextmanager
def older_kek(vault: TokenVault) -> Iterator[tuple[str, int]]:
    identity = os.urandom(16)
    template = house_template(House.KEK_EXPORTABLE, identity) | {A.TOKEN: False, A.DESTROYABLE: True}
    template[A.UNWRAP_TEMPLATE] = {
        A.SENSITIVE: True, A.WRAP_WITH_TRUSTED: True, A.TOKEN: False, A.PRIVATE: True
    }  # fmt: skip
    with vault._parts.pool.fresh(writable=True) as session:
        made = session.generate_key(
            KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=pack(template)
        )
        vault._house.keks[identity.hex()] = int(made.handle)
        try:
            yield identity.hex(), int(made.handle)
        finally:
            del vault._house.keks[identity.hex()]
            made.destroy()


@pytest.mark.parametrize(
    "algorithm", [a for a in ExportAlgorithm if a is not ExportAlgorithm.AES_KEY_WRAP_PAD]
)
async def test_nothing_stays_in_the_token(opened: OpenedVault, algorithm: ExportAlgorithm) -> None:
    keys = [
        await make(opened.vault, KeySpec.HMAC_224, exportable=True),
        await make_gcm(opened.vault, exportable=True),
    ]
    with opened.vault._parts.pool.fresh() as session:
        before = len(handles.find(session, {}))
        for key in keys:
            assert await opened.vault.export(key, RECIPIENT, algorithm, deadline=soon())
        assert len(handles.find(session, {})) == before


async def test_a_shared_key_wraps_and_does_nothing_else(opened: OpenedVault) -> None:
    shared = await opened.vault.share_wrapping_key(RECIPIENT.public_key, deadline=soon())
    recipient = Recipient(RECIPIENT.public_key, shared.kek_id, shared.blob)
    key = await make(opened.vault, KeySpec.HMAC_256, exportable=True)
    blob = await opened.vault.export(key, recipient, ExportAlgorithm.AES_KEY_WRAP_PAD, deadline=soon())
    assert len(blob) == 40
    gone = dataclasses.replace(recipient, kek_id="00" * 16)
    assert await refusal(opened, key, gone) is Reason.KEY_UNAVAILABLE
    damaged = dataclasses.replace(recipient, blob=altered(shared.blob, 0))
    assert await refusal(opened, key, damaged) is not None


# What the token itself holds of exportable keys, and what it does not (ADR 0032).


async def held_as(session: Any, opened: OpenedVault, key: BoundVersion, **flags: bool) -> Any:
    """Unwrap an exportable HMAC key under its KEK as somebody with the PIN would: with flags of his own."""
    wanted = {
        A.CLASS: int(ObjectClass.SECRET_KEY), A.KEY_TYPE: int(KeyType.GENERIC_SECRET), A.TOKEN: False,
        A.PRIVATE: True, A.SENSITIVE: True, A.EXTRACTABLE: True, A.WRAP_WITH_TRUSTED: False, A.SIGN: True,
        A.MODIFIABLE: True, A.COPYABLE: True, A.DESTROYABLE: True,
        **{Attribute[name]: value for name, value in flags.items()},
    }  # fmt: skip
    kek = opened.vault._house.keks[key.record.kek_id]
    return handles.unwrap(session, kek, key.record.blob, pack(wanted))


def wrapping_key(session: Any, **more: bytes) -> Any:
    """An AES key that wraps, made by a user session; more attributes as they are packed."""
    wanted = {
        A.CLASS: int(ObjectClass.SECRET_KEY), A.KEY_TYPE: int(KeyType.AES), A.TOKEN: False, A.PRIVATE: True,
        A.SENSITIVE: True, A.EXTRACTABLE: False, A.WRAP: True, A.DESTROYABLE: True,
    }  # fmt: skip
    template = {**pack(wanted), **{Attribute[name]: value for name, value in more.items()}}
    return session.generate_key(
        KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=template
    )


REFUSED_FORMS = {
    "readable": {"SENSITIVE": False},
    "unable to leave": {"EXTRACTABLE": False},
    "a token object": {"TOKEN": True},
    "public": {"PRIVATE": False},
}


@pytest.mark.parametrize("flags", REFUSED_FORMS.values(), ids=REFUSED_FORMS)
async def test_the_exportable_kek_unwraps_keys_in_one_form_only(
    opened: OpenedVault, flags: dict[str, bool]
) -> None:
    key = await make(opened.vault, KeySpec.HMAC_256, exportable=True)
    with opened.vault._parts.pool.fresh(writable=True) as session:
        with pytest.raises(exceptions.TemplateInconsistent):
            await held_as(session, opened, key, **flags)
        (await held_as(session, opened, key)).destroy()


async def test_a_key_in_use_is_wrapped_by_no_key_that_a_user_can_make(opened: OpenedVault) -> None:
    key = await make(opened.vault, KeySpec.HMAC_256, exportable=True)
    in_use = customer_template(key.spec, key.usage, Life.EXPORTABLE, key.record.scheme)
    with opened.vault._parts.pool.fresh() as session:
        kek = opened.vault._house.keks[key.record.kek_id]
        held = handles.unwrap(session, kek, key.record.blob, in_use)
        for wrapping in (int(wrapping_key(session).handle), kek):
            with pytest.raises(exceptions.KeyNotWrappable):
                handles.wrap(session, wrapping, Mechanism.AES_KEY_WRAP_PAD, held.handle)
        with pytest.raises(exceptions.PKCS11Error, match="0x1b"):  # ACTION_PROHIBITED: it is not modifiable
            held.wrapper[A.WRAP_WITH_TRUSTED] = b"\x00"
        with pytest.raises(exceptions.AttributeReadOnly):
            wrapping_key(session, TRUSTED=b"\x01")


async def test_who_has_the_pin_and_the_blob_can_take_an_exportable_key_out_as_the_readme_says(
    opened: OpenedVault,
) -> None:
    """Approvals are the daemon's: the token alone does not ask for them."""
    key = await make(opened.vault, KeySpec.HMAC_256, exportable=True)
    expected = await opened.vault.mac(key, MacAlgorithm.HMAC_SHA_256, b"data", deadline=soon())
    value = os.urandom(32)
    with opened.vault._parts.pool.fresh() as session:
        held = await held_as(session, opened, key)
        own = session.create_object({**EPHEMERAL, **pack({A.VALUE: value})})

        blob = handles.wrap(session, own.handle, Mechanism.AES_KEY_WRAP_PAD, held.handle)

    taken = aes_key_unwrap_with_padding(value, blob)
    assert hmac.digest(taken, b"data", "sha256") == expected
    readme = (ROOT / "README.md").read_text()
    assert "a PIN holder can take them out" in " ".join(readme.split())
