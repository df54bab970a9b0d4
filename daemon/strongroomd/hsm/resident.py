"""Token objects of resident keys: listed and destroyed; an empty answer counts only beside the sentinel.

A token whose files are away answers every search with nothing and no error.
"""

from collections import Counter
from typing import Final

from pkcs11.constants import Attribute

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import ResidentObject
from strongroomd.hsm import handles
from strongroomd.hsm.handles import Session
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.templates import LABEL_RESIDENT

_SEARCH: Final = pack({Attribute.LABEL: LABEL_RESIDENT})


def list_objects(session: Session, sentinel: Packed) -> list[ResidentObject]:
    """List resident keys by CKA_ID."""
    counts = Counter(found[Attribute.ID].hex() for found in handles.find(session, _SEARCH))
    demand_sentinel(session, sentinel)
    return [ResidentObject(hsm_id, count) for hsm_id, count in sorted(counts.items())]


def destroy(session: Session, hsm_id: str) -> None:
    """Destroy the objects of a resident key; house keys refuse by themselves.

    Each is asked for its name once more just before: nothing undoes a destruction.

    Raises:
        StrongroomError: HSM_UNAVAILABLE when the token shows another object than was searched for.
    """
    for found in handles.find(session, {**_SEARCH, **_identity(hsm_id)}):
        if found[Attribute.ID] != bytes.fromhex(hsm_id) or found[Attribute.LABEL] != LABEL_RESIDENT.encode():
            detail = "the token answers a search with another object; nothing is destroyed"
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail)
        found.destroy()


def confirm_gone(session: Session, hsm_id: str, sentinel: Packed) -> None:
    """Search again, on a session that knows nothing of the destruction.

    Raises:
        StrongroomError: HSM_UNAVAILABLE when an object is left or the sentinel is not seen.
    """
    left = len(handles.find(session, {**_SEARCH, **_identity(hsm_id)}))
    demand_sentinel(session, sentinel)
    if left:
        raise StrongroomError(
            Reason.HSM_UNAVAILABLE, detail="a destroyed object is still there", retry_after=1.0
        )


def demand_sentinel(session: Session, sentinel: Packed) -> None:
    """Raise HSM_UNAVAILABLE unless the sentinel object is visible."""
    if len(handles.find(session, sentinel)) != 1:
        raise StrongroomError(
            Reason.HSM_UNAVAILABLE,
            detail="the sentinel is not visible: the token's contents are away",
            retry_after=5,
        )


def _identity(hsm_id: str) -> Packed:
    return pack({Attribute.ID: bytes.fromhex(hsm_id)})
