"""The token's memory of the store.

One small data object, replaced by making the new before destroying the old.
"""

import struct
from typing import Final

from pkcs11.constants import Attribute, ObjectClass

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.hsm import handles
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.packing import pack

LABEL: Final = "strongroom anchor"
_FORM: Final = struct.Struct(">QQ32s32s")
_SEARCH: Final = pack({Attribute.CLASS: int(ObjectClass.DATA), Attribute.LABEL: LABEL})


def read(session: Session) -> Anchor | None:
    """Read the newest anchor, None when there is none.

    Raises:
        StrongroomError: INTEGRITY_FAILURE when one has not the form of an anchor.
    """
    return max((decode(found) for found in handles.find(session, _SEARCH)), key=_age, default=None)


def write(session: Session, anchor: Anchor) -> None:
    """Create the anchor's object; `remove_older` follows once it is durable."""
    session.create_object(
        pack(
            {
                Attribute.CLASS: int(ObjectClass.DATA),
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.LABEL: LABEL,
                Attribute.VALUE: encode(anchor),
                Attribute.MODIFIABLE: False,
            }
        )
    )


def remove_older(session: Session, anchor: Anchor) -> None:
    """Destroy what a newer anchor replaced; one that is newer still, by whomever, stays."""
    for found in handles.find(session, _SEARCH):
        if _age(decode(found)) < _age(anchor) and found[Attribute.LABEL] == LABEL.encode():
            found.destroy()


def remove_others(session: Session, anchor: Anchor) -> None:
    """Destroy every other anchor, newer ones too: the token forgets that there ever was a later state."""
    for found in handles.find(session, _SEARCH):
        if decode(found) != anchor and found[Attribute.LABEL] == LABEL.encode():
            found.destroy()


def encode(anchor: Anchor) -> bytes:
    """Give the object's value: sequence and checkpoint as 64-bit numbers, then both hashes."""
    return _FORM.pack(anchor.sequence, anchor.checkpoint, anchor.head, anchor.checkpoint_hash)


def decode(found: TokenObject) -> Anchor:
    """Undo `encode`."""
    value: bytes = found[Attribute.VALUE]
    if len(value) != _FORM.size:
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="an anchor in the token has the wrong length")
    sequence, checkpoint, head, checkpoint_hash = _FORM.unpack(value)
    return Anchor(sequence, head, checkpoint, checkpoint_hash)


def _age(anchor: Anchor) -> tuple[int, int]:
    return anchor.sequence, anchor.checkpoint
