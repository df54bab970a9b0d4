"""The daemon's own keys: found, compared and proved at every start before anything is served."""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pkcs11.constants import Attribute
from pkcs11.exceptions import TemplateInconsistent
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import KeyFamily, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import handles
from strongroomd.hsm.checks import CHECK_BYTES, LABEL
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key, verifies
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.signatures import encode_signature
from strongroomd.hsm.templates import Duty, House, Life, house_template, template

KWP_BLOB_BYTES: Final = 40  # a 32-byte secret under AES-KWP
_PROBE_DUTY: Final = Duty((Attribute.SIGN,), (Mechanism.SHA256_HMAC,))
PROBE_BORN: Final = pack(template(KeyFamily.HMAC, Life.BORN, _PROBE_DUTY))
PROBE_LIFE: Final = {House.KEK_SEALED: Life.SEALED, House.KEK_EXPORTABLE: Life.EXPORTABLE}
_PROBES: Final = {
    role: pack(template(KeyFamily.HMAC, life, _PROBE_DUTY)) for role, life in PROBE_LIFE.items()
}


@dataclass(frozen=True, slots=True)
class Household:
    """Handles of the daemon's own keys.

    Attributes:
        keks: all KEKs by CKA_ID (hex), retired ones too.
        sealed, exportable: CKA_ID (hex) of the KEKs that wrap new keys.
        row_mac, checkpoint, health: handles of the current ones; the first two are 0 in a further token,
            which has none: no object has that handle (PKCS#11 v2.40, CK_INVALID_HANDLE).
        health_answer: the canary's right answer.
        sentinel: template that finds the sentinel.
    """

    keks: dict[str, int]
    sealed: str
    exportable: str
    row_mac: int
    checkpoint: int
    health: int
    health_answer: bytes
    sentinel: Packed


def open_household(
    session: Session, records: Sequence[HouseRecord], quirks: Quirks, roles: Collection[House] = tuple(House)
) -> Household:
    """Find every house key of the store in the token, compare its attributes, prove its check value.

    Args:
        session: a session of the token.
        records: those of the token's own keys.
        quirks: what cannot be read back.
        roles: what the token must have.

    Raises:
        StrongroomError: CONFIGURATION when store and token do not belong together, INTEGRITY_FAILURE when a
            key is not what `init` made.
        PKCS11Error: the token fails.
    """
    current: dict[House, tuple[HouseRecord, int]] = {}
    keks: dict[str, int] = {}
    for record in records:
        role = _role(record)
        handle = _open_one(session, role, record, quirks)
        current[role] = (record, handle)
        if role in PROBE_LIFE:
            keks[record.hsm_id] = handle
    if missing := [role.value for role in roles if role not in current]:
        raise _mismatch(f"the store names no {', '.join(missing)}")
    health = current[House.HEALTH]
    of_all = {role: current[role][1] if role in current else 0 for role in (House.ROW_MAC, House.CHECKPOINT)}
    return Household(
        keks=keks,
        sealed=current[House.KEK_SEALED][0].hsm_id,
        exportable=current[House.KEK_EXPORTABLE][0].hsm_id,
        row_mac=of_all[House.ROW_MAC],
        checkpoint=of_all[House.CHECKPOINT],
        health=health[1],
        health_answer=health[0].check_value,
        sentinel=pack({Attribute.ID: bytes.fromhex(current[House.SENTINEL][0].hsm_id)}),
    )


def mac_check(session: Session, handle: int) -> bytes:
    """Compute the check value of a MAC key, which is also what the canary repeats."""
    return handles.sign(session, handle, Mechanism.SHA256_HMAC, None, LABEL)[:CHECK_BYTES]


def sign_digest(session: Session, handle: int, digest: bytes) -> bytes:
    """ECDSA P-256 over a SHA-256 digest, DER."""
    raw = handles.sign(session, handle, Mechanism.ECDSA, None, digest)
    return encode_signature(SigningAlgorithm.ECDSA_SHA_256, raw)


def public_check(public_key: bytes) -> bytes:
    """Compute the check value of a pair."""
    return hashlib.sha256(public_key).digest()[:CHECK_BYTES]


def _role(record: HouseRecord) -> House:
    try:
        return House(record.role)
    except ValueError as error:
        raise _mismatch("the store names a house role that this version does not know") from error


def _open_one(session: Session, role: House, record: HouseRecord, quirks: Quirks) -> int:
    found = handles.find(session, pack({Attribute.ID: bytes.fromhex(record.hsm_id)}))
    if len(found) != 1:
        raise _mismatch(f"the token has {len(found)} objects for {role}; is this the store's token?")
    expected = pack(house_template(role, bytes.fromhex(record.hsm_id)))
    if wrong := handles.deviations(found[0], expected, quirks.unreadable):
        raise _tampered(role, f"attributes {', '.join(wrong)}")
    if not _proves_itself(session, role, record, found[0].handle):
        raise _tampered(role, "its check value")
    return int(found[0].handle)


def _proves_itself(session: Session, role: House, record: HouseRecord, handle: int) -> bool:
    match role:
        case House.KEK_SEALED | House.KEK_EXPORTABLE:
            return _kek_proves_itself(session, role, record, handle)
        case House.ROW_MAC | House.HEALTH:
            return hmac.compare_digest(mac_check(session, handle), record.check_value)
        case House.CHECKPOINT:
            digest = hashlib.sha256(LABEL).digest()
            signature = sign_digest(session, handle, digest)
            public = load_public_key(record.public_key)
            return verifies(public, SigningAlgorithm.ECDSA_SHA_256, digest, signature)
        case House.SENTINEL:
            return True


def _kek_proves_itself(session: Session, role: House, record: HouseRecord, handle: int) -> bool:
    """Unwrap the probe as the KEK allows, and be refused when asking for a key that could leave."""
    blob, expected = record.check_value[:KWP_BLOB_BYTES], record.check_value[KWP_BLOB_BYTES:]
    probe = handles.unwrap(session, handle, blob, _PROBES[role])
    try:
        right = hmac.compare_digest(mac_check(session, probe.handle), expected)
    finally:
        probe.destroy()
    if not _refuses(session, handle, blob):
        raise _tampered(role, "CKA_UNWRAP_TEMPLATE: it hands out keys that can leave the token")
    return right


def _refuses(session: Session, kek: int, blob: bytes) -> bool:
    try:
        leak: TokenObject = handles.unwrap(session, kek, blob, PROBE_BORN)
    except TemplateInconsistent:
        return True
    leak.destroy()
    return False


def _mismatch(detail: str) -> StrongroomError:
    return StrongroomError(
        Reason.CONFIGURATION,
        "the store and the token do not belong together",
        field="hsm.token_serial",
        detail=detail,
    )


def _tampered(role: House, what: str) -> StrongroomError:
    return StrongroomError(
        Reason.INTEGRITY_FAILURE, detail=f"house key {role} is not as init made it: {what}"
    )
