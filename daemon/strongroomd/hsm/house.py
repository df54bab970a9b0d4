"""The daemon's own keys: found, compared and proved at every start before anything is served."""

import hashlib
import hmac
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pkcs11.constants import Attribute
from pkcs11.exceptions import TemplateInconsistent
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import KeyFamily, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import MAC_TAG_BYTES, active
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.replication import pair_id
from strongroomd.hsm import handles
from strongroomd.hsm.checks import CHECK_BYTES, LABEL
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key, verifies
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.signatures import encode_signature
from strongroomd.hsm.templates import Duty, House, Life, house_template, roles_in, template

KWP_BLOB_BYTES: Final = 40  # a 32-byte secret under AES-KWP
_PROBE_DUTY: Final = Duty((Attribute.SIGN,), (Mechanism.SHA256_HMAC,))
PROBE_BORN: Final = pack(template(KeyFamily.HMAC, Life.BORN, _PROBE_DUTY))
PROBE_LIFE: Final = {House.KEK_SEALED: Life.SEALED, House.KEK_EXPORTABLE: Life.EXPORTABLE}
_PROBES: Final = {
    role: pack(template(KeyFamily.HMAC, life, _PROBE_DUTY)) for role, life in PROBE_LIFE.items()
}
_FORBIDDEN: Final = {
    House.KEK_SEALED: PROBE_BORN,  # could be wrapped again
    House.KEK_EXPORTABLE: pack(template(KeyFamily.HMAC, Life.OPEN, _PROBE_DUTY)),  # could be read
}
"""What each KEK must refuse to unwrap a key as."""


@dataclass(slots=True)
class Household:
    """Handles of the daemon's own keys. It grows as keys get successors, on the event loop's thread.

    Where the token has no such key the handle is 0, which is no object's (PKCS#11 v2.40, CK_INVALID_HANDLE).

    Attributes:
        keks: all KEKs by CKA_ID (hex), retired ones too.
        sealed, exportable: CKA_ID (hex) of the KEKs that wrap new keys.
        row_macs: all row MAC keys by the tag that their MACs begin with, empty for the first one's.
        mac_tag: of the one in use.
        checkpoints: all keys that signed checkpoints, by their public halves (DER SubjectPublicKeyInfo).
        checkpoint_key: of the newest.
        statement, statement_key: the key that signs statements, and its public half.
        replicas: all replica pairs' private halves, by the SHA-256 (hex) of their public halves.
        replica_key: public half of the newest; empty where nobody asked for one.
        canary: the key of the canary and its right answer, in one so that no thread sees half of it.
        sentinel: template that finds the sentinel.
        known: CKA_IDs (hex) of all of them.
    """

    keks: dict[str, int] = field(default_factory=dict)
    sealed: str = ""
    exportable: str = ""
    row_macs: dict[bytes, int] = field(default_factory=dict)
    mac_tag: bytes = b""
    checkpoints: dict[bytes, int] = field(default_factory=dict)
    checkpoint_key: bytes = b""
    statement: int = 0
    statement_key: bytes = b""
    replicas: dict[str, int] = field(default_factory=dict)
    replica_key: bytes = b""
    canary: tuple[int, bytes] = (0, b"")
    sentinel: Packed = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    _newest: dict[House, int] = field(default_factory=dict)

    @property
    def row_mac(self) -> int:
        """Handle of the first row MAC key, which also makes MACs that have no room for a tag."""
        return self.row_macs.get(b"", 0)

    @property
    def checkpoint(self) -> int:
        """Handle of the newest checkpoint key."""
        return self.checkpoints.get(self.checkpoint_key, 0)

    def take_up(self, record: HouseRecord, handle: int) -> None:
        """Know a key that has proved itself, and use it if it is the newest of its role."""
        role = _role(record)
        if role in PROBE_LIFE:
            self.keks[record.hsm_id] = handle
        elif role is House.ROW_MAC:
            self.row_macs[mac_tag(record)] = handle
        elif role is House.CHECKPOINT:
            self.checkpoints[record.public_key] = handle
        elif role is House.REPLICA:
            self.replicas[pair_id(record.public_key)] = handle
        self.known.add(record.hsm_id)
        if record.generation >= self._newest.get(role, 0):
            self._newest[role] = record.generation
            self._use(role, record, handle)

    def roles(self) -> set[House]:
        """Say which roles have a key."""
        return set(self._newest)

    def _use(self, role: House, record: HouseRecord, handle: int) -> None:
        match role:
            case House.KEK_SEALED:
                self.sealed = record.hsm_id
            case House.KEK_EXPORTABLE:
                self.exportable = record.hsm_id
            case House.ROW_MAC:
                self.mac_tag = mac_tag(record)
            case House.CHECKPOINT:
                self.checkpoint_key = record.public_key
            case House.STATEMENT:
                self.statement, self.statement_key = handle, record.public_key
            case House.REPLICA:
                self.replica_key = record.public_key
            case House.HEALTH:
                self.canary = (handle, record.check_value)
            case House.SENTINEL:
                self.sentinel = pack({Attribute.ID: bytes.fromhex(record.hsm_id)})


