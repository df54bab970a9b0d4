"""Every attribute of every class of key, as data.

A template is the sum of three tables: what kind of object it is (`FRAMES`), where and how it lives (`LIVES`)
and what it may do (`DUTIES`). Nothing is left to a module's defaults: they differ, and python-pkcs11's own
are lax.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage, Scheme, schemes
from strongroomd.domain.housekeys import OF_EVERY_TOKEN, ON_DEMAND
from strongroomd.domain.housekeys import House as House  # noqa: PLC0414 - for whoever imports it from here
from strongroomd.hsm.packing import Packed, pack

A = Attribute
M = Mechanism


class Life(StrEnum):
    """Where and how an object lives."""

    BORN = "born"  # session object that will be wrapped at once and destroyed
    SEALED = "sealed"  # loaded from the store: can never leave the token again
    EXPORTABLE = "exportable"  # loaded from the store for use: can leave under a trusted wrapping key only
    LEAVING = "leaving"  # an exportable key loaded to be wrapped once more and destroyed at once
    RESIDENT = "resident"  # token object that never leaves
    HOUSE = "house"  # token object of the daemon itself: cannot be changed, copied or destroyed
    OPEN = "open"  # short-lived session object whose value is read out: that is its purpose


PAIRS: Final = frozenset((House.CHECKPOINT, House.STATEMENT, House.REPLICA))
"""House keys that are key pairs."""


def roles_in(token: str) -> tuple[House, ...]:
    """Tell which house keys a token must have: a further one only what keys need that live there."""
    return tuple(role for role in House if role not in ON_DEMAND and (role in OF_EVERY_TOKEN or not token))


@dataclass(frozen=True, slots=True)
class Duty:
    """What a key may do: its usage flags that are true, and its mechanisms."""

    flags: tuple[Attribute, ...]
    mechanisms: tuple[Mechanism, ...]


LABEL_HOUSE: Final = "strongroom house key"
LABEL_RESIDENT: Final = "strongroom key"

_FLAGS: Final = (A.ENCRYPT, A.DECRYPT, A.SIGN, A.VERIFY, A.WRAP, A.UNWRAP, A.DERIVE)
_PRIVATE_KEY_LACKS: Final = (A.ENCRYPT, A.VERIFY, A.WRAP)  # a private key has no such attributes


_LIFE_FLAGS: Final = (
    A.TOKEN,
    A.PRIVATE,
    A.SENSITIVE,
    A.EXTRACTABLE,
    A.WRAP_WITH_TRUSTED,
    A.COPYABLE,
    A.DESTROYABLE,
    A.MODIFIABLE,
)

LIVES: Final[dict[Life, tuple[Attribute, ...]]] = {
    Life.BORN: (A.PRIVATE, A.SENSITIVE, A.EXTRACTABLE, A.DESTROYABLE),
    Life.SEALED: (A.PRIVATE, A.SENSITIVE, A.DESTROYABLE),
    Life.EXPORTABLE: (A.PRIVATE, A.SENSITIVE, A.EXTRACTABLE, A.WRAP_WITH_TRUSTED, A.DESTROYABLE),
    Life.LEAVING: (A.PRIVATE, A.SENSITIVE, A.EXTRACTABLE, A.DESTROYABLE),
    Life.RESIDENT: (A.TOKEN, A.PRIVATE, A.SENSITIVE, A.DESTROYABLE),
    Life.HOUSE: (A.TOKEN, A.PRIVATE, A.SENSITIVE),
    Life.OPEN: (A.PRIVATE, A.EXTRACTABLE, A.DESTROYABLE),
}
"""Which of `_LIFE_FLAGS` are true; the others are stated as false."""

DUTIES: Final[dict[tuple[KeyFamily, KeyUsage], Duty]] = {
    (KeyFamily.AES, KeyUsage.ENCRYPT_DECRYPT): Duty((A.DERIVE,), (M.AES_ECB_ENCRYPT_DATA,)),
    (KeyFamily.RSA, KeyUsage.ENCRYPT_DECRYPT): Duty((A.DECRYPT,), (M.RSA_PKCS_OAEP, M.RSA_X_509)),
    (KeyFamily.RSA, KeyUsage.SIGN_VERIFY): Duty((A.SIGN,), (M.RSA_PKCS, M.RSA_PKCS_PSS)),
    (KeyFamily.EC, KeyUsage.SIGN_VERIFY): Duty((A.SIGN,), (M.ECDSA,)),
    (KeyFamily.EC, KeyUsage.KEY_AGREEMENT): Duty((A.DERIVE,), (M.ECDH1_DERIVE,)),
    (KeyFamily.EDWARDS, KeyUsage.SIGN_VERIFY): Duty((A.SIGN,), (M.EDDSA,)),
}

GCM_DUTY: Final = Duty((A.ENCRYPT, A.DECRYPT), (M.AES_GCM,))
"""Of keys that encrypt themselves: symmetric versions of scheme AES_GCM, and XAES sub-keys."""

HMACS: Final[dict[KeySpec, Mechanism]] = {
    KeySpec.HMAC_224: M.SHA224_HMAC,
    KeySpec.HMAC_256: M.SHA256_HMAC,
    KeySpec.HMAC_384: M.SHA384_HMAC,
    KeySpec.HMAC_512: M.SHA512_HMAC,
}

KEY_TYPES: Final[dict[KeyFamily, tuple[ObjectClass, KeyType]]] = {
    KeyFamily.AES: (ObjectClass.SECRET_KEY, KeyType.AES),
    KeyFamily.HMAC: (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET),
    KeyFamily.RSA: (ObjectClass.PRIVATE_KEY, KeyType.RSA),
    KeyFamily.EC: (ObjectClass.PRIVATE_KEY, KeyType.EC),
    KeyFamily.EDWARDS: (ObjectClass.PRIVATE_KEY, KeyType.EC_EDWARDS),
}

UNWRAPS_OAEP: Final = Duty((A.UNWRAP,), (M.RSA_PKCS_OAEP,))
DECRYPTS_RAW: Final = Duty((A.DECRYPT,), (M.RSA_X_509,))
"""What the private half of a wrapping pair may do: for OAEP with SHA-1, and for SHA-256, unpadded outside."""

ARRIVING_PAIR: Final = Duty((A.SIGN, A.DERIVE), (M.ECDSA, M.ECDH1_DERIVE))
"""What an imported curve key may do until its public half is known, whichever its usage."""

HOUSE_DUTIES: Final[dict[House, tuple[KeyFamily, Duty]]] = {
    House.KEK_SEALED: (KeyFamily.AES, Duty((A.WRAP, A.UNWRAP), (M.AES_KEY_WRAP_PAD,))),
    House.KEK_EXPORTABLE: (KeyFamily.AES, Duty((A.WRAP, A.UNWRAP), (M.AES_KEY_WRAP_PAD,))),
    House.ROW_MAC: (KeyFamily.HMAC, Duty((A.SIGN,), (M.SHA256_HMAC,))),
    House.CHECKPOINT: (KeyFamily.EC, Duty((A.SIGN,), (M.ECDSA,))),
    House.STATEMENT: (KeyFamily.EC, Duty((A.SIGN,), (M.ECDSA,))),
    House.SENTINEL: (KeyFamily.HMAC, Duty((), (M.SHA256_HMAC,))),
    House.HEALTH: (KeyFamily.HMAC, Duty((A.SIGN,), (M.SHA256_HMAC,))),
    House.REPLICA: (KeyFamily.RSA, UNWRAPS_OAEP),
}

UNWRAP_TEMPLATES: Final[dict[House, dict[Attribute, object]]] = {
    House.KEK_SEALED: {A.SENSITIVE: True, A.EXTRACTABLE: False, A.TOKEN: False, A.PRIVATE: True},
    House.KEK_EXPORTABLE: {A.SENSITIVE: True, A.EXTRACTABLE: True, A.TOKEN: False, A.PRIVATE: True},
}
"""What a key unwrapped under a KEK must be; SoftHSM refuses every other (TEMPLATE_INCONSISTENT).

