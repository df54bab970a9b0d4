"""How long a secret is whose value nobody may see, in a token that does not tell.

SoftHSM has no CKA_VALUE_LEN of what it unwrapped, and its AES-KWP rounds lengths up to eight bytes. But RSA
with OAEP carries a key only if it fits: k - 42 bytes (RFC 8017, 7.1.1, SHA-1). So a wrapping under moduli of
chosen sizes tells, and tells nothing else: the modulus is a prime P and the exponent P - 1, so that whatever
is wrapped becomes 1 (Fermat). A secret is of the right length if it fits there, and not into a byte less.
"""

import sys
from typing import Final

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import DataLenRange, KeySizeRange
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm import handles
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import Packed, pack

_OAEP_BYTES: Final = 42
PRIMES: Final[dict[int, int]] = {
    length: (1 << 8 * (length + _OAEP_BYTES)) - below
    for length, below in (
        *((27, 503), (28, 717), (31, 195), (32, 935)),
        *((47, 489), (48, 395), (63, 213), (64, 17)),
    )
}
"""The largest prime of as many bytes as carry a secret of so many."""


def _gauge(prime: int) -> Packed:
    size = prime.bit_length() // 8
    return pack(
        {
            Attribute.CLASS: int(ObjectClass.PUBLIC_KEY),
            Attribute.KEY_TYPE: int(KeyType.RSA),
            Attribute.TOKEN: False,
            Attribute.PRIVATE: False,
            Attribute.ENCRYPT: False,
            Attribute.VERIFY: False,
            Attribute.WRAP: True,
            Attribute.MODULUS: prime.to_bytes(size),
            Attribute.PUBLIC_EXPONENT: (prime - 1).to_bytes(size),
            Attribute.MODIFIABLE: False,
        }
    )


_GAUGES: Final = {length: _gauge(prime) for length, prime in PRIMES.items()}
_NOTHING: Final = 1  # what everything becomes


def is_of_length(session: Session, held: TokenObject, length: int) -> bool:
    """Tell whether an extractable secret is of so many bytes, one of 28, 32, 48 and 64."""
    told = int.from_bytes(held[Attribute.VALUE_LEN], sys.byteorder)
    if told:
        return told == length
    return _fits(session, held, length) and not _fits(session, held, length - 1)


def _fits(session: Session, held: TokenObject, length: int) -> bool:
    gauge = session.create_object(_GAUGES[length])
    try:
        wrapped = handles.wrap(session, gauge.handle, Mechanism.RSA_PKCS_OAEP, held.handle)
    except (KeySizeRange, DataLenRange):
        return False
    finally:
        gauge.destroy()
    if int.from_bytes(wrapped) != _NOTHING:
        raise StrongroomError(Reason.INTERNAL, detail="a gauge let something of a secret out")
    return True