def mac_tag(record: HouseRecord) -> bytes:
    """Give what the MACs of a row MAC key begin with; nothing for the first one, which was alone."""
    return bytes.fromhex(record.hsm_id)[:MAC_TAG_BYTES] if record.generation else b""


def open_household(
    session: Session, records: Sequence[HouseRecord], quirks: Quirks, roles: Collection[House] = roles_in("")
) -> Household:
    """Find every active house key of the store in the token, compare its attributes, prove its check value.

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
    house = Household()
    for record in active(records):
        house.take_up(record, prove(session, record, quirks))
    if missing := [role.value for role in roles if role not in house.roles()]:
        raise _mismatch(f"the store names no {', '.join(missing)}: run strongroomd migrate")
    return house


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


def prove(session: Session, record: HouseRecord, quirks: Quirks) -> int:
    """Find the key of a record, compare its attributes and prove its check value; gives its handle.

    Raises:
        StrongroomError: CONFIGURATION when the token has no such key, INTEGRITY_FAILURE when it is another.
        PKCS11Error: the token fails.
    """
    role = _role(record)
    found = handles.find(session, pack({Attribute.ID: bytes.fromhex(record.hsm_id)}))
    if len(found) != 1:
        raise _mismatch(f"the token has {len(found)} objects for {role}; is this the store's token?")
    expected = pack(house_template(role, bytes.fromhex(record.hsm_id)))
    if wrong := handles.deviations(found[0], expected, quirks.unreadable):
        raise _tampered(role, f"attributes {', '.join(wrong)}")
    if role is House.REPLICA and not _is_half_of(found[0], record.public_key):
        raise _tampered(role, "its modulus")
    if not _proves_itself(session, role, record, found[0].handle):
        raise _tampered(role, "its check value")
    return int(found[0].handle)


def _proves_itself(session: Session, role: House, record: HouseRecord, handle: int) -> bool:
    match role:
        case House.KEK_SEALED | House.KEK_EXPORTABLE:
            return _kek_proves_itself(session, role, record, handle)
        case House.ROW_MAC | House.HEALTH:
            return hmac.compare_digest(mac_check(session, handle), record.check_value)
        case House.CHECKPOINT | House.STATEMENT:
            digest = hashlib.sha256(LABEL).digest()
            signature = sign_digest(session, handle, digest)
            public = load_public_key(record.public_key)
            return verifies(public, SigningAlgorithm.ECDSA_SHA_256, digest, signature)
        case House.REPLICA:
            return _pair_proves_itself(session, record, handle)
        case House.SENTINEL:
            return True


def _is_half_of(private: TokenObject, public_key: bytes) -> bool:
    """Hold a private key's modulus against a public key; another one might not even unwrap to be refused."""
    public = load_public_key(public_key)
    modulus = int.from_bytes(private[Attribute.MODULUS])
    return isinstance(public, rsa.RSAPublicKey) and public.public_numbers().n == modulus


def _pair_proves_itself(session: Session, record: HouseRecord, handle: int) -> bool:
    """Unwrap what was wrapped here to the public half: only its private half makes the same key of it."""
    public, secret = load_public_key(record.public_key), os.urandom(32)
    if not isinstance(public, rsa.RSAPublicKey):
        return False
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - OAEP-SHA1, PKCS#11
    probe = handles.unwrap_oaep(session, handle, public.encrypt(secret, oaep), _PROBES[House.KEK_SEALED])
    try:
        expected = hmac.digest(secret, LABEL, "sha256")[:CHECK_BYTES]
        return hmac.compare_digest(mac_check(session, probe.handle), expected)
    finally:
        probe.destroy()


def _kek_proves_itself(session: Session, role: House, record: HouseRecord, handle: int) -> bool:
    """Unwrap the probe as the KEK allows, and be refused when asking for a key that could leave."""
    blob, expected = record.check_value[:KWP_BLOB_BYTES], record.check_value[KWP_BLOB_BYTES:]
    probe = handles.unwrap(session, handle, blob, _PROBES[role])
    try:
        right = hmac.compare_digest(mac_check(session, probe.handle), expected)
    finally:
        probe.destroy()
    if not _refuses(session, handle, blob, _FORBIDDEN[role]):
        raise _tampered(role, "CKA_UNWRAP_TEMPLATE: it hands out keys that can leave the token")
    return right


def _refuses(session: Session, kek: int, blob: bytes, as_this: Packed) -> bool:
    try:
        leak: TokenObject = handles.unwrap(session, kek, blob, as_this)
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
