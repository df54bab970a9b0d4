"""What the token says of an object that is a key: read now, as it stands, for a statement to others."""

from typing import Final

from pkcs11.constants import Attribute
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid

from strongroomd.hsm.handles import TokenObject

TRAITS: Final = (
    *(Attribute.TOKEN, Attribute.PRIVATE, Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE),
    *(Attribute.EXTRACTABLE, Attribute.NEVER_EXTRACTABLE, Attribute.LOCAL, Attribute.MODIFIABLE),
    *(Attribute.COPYABLE, Attribute.DESTROYABLE, Attribute.WRAP_WITH_TRUSTED),
)
"""PKCS#11 v2.40, sections 4.4, 4.9 and 4.10: where and how a key object lives, and where it came from."""


def read_traits(held: TokenObject) -> dict[str, bool | None]:
    """Read every trait; None for one that the token does not know of this object, or does not show."""
    return {trait.name.lower(): _read(held, trait) for trait in TRAITS}


def _read(held: TokenObject, trait: Attribute) -> bool | None:
    try:
        value = held.get_attributes([trait]).get(trait)
    except (AttributeTypeInvalid, AttributeSensitive):
        return None
    if isinstance(value, bytes):
        return value == b"\x01" if value in {b"\x00", b"\x01"} else None
    return value if isinstance(value, bool) else None
