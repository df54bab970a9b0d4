"""How modules differ from the standard, as data; each line was tried on SoftHSM 2.6.1."""

from dataclasses import dataclass
from typing import Final

from strongroomd.domain.algorithms import KeyFamily


@dataclass(frozen=True, slots=True)
class Quirks:
    """Differences of one module.

    Attributes:
        unwrappable: families whose private keys the module cannot wrap.
        keeps_session_after_bad_data: a session stays usable after GENERAL_ERROR from forged input, so that it
            need not be thrown away (closing costs time in proportion to the session objects alive).
        unreadable: attribute numbers that can be set but not read back.
    """

    unwrappable: frozenset[KeyFamily] = frozenset()
    keeps_session_after_bad_data: bool = False
    unreadable: frozenset[int] = frozenset()


STANDARD: Final = Quirks()
SOFTHSM: Final = Quirks(
    unwrappable=frozenset({KeyFamily.EDWARDS}),  # C_WrapKey: CKR_KEY_NOT_WRAPPABLE
    keeps_session_after_bad_data=True,
    unreadable=frozenset({0x40000212}),  # CKA_UNWRAP_TEMPLATE: CKR_GENERAL_ERROR
)


def quirks_of(manufacturer: str) -> Quirks:
    """Find a module's quirks by the manufacturer in its C_GetInfo."""
    return SOFTHSM if manufacturer.strip().startswith("SoftHSM") else STANDARD
