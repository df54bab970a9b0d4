"""What tells imported material again: a MAC under the material itself, or the hash of the public half.

The same material has the same trait, in every token. A guess at material that is not random can be tested
against it, so it is kept nowhere in clear: the core keeps a MAC of it by the house, and, for the day on which
the house's token is lost, the trait wrapped to the recovery public key, in the layout of a recovery blob.
"""

import hashlib
from typing import Final

from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm import handles
from strongroomd.hsm.birth import Cradle, wrap_under_rsa
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.templates import HMACS, MASK, Duty, Life, template

_LABEL: Final = b"strongroom.material-trait.v1"
_MAC: Final = Mechanism.SHA256_HMAC
_HASH_BYTES: Final = 32

_HOLDERS: Final[dict[tuple[Mechanism, Life], Packed]] = {
    (mechanism, life): pack(template(KeyFamily.HMAC, life, Duty((Attribute.SIGN,), (mechanism,))))
    for mechanism in {_MAC, *HMACS.values()}
    for life in (Life.SEALED, Life.EXPORTABLE)
}


def trait_of(
    session: Session, cradle: Cradle, spec: KeySpec, *, exportable: bool, kek_id: str, blob: bytes
) -> bytes:
    """Make the trait of a secret, which is unwrapped as an HMAC key for that: so it works for every scheme.

    Args:
        session: any.
        cradle: has the KEKs.
        spec: the secret's.
        exportable: whether its KEK is an exportable one.
        kek_id: CKA_ID (hex) of the KEK.
        blob: the material under it.

    Raises:
        StrongroomError: KEY_UNAVAILABLE when the KEK is not in this token.
        PKCS11Error: the blob does not open, or the token fails.
    """
    kek = cradle.house.keks.get(kek_id)
    if kek is None:
        raise StrongroomError(Reason.KEY_UNAVAILABLE, detail="its KEK is not in this token")
    mechanism = HMACS.get(spec, _MAC)
    life = Life.EXPORTABLE if exportable else Life.SEALED
    held = handles.unwrap(session, kek, blob, _HOLDERS[mechanism, life])
    try:
        return handles.sign(session, held.handle, mechanism, None, _LABEL)
    finally:
        held.destroy()


def trait_of_pair(public_key: bytes) -> bytes:
    """Make the trait of a key pair, from its public half (DER SubjectPublicKeyInfo)."""
    return hashlib.sha256(public_key).digest()


def wrap_trait(session: Session, cradle: Cradle, trait: bytes) -> bytes:
    """Wrap a trait to the recovery public key; empty where there is none."""
    if cradle.recovery is None:
        return b""
    held = session.create_object({**MASK, **pack({Attribute.VALUE: trait})})
    try:
        return wrap_under_rsa(session, cradle.recovery, held.handle)
    finally:
        held.destroy()


def unwrap_trait(session: Session, carrier: TokenObject, wrapped: bytes, spec: KeySpec) -> bytes:
    """Read a trait that came under a one-time AES key; SoftHSM pads it when it wraps."""
    return handles.take_value(handles.unwrap(session, carrier.handle, wrapped, MASK))[: _length(spec)]


def _length(spec: KeySpec) -> int:
    facts = SPECS[spec]
    return facts.bits // 8 if facts.family is KeyFamily.HMAC else _HASH_BYTES
