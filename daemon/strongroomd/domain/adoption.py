"""Adopted keys: objects that were in the token before us, which we use and never change (design, section 6).

What an object may do and how well it is kept were settled by whoever made it. So they are read when it is
adopted, kept in the version's record, and said in words to whoever looks at the key.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.algorithms import KeyUsage
from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.records import CustodyMode, VersionRecord

MAX_OBJECT_NAME: Final = 256
"""Characters of a label, or digits of a CKA_ID: 128 bytes, far above what token tools make."""
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
NOTE: Final = (
    "adopted: the daemon uses an object that was in the token before, and never changes or destroys it; "
    "deleting the key leaves the object in the token"
)
"""What every adopted key says of its custody."""


class Use(StrEnum):
    """What the token lets a key be used for: the PKCS#11 attributes CKA_ENCRYPT and so on."""

    ENCRYPT = "ENCRYPT"
    DECRYPT = "DECRYPT"
    SIGN = "SIGN"
    VERIFY = "VERIFY"
    WRAP = "WRAP"
    UNWRAP = "UNWRAP"
    DERIVE = "DERIVE"


class Trait(StrEnum):
    """How the token keeps a key: the PKCS#11 attributes CKA_SENSITIVE and so on."""

    SENSITIVE = "SENSITIVE"
    ALWAYS_SENSITIVE = "ALWAYS_SENSITIVE"
    EXTRACTABLE = "EXTRACTABLE"
    NEVER_EXTRACTABLE = "NEVER_EXTRACTABLE"
    PRIVATE = "PRIVATE"
    LOCAL = "LOCAL"


@dataclass(frozen=True, slots=True)
class ObjectName:
    """How a token object is named by whoever wants it adopted: by exactly one of the two.

    Attributes:
        cka_id: CKA_ID, hexadecimal digits in lower case.
        label: CKA_LABEL.
    """

    cka_id: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class AdoptedObject:
    """A token object as it was found when it was adopted.

    Attributes:
        cka_id: CKA_ID in hexadecimal digits; empty if it has none.
        label: CKA_LABEL; empty if it has none, or one that is no plain text.
        object_class: PKCS#11's name of its class, e.g. SECRET_KEY.
        length: of the secret, in bytes.
        uses, traits: its attributes that are true.
        check_value: proves at each load that it is the same key still; empty where its uses allow no proof.
    """

    cka_id: str
    label: str
    object_class: str
    length: int
    uses: tuple[Use, ...]
    traits: tuple[Trait, ...]
    check_value: bytes

    @property
    def spec(self) -> str:
        """The name that other key managers have for it, e.g. AES_256."""
        return f"AES_{self.length * 8}"

    @property
    def confined(self) -> bool:
        """Whether its value can leave the token neither in clear nor wrapped."""
        return Trait.SENSITIVE in self.traits and Trait.EXTRACTABLE not in self.traits

    def warnings(self) -> tuple[str, ...]:
        """Say in words what the token does not prevent."""
        return (*(text for doubt, text in _DOUBTS if doubt(self)), _SHARED)


def object_name(cka_id: str, label: str) -> ObjectName:
    """Check how an object is named.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE, at `cka_id` or `label`.
    """
    if bool(cka_id) == bool(label):
        wrong = "cka_id" if label else "label"
        raise invalid(wrong, "the object must be named by either its CKA_ID or its label")
    if max(len(cka_id), len(label)) > MAX_OBJECT_NAME:
        raise too_large("cka_id" if cka_id else "label", MAX_OBJECT_NAME, "characters")
    if cka_id and not _HEX.fullmatch(cka_id):
        raise invalid("cka_id", "must be hexadecimal digits, two for each byte")
    if not label.isprintable():
        raise invalid("label", "must be printable text")
    return ObjectName(cka_id.lower(), label)


def described(record: VersionRecord) -> AdoptedObject:
    """Give what a version of an adopted key remembers of its object."""
    return AdoptedObject(
        cka_id=record.object_id,
        label=record.object_label,
        object_class=record.object_class,
        length=record.length,
        uses=tuple(Use(name) for name in split(record.uses)),
        traits=tuple(Trait(name) for name in split(record.traits)),
        check_value=record.check_value,
    )


def uses_of(record: VersionRecord, mode: CustodyMode, usage: KeyUsage) -> frozenset[Use]:
    """Say what a version may be used for: an adopted one as its object lets, any other as its usage does."""
    if mode is CustodyMode.ADOPTED:
        return frozenset(Use(name) for name in split(record.uses))
    return _USES[usage]


def joined(names: Iterable[StrEnum]) -> str:
    """Spell uses or traits as a record keeps them, in the order in which they are declared."""
    return ",".join(names)


def split(text: str) -> list[str]:
    """Undo `joined`."""
    return text.split(",") if text else []


_USES: Final[dict[KeyUsage, frozenset[Use]]] = {
    KeyUsage.ENCRYPT_DECRYPT: frozenset({Use.ENCRYPT, Use.DECRYPT}),
    KeyUsage.SIGN_VERIFY: frozenset({Use.SIGN, Use.VERIFY}),
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({Use.SIGN, Use.VERIFY}),
    KeyUsage.KEY_AGREEMENT: frozenset({Use.DERIVE}),
}

_SHARED: Final = (
    "others who can log in to the token may use the object too, and what they encrypt with it is not counted"
)


def _lacks(trait: Trait) -> Callable[[AdoptedObject], bool]:
    return lambda found: trait not in found.traits


def _may(use: Use) -> Callable[[AdoptedObject], bool]:
    return lambda found: use in found.uses


_DOUBTS: Final[tuple[tuple[Callable[[AdoptedObject], bool], str], ...]] = (
    (
        lambda found: Trait.EXTRACTABLE in found.traits,
        "extractable: who can log in to the token can wrap it under another key, and take its value out",
    ),
    (_lacks(Trait.SENSITIVE), "not sensitive: who can log in to the token can read its value"),
    (_lacks(Trait.PRIVATE), "not private: it is visible at the token to who has not logged in"),
    (
        _lacks(Trait.NEVER_EXTRACTABLE),
        'not "never extractable": its value may have left the token before it was adopted',
    ),
    (
        _lacks(Trait.LOCAL),
        "not made inside the token: its value was known outside, at least to whoever put it in",
    ),
    (
        _may(Use.WRAP),
        "may wrap: keys wrapped under it can be decrypted outside the token by who may decrypt with it",
    ),
    (_may(Use.UNWRAP), "may unwrap: who may encrypt with it can bring keys of their own into the token"),
    (_may(Use.DERIVE), "may derive: who can log in to the token can read what is derived from it"),
    (
        lambda found: not found.check_value,
        "no check value: its uses allow no proof, so another key put in its place would not be noticed",
    ),
)
"""What may be said against an object, and when."""
