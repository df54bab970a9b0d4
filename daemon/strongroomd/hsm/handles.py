"""Token calls on a bare object handle through any session: no search, no object of the library per key.

python-pkcs11 binds an object to the session that found it. `Bound` borrows the library's operations for any
pair of session and handle; the library's version is pinned because its mixins are
private.
"""

import importlib
from typing import Any, Final

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KDF, GCMParams, KeyType, Mechanism

from strongroomd.hsm.packing import Packed, pack_value

Session = Any  # pkcs11.Session; the compiled module has no types for what is used here
TokenObject = Any  # pkcs11.Object: a handle tied to the session that made or found it

_native: Any = importlib.import_module("pkcs11._pkcs11")
IV_BYTES: Final = 12  # of AES-GCM, always
_TAG_BITS: Final = 128
_OAEP_SHA1: Final = None  # the library's default parameters of RSA_PKCS_OAEP: SHA-1, MGF1-SHA-1, no label


_Operations: Any = type(
    "_Operations",
    (
        _native.SecretKey,
        _native.EncryptMixin,
        _native.DecryptMixin,
        _native.SignMixin,
        _native.WrapMixin,
        _native.UnwrapMixin,
        _native.DeriveMixin,
    ),
    {},
)


class Bound(_Operations):  # type: ignore[misc] # the compiled module has no types
    """A key handle seen through a session, for one call."""

    session: Session = None
    handle: int = 0
    key_type = None  # the library would ask the token, to choose a default mechanism that we never use

    def __init__(self, session: Session, handle: int) -> None:
        self.session = session
        self.handle = handle


def sign(session: Session, handle: int, mechanism: Mechanism, parameter: object, data: bytes) -> bytes:
    """Sign or MAC in one call."""
    bound: Any = Bound(session, handle)
    return bound._sign(data, mechanism, parameter, None, 1024)  # type: ignore[no-any-return] # noqa: SLF001


def decrypt_rsa(session: Session, handle: int, mechanism: Mechanism, data: bytes) -> bytes:
    """RSA_PKCS_OAEP (SHA-1, no label) or RSA_X_509."""
    bound: Any = Bound(session, handle)
    return bound._decrypt(data, mechanism, _OAEP_SHA1, None, len(data))  # type: ignore[no-any-return] # noqa: SLF001


def encrypt_gcm(session: Session, handle: int, iv: bytes, aad: bytes, data: bytes) -> bytes:
    """AES-GCM: ciphertext || tag; for the rare call, the frequent ones are in `direct`."""
    bound: Any = Bound(session, handle)
    parameter, room = GCMParams(iv, aad, _TAG_BITS), len(data) + _TAG_BITS // 8
    return bound._encrypt(data, Mechanism.AES_GCM, parameter, room)  # type: ignore[no-any-return] # noqa: SLF001


def decrypt_gcm(session: Session, handle: int, iv: bytes, aad: bytes, data: bytes) -> bytes:
    """AES-GCM: plaintext, or an error when the tag does not verify."""
    bound: Any = Bound(session, handle)
    parameter = GCMParams(iv, aad, _TAG_BITS)
    return bound._decrypt(data, Mechanism.AES_GCM, parameter, None, len(data))  # type: ignore[no-any-return] # noqa: SLF001


def decrypt_block(session: Session, handle: int, block: bytes) -> bytes:
    """AES of one block, backwards."""
    bound: Any = Bound(session, handle)
    return bound._decrypt(block, Mechanism.AES_ECB, None, None, len(block))  # type: ignore[no-any-return] # noqa: SLF001


def wrap(session: Session, wrapping: int, mechanism: Mechanism, handle: int) -> bytes:
    """Wrap one key under another, both by handle."""
    return Bound(session, wrapping).wrap_key(Bound(session, handle), mechanism, None)  # type: ignore[no-any-return]


def unwrap(
    session: Session,
    kek: int,
    blob: bytes,
    template: Packed,
    mechanism: Mechanism = Mechanism.AES_KEY_WRAP_PAD,
) -> TokenObject:
    """AES-KWP, or RSA_PKCS_OAEP (SHA-1, no label); gives the new session object."""
    return Bound(session, kek).unwrap_key(
        ObjectClass.SECRET_KEY,  # for the library's own check; our mapper sends the template's class
        KeyType.AES,
        blob,
        mechanism=mechanism,
        capabilities=0,
        template=template,
    )


def unwrap_oaep(session: Session, private: int, blob: bytes, template: Packed) -> TokenObject:
    """RSA-OAEP (SHA-1, no label); gives the new session object, an AES key."""
    return Bound(session, private).unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.AES,
        blob,
        mechanism=Mechanism.RSA_PKCS_OAEP,
        capabilities=0,
        template=template,
    )


def derive_blocks(session: Session, handle: int, blocks: bytes, template: Packed) -> TokenObject:
    """AES_ECB_ENCRYPT_DATA: a new session object whose value is the encryption of `blocks`."""
    return Bound(session, handle).derive_key(
        KeyType.AES,  # as above: the template's own type counts
        len(blocks) * 8,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=blocks,
        capabilities=0,
        template=template,
    )


def derive_ecdh(session: Session, handle: int, point: bytes, size: int, template: Packed) -> TokenObject:
    """ECDH1_DERIVE without a KDF: a new session object of `size` bytes."""
    return Bound(session, handle).derive_key(
        KeyType.GENERIC_SECRET,
        size * 8,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        capabilities=0,
        template=template,
    )


def take_value(secret: TokenObject) -> bytes:
    """Read a short-lived object's value and destroy the object, whatever happens."""
    try:
        return secret[Attribute.VALUE]  # type: ignore[no-any-return]
    finally:
        secret.destroy()


def find(session: Session, template: Packed) -> list[TokenObject]:
    """Search and exhaust the search: a half-read one blocks its session for ever."""
    return list(session.get_objects(template))


def deviations(found: TokenObject, template: Packed, unreadable: frozenset[int]) -> list[str]:
    """Name the attributes that read back otherwise than the template says."""
    names = [attribute for attribute in template if attribute not in unreadable]
    actual = found.get_attributes(names)
    return [name.name for name in names if _plain(actual.get(name)) != template[name]]


def _plain(value: object) -> object:
    """Bring what the library decoded for itself back to the packed form."""
    if isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    return pack_value(Attribute.CLASS, int(value)) if isinstance(value, int) else value
