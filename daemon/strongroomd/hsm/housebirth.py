"""House keys come into being: the first ones in a fresh token, their successors beside them."""

from collections.abc import Collection
from typing import Final

from pkcs11.constants import Attribute
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import KEKS, House
from strongroomd.domain.keys import HouseMaterial
from strongroomd.hsm import handles
from strongroomd.hsm.birth import PUBLIC_EXPONENT
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.house import PROBE_BORN, mac_check, public_check
from strongroomd.hsm.mechanisms import CURVES
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import public_key_of
from strongroomd.hsm.templates import LABEL_HOUSE, PAIRS, PUBLIC_HALF, house_template

_SECRET_BITS: Final = 256
REPLICA_BITS: Final = 4_096


def make(session: Session, role: House, hsm_id: str) -> HouseMaterial:
    """Make a house key as a token object.

    Args:
        session: a read-write session.
        role: what it is for.
        hsm_id: its CKA_ID (hex, 16 bytes).

    Raises:
        StrongroomError: ALREADY_EXISTS when an object has this id.
        PKCS11Error: the token fails.
    """
    identity = bytes.fromhex(hsm_id)
    if handles.find(session, pack({Attribute.ID: identity})):
        raise StrongroomError(Reason.ALREADY_EXISTS, detail="an object with this CKA_ID is in the token")
    template = pack(house_template(role, identity))
    public_key = b""
    if role is House.REPLICA:
        return _make_replica_pair(session, template)
    if role in PAIRS:
        public, key = session._generate_keypair(  # noqa: SLF001 - the public method refuses EC without parameters
            KeyType.EC,
            capabilities=0,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            public_template={**PUBLIC_HALF, **pack({Attribute.EC_PARAMS: CURVES[KeySpec.ECC_NIST_P256]})},
            private_template=template,
        )
        public_key = public_key_of(KeySpec.ECC_NIST_P256, public)
        public.destroy()
    else:
        kind = Mechanism.AES_KEY_GEN if role in KEKS else Mechanism.GENERIC_SECRET_KEY_GEN
        key = session.generate_key(
            KeyType.GENERIC_SECRET, _SECRET_BITS, capabilities=0, mechanism=kind, template=template
        )
    return HouseMaterial(public_key, _check_value(session, role, key.handle, public_key))


def _make_replica_pair(session: Session, private: Packed) -> HouseMaterial:
    public, _ = session._generate_keypair(  # noqa: SLF001 - as above
        KeyType.RSA,
        REPLICA_BITS,
        capabilities=0,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        public_template={**PUBLIC_HALF, **pack({Attribute.PUBLIC_EXPONENT: PUBLIC_EXPONENT})},
        private_template=private,
    )
    try:
        public_key = public_key_of(KeySpec.RSA_4096, public)
    finally:
        public.destroy()
    return HouseMaterial(public_key, public_check(public_key))


def find(session: Session, role: House, hsm_id: str) -> HouseMaterial | None:
    """Find a house key that was made, but not recorded; None where there is none that can be recorded.

    Of a pair the public half went with the session that made it: such a pair is of no use.

    Raises:
        PKCS11Error: the token fails.
    """
    found = _objects(session, hsm_id)
    if len(found) != 1 or role in PAIRS:
        return None
    return HouseMaterial(b"", _check_value(session, role, found[0].handle, b""))


def strangers(session: Session, known: Collection[str]) -> list[str]:
    """List the CKA_IDs (hex) of house keys in the token that are not among the known ones."""
    found = handles.find(session, pack({Attribute.LABEL: LABEL_HOUSE}))
    return sorted({each[Attribute.ID].hex() for each in found} - set(known))


def _objects(session: Session, hsm_id: str) -> list[TokenObject]:
    return handles.find(session, pack({Attribute.ID: bytes.fromhex(hsm_id)}))


def _check_value(session: Session, role: House, handle: int, public_key: bytes) -> bytes:
    if role in KEKS:
        return _probe_blob(session, handle)
    if role in PAIRS:
        return public_check(public_key)
    return b"" if role is House.SENTINEL else mac_check(session, handle)


def _probe_blob(session: Session, kek: int) -> bytes:
    """Wrap a throw-away MAC key: the blob and that key's check value prove the KEK at every start."""
    probe = session.generate_key(
        KeyType.GENERIC_SECRET,
        _SECRET_BITS,
        capabilities=0,
        mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        template=PROBE_BORN,
    )
    try:
        blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, probe.handle)
        return blob + mac_check(session, probe.handle)
    finally:
        probe.destroy()