The exportable KEK's said WRAP_WITH_TRUSTED once (ADR 0032): under such a KEK keys work, and never leave.
"""


def duty_of(spec: KeySpec, usage: KeyUsage, scheme: Scheme = Scheme.DEFAULT) -> Duty:
    """Say what a customer key of this spec, usage and scheme may do in the token."""
    if scheme is Scheme.AES_GCM:
        return GCM_DUTY
    if spec in HMACS:
        return Duty((A.SIGN,), (HMACS[spec],))
    return DUTIES[SPECS[spec].family, usage]


def template(family: KeyFamily, life: Life, duty: Duty) -> dict[Attribute, object]:
    """Put together the attributes of a secret or private key, identity (ID, LABEL) apart."""
    object_class, key_type = KEY_TYPES[family]
    flags: dict[Attribute, object] = {flag: flag in duty.flags for flag in _FLAGS}
    if object_class is ObjectClass.PRIVATE_KEY:
        flags = {flag: on for flag, on in flags.items() if flag not in _PRIVATE_KEY_LACKS}
    identity: dict[Attribute, object] = {A.CLASS: int(object_class), A.KEY_TYPE: int(key_type)}
    if duty.mechanisms:  # an empty list is no valid value; without usage flags there is nothing to restrict
        flags[A.ALLOWED_MECHANISMS] = tuple(int(m) for m in duty.mechanisms)
    return {**identity, **flags, **{flag: flag in LIVES[life] for flag in _LIFE_FLAGS}}


def house_template(role: House, identity: bytes) -> dict[Attribute, object]:
    """Put together the attributes of a house key."""
    family, duty = HOUSE_DUTIES[role]
    attributes = {**template(family, Life.HOUSE, duty), A.ID: identity, A.LABEL: LABEL_HOUSE}
    if role in UNWRAP_TEMPLATES:
        attributes[A.UNWRAP_TEMPLATE] = UNWRAP_TEMPLATES[role]
    return attributes


def customer_template(spec: KeySpec, usage: KeyUsage, life: Life, scheme: Scheme = Scheme.DEFAULT) -> Packed:
    """Give the packed attributes of a customer key; made once each."""
    return _CUSTOMER[spec, usage, life, scheme]


_CUSTOMER: Final[dict[tuple[KeySpec, KeyUsage, Life, Scheme], Packed]] = {
    (spec, usage, life, scheme): pack(
        template(facts.family, life, duty_of(spec, usage, scheme))
        | ({A.LABEL: LABEL_RESIDENT} if life is Life.RESIDENT else {})
    )
    for spec, facts in SPECS.items()
    for usage in facts.usages
    for scheme in schemes(spec)
    for life in (Life.BORN, Life.SEALED, Life.EXPORTABLE, Life.LEAVING, Life.RESIDENT)
}

PUBLIC_HALF: Final = pack({A.TOKEN: False, A.PRIVATE: False})
"""The public half of a pair lives as long as the session: the row keeps its SubjectPublicKeyInfo."""

SUBKEY: Final = pack(template(KeyFamily.AES, Life.SEALED, GCM_DUTY))
"""An XAES sub-key: AES-GCM only."""

MASK: Final = pack(template(KeyFamily.HMAC, Life.OPEN, Duty((), ())))
"""A secret that the host reads: L of XAES, a check value, an ECDH secret."""

CARRIER: Final = pack(template(KeyFamily.AES, Life.SEALED, Duty((A.UNWRAP,), (M.AES_KEY_WRAP_PAD,))))
"""The one-time AES key that imported material came wrapped under (RSA_AES_KEY_WRAP)."""

EPHEMERAL: Final = pack(template(KeyFamily.AES, Life.BORN, Duty((A.WRAP,), (M.AES_KEY_WRAP_PAD,))))
"""The one-time AES key between the recovery public key and the material."""

_DERIVES: Final = Duty((A.DERIVE,), (M.AES_ECB_ENCRYPT_DATA,))
COPY_ROOT: Final = pack(template(KeyFamily.AES, Life.BORN, _DERIVES))
"""The one-time root of a copy for another house, where it is made: it derives and leaves, no more."""

COPY_WRAPPER: Final = pack(template(KeyFamily.AES, Life.SEALED, Duty((A.WRAP,), (M.AES_KEY_WRAP_PAD,))))
"""What such a root derives from the binding: it wraps the material."""

COPY_CARRIER: Final = pack(template(KeyFamily.AES, Life.SEALED, _DERIVES))
"""The root of a copy where it comes in: it unwraps nothing itself."""
