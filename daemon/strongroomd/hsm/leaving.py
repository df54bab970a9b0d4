"""Data key pairs: made in the token to be handed out, so their values may be read."""

from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11.constants import Attribute

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.birth import generate
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import CURVES, PublicKey, load_public_key
from strongroomd.hsm.templates import Duty, Life, template

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

K = TypeVar("K", ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)

_NONE = Duty((), ())
_TEMPLATES = {
    family: pack(template(family, Life.OPEN, _NONE))
    for family in (KeyFamily.RSA, KeyFamily.EC, KeyFamily.EDWARDS)
}


def release_pair(session: Session, spec: KeySpec) -> tuple[bytearray, bytes]:
    """Generate a pair and read it out: (PKCS#8 DER, SubjectPublicKeyInfo DER).

    Raises:
        StrongroomError: INTERNAL when the private half does not belong to the public one.
    """
    born = generate(session, spec, _TEMPLATES[SPECS[spec].family])
    try:
        private = _private_key(spec, born.held, load_public_key(born.public_key))
    except ValueError as error:
        raise StrongroomError(Reason.INTERNAL, detail="the token gave halves that do not match") from error
    finally:
        born.held.destroy()
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return bytearray(der), born.public_key


def _private_key(spec: KeySpec, held: TokenObject, public: PublicKey) -> PrivateKey:
    if isinstance(public, rsa.RSAPublicKey):
        return _rsa(held, public)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return _matching(ed25519.Ed25519PrivateKey.from_private_bytes(held[Attribute.VALUE]), public)
    scalar = int.from_bytes(held[Attribute.VALUE], "big")
    return _matching(ec.derive_private_key(scalar, CURVES[spec]), public)


def _rsa(held: TokenObject, public: rsa.RSAPublicKey) -> rsa.RSAPrivateKey:
    value = {name: int.from_bytes(held[name], "big") for name in _RSA_PARTS}
    numbers = rsa.RSAPrivateNumbers(
        p=value[Attribute.PRIME_1],
        q=value[Attribute.PRIME_2],
        d=value[Attribute.PRIVATE_EXPONENT],
        dmp1=value[Attribute.EXPONENT_1],
        dmq1=value[Attribute.EXPONENT_2],
        iqmp=value[Attribute.COEFFICIENT],
        public_numbers=public.public_numbers(),
    )
    return numbers.private_key()


_RSA_PARTS = (
    Attribute.PRIME_1,
    Attribute.PRIME_2,
    Attribute.PRIVATE_EXPONENT,
    Attribute.EXPONENT_1,
    Attribute.EXPONENT_2,
    Attribute.COEFFICIENT,
)


def _matching(private: K, public: PublicKey) -> K:
    if private.public_key() != public:
        raise ValueError("halves differ")
    return private
