"""The recovery key: its public half, in a PEM file; its private half, in a token attached for a ceremony.

A recovery blob has the layout of CKM_RSA_AES_KEY_WRAP (PKCS#11 v2.40, 2.1.22): a head, which is a one-time
AES key under the recovery public key (OAEP-SHA1), and a tail, which is the material under that AES key
(AES-KWP). To bring a key into a token that lacks the private half only the head is changed: the recovery
token unwraps the one-time key and wraps it again, to a transport key that the other token made for this
ceremony (`retarget`). That token then unwraps head and tail, and wraps the material under a KEK of its own
(`land`). So the material is never in the recovery token, and in no token's session longer than that takes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.hsm import handles
from strongroomd.hsm.birth import PUBLIC_EXPONENT, Cradle, recovery_template
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.materialtraits import unwrap_trait
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key, public_key_of
from strongroomd.hsm.templates import PUBLIC_HALF, Duty, Life, customer_template, template

LABEL: Final = "strongroom recovery key"
RECOVERY_BITS: Final = 4_096
TRANSPORT_BITS: Final = 3_072
_ONE_TIME_BYTES: Final = 32
_OPENS: Final = Duty((Attribute.UNWRAP,), (Mechanism.RSA_PKCS_OAEP,))
_PASSING: Final = pack(template(KeyFamily.AES, Life.BORN, Duty((), (Mechanism.AES_KEY_WRAP_PAD,))))
"""The one-time key in the recovery token: it does nothing there but leave again."""
_LANDING: Final = pack(
    template(KeyFamily.AES, Life.SEALED, Duty((Attribute.UNWRAP,), (Mechanism.AES_KEY_WRAP_PAD,)))
)
"""The one-time key in the token that gets the material: it can only unwrap."""


def read_recovery_key(path: Path) -> bytes:
    """Give the DER SubjectPublicKeyInfo of an RSA public key in a PEM file.

    Raises:
        StrongroomError: CONFIGURATION for anything else.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        field = "hsm.recovery_public_key"
        raise StrongroomError(Reason.CONFIGURATION, "must be the PEM of an RSA public key", field=field)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# --- in the recovery token ---


def make_recovery_pair(session: Session, identity: bytes, bits: int = RECOVERY_BITS) -> bytes:
    """Make the recovery pair in a token of its own; gives the public half (DER SubjectPublicKeyInfo).

    The private half only unwraps by RSA-OAEP, and can neither be changed nor copied nor destroyed.

    Args:
        session: a read-write session of the recovery token.
        identity: CKA_ID of the private half, 16 random bytes.
        bits: of the modulus, 3,072 or more.
    """
    names: dict[Attribute, object] = {Attribute.ID: identity, Attribute.LABEL: LABEL}
    return _generate(session, bits, pack({**template(KeyFamily.RSA, Life.HOUSE, _OPENS), **names}))[0]


def find_recovery_key(session: Session, public_key: bytes) -> TokenObject:
    """Find the private half of a recovery key in the attached token.

    Args:
        session: a session of the recovery token, logged in.
        public_key: DER SubjectPublicKeyInfo, as the daemon is configured with.

    Raises:
        StrongroomError: CONFIGURATION unless the token has exactly one private key of that modulus.
    """
    key = load_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise StrongroomError(Reason.CONFIGURATION, "must be an RSA key", field="hsm.recovery_public_key")
    search = pack(
        {
            Attribute.CLASS: int(ObjectClass.PRIVATE_KEY),
            Attribute.KEY_TYPE: int(KeyType.RSA),
            Attribute.MODULUS: _octets(key.public_numbers().n),
        }
    )
    found = handles.find(session, search)
    if len(found) != 1:
        message = "the attached token does not hold the private half of the recovery key"
        raise StrongroomError(Reason.CONFIGURATION, message, field="hsm.recovery_public_key")
    return found[0]


def retarget(session: Session, private: TokenObject, blob: bytes, size: int, transport: bytes) -> bytes:
    """Wrap a recovery blob's one-time key to a transport key instead of the recovery key.

    Args:
        session: a session of the recovery token.
        private: the recovery key's private half.
        blob: the recovery blob of a key version.
        size: bytes of the recovery key's modulus, which is the length of the blob's head.
        transport: the other token's transport key (DER SubjectPublicKeyInfo).

    Returns:
        The same blob with a head for the transport key.

    Raises:
        PKCS11Error: the head does not open: it was edited, or made for another recovery key.
        StrongroomError: CONFIGURATION for a transport key that is too weak or no RSA key.
    """
    wanted = recovery_template(transport)
    if wanted is None:
        raise StrongroomError(Reason.CONFIGURATION, "a transport key is needed", field="transport")
    public = session.create_object(wanted)
    passing = None
    try:
        passing = handles.unwrap_oaep(session, private.handle, blob[:size], _PASSING)
        head = handles.wrap(session, public.handle, Mechanism.RSA_PKCS_OAEP, passing.handle)
        return head + blob[size:]
    finally:
        public.destroy()
        if passing is not None:
            passing.destroy()


