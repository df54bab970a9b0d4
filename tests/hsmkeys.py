"""Keys for tests of the vault: made, and bound to records as the core would."""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from tests.softhsm import TestToken

from strongroomd.domain.adoption import ObjectName, joined
from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage, Scheme
from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.records import CustodyMode, HouseRecord, VersionRecord, VersionState
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.mechanisms import SYMMETRIC_CHOICES
from strongroomd.hsm.packing import pack

MADE = (CustodyMode.WRAPPED, CustodyMode.RESIDENT)
"""Where the daemon's own keys live; what is adopted it does not make."""


@dataclass(frozen=True)
class OpenedVault:
    """A vault with what it was opened from."""

    vault: TokenVault
    token: TestToken
    house: list[HouseRecord]


async def of_role(opened: OpenedVault, role: House) -> HouseRecord:
    """The record of a house key; one that a house has on demand only is made now."""
    found = next((record for record in opened.house if record.role == role), None)
    if found is not None:
        return found
    hsm_id = os.urandom(16).hex()
    made = await opened.vault.make_house_key(role, hsm_id)
    return HouseRecord(role.value, hsm_id, made.public_key, made.check_value)


@contextmanager
def choosing(vault: TokenVault, symmetric: str) -> Iterator[None]:
    """Have new symmetric keys made as if the setting said so."""
    offer = vault._parts.offer
    before, offer._symmetric = offer._symmetric, SYMMETRIC_CHOICES[symmetric]
    try:
        yield
    finally:
        offer._symmetric = before


async def make_gcm(
    vault: TokenVault, mode: CustodyMode = CustodyMode.WRAPPED, *, exportable: bool = False
) -> BoundVersion:
    """Make a symmetric key of scheme AES_GCM."""
    with choosing(vault, "aes-gcm"):
        return await make(vault, KeySpec.SYMMETRIC_DEFAULT, mode=mode, exportable=exportable)


def soon() -> float:
    """A deadline that a slow machine meets."""
    return time.monotonic() + 60.0


def altered(data: bytes, position: int) -> bytes:
    """The same bytes with one bit flipped."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def bind(
    material: Material,
    spec: KeySpec,
    usage: KeyUsage,
    mode: CustodyMode = CustodyMode.WRAPPED,
    *,
    exportable: bool = False,
) -> BoundVersion:
    """Bind material to a new key id."""
    record = VersionRecord(
        key_id=str(uuid.uuid4()),
        version=1,
        state=VersionState.ACTIVE,
        created_at=0,
        kek_id=material.kek_id,
        hsm_id=material.hsm_id,
        blob=material.blob,
        length=material.length,
        public_key=material.public_key,
        check_value=material.check_value,
        recovery_blob=material.recovery_blob,
        scheme=material.scheme,
    )
    return BoundVersion(record.key_id, spec, usage, mode, exportable, record)


async def make(
    vault: TokenVault,
    spec: KeySpec,
    usage: KeyUsage | None = None,
    mode: CustodyMode = CustodyMode.WRAPPED,
    *,
    exportable: bool = False,
) -> BoundVersion:
    """Make a key in the token and bind it."""
    usage = usage or SPECS[spec].usages[0]
    material = await vault.generate(
        spec, usage, mode, exportable=exportable, hsm_id=os.urandom(16).hex(), deadline=soon()
    )
    return bind(material, spec, usage, mode, exportable=exportable)


WHOLE = ("ENCRYPT", "DECRYPT")
_FLAGS = ("ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE")


def plant(
    vault: TokenVault,
    label: str = "",
    cka_id: bytes = b"",
    value: bytes = b"",
    uses: Sequence[str] = WHOLE,
    **more: object,
) -> Any:
    """Put somebody else's AES key into the token, as other programs would; gives the library's object.

    Made in the token if no value is given. `more` are further attributes by name, e.g. EXTRACTABLE.
    """
    return plant_through(vault._parts.login.session, label, cka_id, value, uses, **more)


def plant_through(
    session: Any,
    label: str = "",
    cka_id: bytes = b"",
    value: bytes = b"",
    uses: Sequence[str] = WHOLE,
    **more: object,
) -> Any:
    """The same through a session of any process."""
    attributes = {
        "CLASS": int(ObjectClass.SECRET_KEY), "KEY_TYPE": int(KeyType.AES), "TOKEN": True, "PRIVATE": True,
        "SENSITIVE": True, "EXTRACTABLE": False, **{flag: flag in uses for flag in _FLAGS},
        "LABEL": label, "ID": cka_id, **more,
    }  # fmt: skip
    given = {Attribute[name]: item for name, item in attributes.items() if item not in ("", b"")}
    if value:
        return session.create_object(pack({**given, Attribute.VALUE: value}))
    return session.generate_key(
        KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=pack(given)
    )


async def adopt(vault: TokenVault, **name: str) -> BoundVersion:
    """Examine an object and bind what was found, as the core would."""
    found = await vault.examine(ObjectName(**name), deadline=soon())
    record = VersionRecord(
        key_id=str(uuid.uuid4()), version=1, state=VersionState.ACTIVE, created_at=0, kek_id="", hsm_id="",
        blob=b"", length=found.length, public_key=b"", check_value=found.check_value, recovery_blob=b"",
        scheme=Scheme.AES_GCM, object_class=found.object_class, object_id=found.cka_id,
        object_label=found.label, uses=joined(found.uses), traits=joined(found.traits),
    )  # fmt: skip
    spec, usage = KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT
    return BoundVersion(record.key_id, spec, usage, CustodyMode.ADOPTED, exportable=False, record=record)
