"""Keys for tests of the vault: made, and bound to records as the core would."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.softhsm import TestToken

from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.records import CustodyMode, HouseRecord, VersionRecord, VersionState
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.mechanisms import SYMMETRIC_CHOICES


@dataclass(frozen=True)
class OpenedVault:
    """A vault with what it was opened from."""

    vault: TokenVault
    token: TestToken
    house: list[HouseRecord]


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