def head_bytes(public_key: bytes) -> int:
    """Give the length of a blob's head: the size of the RSA modulus in bytes."""
    key = load_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise StrongroomError(Reason.CONFIGURATION, "must be an RSA key", field="hsm.recovery_public_key")
    return (key.key_size + 7) // 8


# --- in the token that gets the material ---


@dataclass(frozen=True, slots=True)
class Transport:
    """A pair for one ceremony; its private half is a session object and ends with its session.

    Attributes:
        public_key: DER SubjectPublicKeyInfo, to be taken to the recovery token.
        private: the private half.
    """

    public_key: bytes
    private: TokenObject


def open_transport(session: Session) -> Transport:
    """Make a transport pair; takes a second or two."""
    private = pack(template(KeyFamily.RSA, Life.SEALED, _OPENS))
    return Transport(*_generate(session, TRANSPORT_BITS, private))


def land(
    session: Session, transport: Transport, blob: bytes, bound: BoundVersion, cradle: Cradle
) -> Material:
    """Bring a key in by a retargeted recovery blob, and wrap it under this token's newest KEK for it.

    Args:
        session: the session that has the transport pair.
        transport: that pair.
        blob: what `retarget` gave.
        bound: the version that the material must be; its check value decides.
        cradle: has the KEKs, and the recovery key that the new material is wrapped to again.

    Returns:
        Material whose check value is the old one: for another blob, another KEK and another recovery blob.

    Raises:
        PKCS11Error: the blob does not open.
        StrongroomError: KEY_UNAVAILABLE when it is not that version's material.
    """
    with _carried(session, transport, blob) as (carrier, tail):
        born = customer_template(bound.spec, bound.usage, Life.BORN, bound.record.scheme)
        held = handles.unwrap(session, carrier.handle, tail, born)
    try:
        return cradle.rewrapped(session, held.handle, bound)
    finally:
        held.destroy()


def land_trait(session: Session, transport: Transport, blob: bytes, spec: KeySpec) -> bytes:
    """Read what tells imported material again (materialtraits.py), from its retargeted blob.

    Raises:
        PKCS11Error: the blob does not open.
    """
    with _carried(session, transport, blob) as (carrier, tail):
        return unwrap_trait(session, carrier, tail, spec)


def try_transport(session: Session, transport: Transport) -> None:
    """Prove that session and pair work. Raises PKCS11Error."""
    with _carried(session, transport, fresh_head(transport.public_key)):
        return


@contextmanager
def _carried(session: Session, transport: Transport, blob: bytes) -> Iterator[tuple[TokenObject, bytes]]:
    """Have a retargeted blob's one-time key in the token for a moment; gives it and what is under it."""
    size = TRANSPORT_BITS // 8
    carrier = handles.unwrap_oaep(session, transport.private.handle, blob[:size], _LANDING)
    try:
        yield carrier, blob[size:]
    finally:
        carrier.destroy()


def fresh_head(public_key: bytes) -> bytes:
    """Make a head that nothing is under: it opens wherever the private half works.

    Args:
        public_key: DER SubjectPublicKeyInfo of an RSA key.
    """
    key = load_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise StrongroomError(Reason.INTERNAL, detail="no RSA key")
    sha1 = hashes.SHA1()  # noqa: S303 - the OAEP hash of every head
    return key.encrypt(os.urandom(_ONE_TIME_BYTES), padding.OAEP(padding.MGF1(sha1), sha1, None))


def _generate(session: Session, bits: int, private: Packed) -> tuple[bytes, TokenObject]:
    public, held = session._generate_keypair(  # noqa: SLF001 - as in birth.generate
        KeyType.RSA,
        bits,
        capabilities=0,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        public_template={**PUBLIC_HALF, **pack({Attribute.PUBLIC_EXPONENT: PUBLIC_EXPONENT})},
        private_template=private,
    )
    try:
        return public_key_of(KeySpec.RSA_4096, public), held
    finally:
        public.destroy()


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
