"""Attribute values checked and packed before python-pkcs11 sees them.

A value that python-pkcs11 cannot pack frees memory that was never allocated and kills the process. Here
every value is checked against the type of its attribute and turned into bytes, and the mapper given to the
library takes nothing but such bytes.
"""

import ctypes
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from pkcs11.attributes import ATTRIBUTE_TYPES, AttributeMapper
from pkcs11.constants import Attribute

from strongroomd.domain.errors import StrongroomError, invalid

Packed = dict[Attribute, bytes]
"""A template ready for the library: attribute and the very bytes of its value."""

MAX_VALUE: Final = 65_536  # bytes of one attribute value; a 16,384-bit RSA modulus has 2,048
_ULONG: Final = struct.Struct("@L")
_POINTER_BYTES: Final = ctypes.sizeof(ctypes.c_void_p)
_kept: list[Any] = []  # buffers that packed nested templates point into; made at import, alive for ever

_BOOLEANS: Final = frozenset(
    (
        Attribute.TOKEN, Attribute.PRIVATE, Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.MODIFIABLE,
        Attribute.COPYABLE, Attribute.DESTROYABLE, Attribute.WRAP_WITH_TRUSTED, Attribute.ENCRYPT,
        Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY, Attribute.WRAP, Attribute.UNWRAP,
        Attribute.DERIVE, Attribute.SIGN_RECOVER, Attribute.VERIFY_RECOVER,
    )
)  # fmt: skip
_NUMBERS: Final = frozenset(
    (Attribute.CLASS, Attribute.KEY_TYPE, Attribute.VALUE_LEN, Attribute.MODULUS_BITS)
)
_BYTES: Final = frozenset(
    (
        Attribute.ID, Attribute.VALUE, Attribute.EC_PARAMS, Attribute.EC_POINT, Attribute.MODULUS,
        Attribute.PUBLIC_EXPONENT, Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.PRIME_2,
        Attribute.EXPONENT_1, Attribute.EXPONENT_2, Attribute.COEFFICIENT, Attribute.OBJECT_ID,
    )
)  # fmt: skip
_TEXTS: Final = frozenset((Attribute.LABEL, Attribute.APPLICATION))


def pack(template: Mapping[Attribute, object]) -> Packed:
    """Check and pack a template; MODIFIABLE goes last, since SoftHSM heeds it from where it stands.

    Raises:
        StrongroomError: INVALID_FIELD naming the attribute whose value is of the wrong type or too long.
    """
    packed = {attribute: pack_value(attribute, value) for attribute, value in template.items()}
    if Attribute.MODIFIABLE in packed:
        packed[Attribute.MODIFIABLE] = packed.pop(Attribute.MODIFIABLE)
    return packed


def pack_value(attribute: object, value: object) -> bytes:
    """Check and pack one value."""
    if not isinstance(attribute, Attribute):
        raise invalid("hsm.template", "only known attributes may be set")
    packer = _PACKERS.get(attribute)
    if packer is None:
        raise _wrong(attribute, "this attribute is not used here")
    packed = packer(attribute, value)
    if len(packed) > MAX_VALUE:
        raise _wrong(attribute, f"at most {MAX_VALUE} bytes are allowed")
    return packed


def _boolean(attribute: Attribute, value: object) -> bytes:
    if not isinstance(value, bool):
        raise _wrong(attribute, "must be true or false")
    return b"\x01" if value else b"\x00"


def _number(attribute: Attribute, value: object) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise _wrong(attribute, "must be a whole number below 2^32")
    return _ULONG.pack(value)


def _octets(attribute: Attribute, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _wrong(attribute, "must be bytes")
    return value


def _text(attribute: Attribute, value: object) -> bytes:
    if not isinstance(value, str):
        raise _wrong(attribute, "must be text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _wrong(attribute, "must be valid Unicode text") from error


def _mechanisms(attribute: Attribute, value: object) -> bytes:
    """Pack a list of mechanisms in ascending order, which is how SoftHSM gives it back."""
    if not isinstance(value, tuple):
        raise _wrong(attribute, "must be a tuple of mechanism numbers")
    packed = {item: _number(attribute, item) for item in value}
    return b"".join(packed[item] for item in sorted(packed))


def _nested(attribute: Attribute, value: object) -> bytes:
    """Pack a template within a template: an array of CK_ATTRIBUTE (type, pointer, length)."""
    if not isinstance(value, Mapping):
        raise _wrong(attribute, "must be a template")
    entries = bytearray()
    for inner, raw in pack(value).items():
        buffer = ctypes.create_string_buffer(raw, max(len(raw), 1))
        _kept.append(buffer)
        entries += _ULONG.pack(inner)
        entries += ctypes.addressof(buffer).to_bytes(_POINTER_BYTES, _ORDER)
        entries += _ULONG.pack(len(raw))
    return bytes(entries)


_ORDER: Final = "little" if struct.pack("@H", 1)[0] else "big"
_PACKERS: Final[dict[Attribute, Callable[[Attribute, object], bytes]]] = {
    **dict.fromkeys(_BOOLEANS, _boolean),
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_BYTES, _octets),
    **dict.fromkeys(_TEXTS, _text),
    Attribute.ALLOWED_MECHANISMS: _mechanisms,
    Attribute.UNWRAP_TEMPLATE: _nested,
}


def _wrong(attribute: Attribute, message: str) -> StrongroomError:
    return invalid(f"hsm.template.{attribute.name}", message)


class RawMapper(AttributeMapper):
    """The mapper that the library gets: packed bytes in, raw bytes out, no defaults of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.default_secret_key_template = {}
        self.default_public_key_template = {}
        self.default_private_key_template = {}

    def pack_attribute(self, key: Attribute, value: Any) -> bytes:  # noqa: ANN401 - the library's signature
        """Pass packed bytes through; pack the few plain values that the library adds itself."""
        return value if type(value) is bytes else pack_value(Attribute(key), value)

    def unpack_attributes(self, key: Attribute, value: bytes) -> Any:  # noqa: ANN401 - the library's signature
        """Decode what the library itself looks at (class, key type, flags); leave all else as bytes."""
        return super().unpack_attributes(key, value) if key in _DECODED else value

    def generic_key_template(self, base_template: dict[Attribute, Any], **_: Any) -> dict[Attribute, Any]:  # noqa: ANN401
        """Add nothing: our templates state every attribute."""
        del base_template
        return {}

    def public_key_template(self, **_: Any) -> dict[Attribute, Any]:  # noqa: ANN401 - the library's signature
        """Add nothing."""
        return {}

    def private_key_template(self, **_: Any) -> dict[Attribute, Any]:  # noqa: ANN401 - the library's signature
        """Add nothing."""
        return {}


_DECODED: Final = frozenset(
    (
        Attribute.CLASS, Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY,
        Attribute.WRAP, Attribute.UNWRAP, Attribute.DERIVE, Attribute.ENCAPSULATE, Attribute.DECAPSULATE,
    )
)  # fmt: skip
MAPPER: Final = RawMapper()
assert set(_DECODED) <= set(ATTRIBUTE_TYPES)  # noqa: S101 - holds for the pinned version; stops any other
