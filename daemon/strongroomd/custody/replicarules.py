"""What a bundle of another house may say of a key, held against what is here; it is believed by then.

Numbers only grow, and what a key is never changes: an older bundle changes nothing back, and none makes
another key of one that is here.
"""

import hmac
from dataclasses import dataclass

from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.records import KeyRecord, KeyState, VersionRecord, protection_of
from strongroomd.domain.replicastatements import Bundle, Shipped
from strongroomd.domain.replication import MultiRegion


@dataclass(frozen=True, slots=True)
class Here:
    """What is here of a bundle's key before it comes in.

    Attributes:
        versions: those with material, oldest first.
        repeated: whether the bundle only says once more who has the primary, and may change nothing.
    """

    key: KeyRecord | None
    versions: tuple[VersionRecord, ...]
    repeated: bool = False


def require_of_primary(bundle: Bundle, region: str) -> None:
    """Refuse a new replica that does not come from its primary's house, or begins in the middle."""
    if bundle.primary != bundle.source or bundle.primary == region:
        raise invalid("bundle", "is not from the house of the key's primary")
    if bundle.after:
        raise invalid("bundle", "leaves out earlier versions, which are not here")
    if not bundle.versions:
        raise invalid("bundle", "has no version")


def require_same_key(key: KeyRecord, bundle: Bundle) -> None:
    """Refuse a bundle that says otherwise what a key is that is here; what it is never changes."""
    if key.state is KeyState.DESTROYED and key.account == bundle.account:
        raise StrongroomError(Reason.INVALID_KEY_STATE, "the key was destroyed here, and does not come back")
    mine = (key.account, key.spec, key.usage, key.exportable, protection_of(key), key.created_at)
    said = (bundle.account, bundle.spec, bundle.usage, bundle.exportable, bundle.quorum, bundle.created_at)
    if mine != said or key.multi_region is MultiRegion.NONE:
        raise invalid("bundle", "says otherwise what the key is")


def require_next(key: KeyRecord, bundle: Bundle) -> bool:
    """Refuse a bundle that is not from this replica's primary, or older than what is here.

    Returns:
        True for one that only says once more who has the primary: the house that had it before said so.
    """
    require(key.state, Act.EDIT)
    if bundle.source != key.primary_region and (bundle.term, bundle.primary) == (
        key.term,
        key.primary_region,
    ):
        return True
    if key.multi_region is MultiRegion.PRIMARY:
        raise StrongroomError(Reason.INVALID_KEY_STATE, "the key is the primary here: it follows nobody")
    if bundle.source != key.primary_region:
        raise invalid("bundle", "is not from the house of the key's primary")
    if bundle.term < key.term or bundle.current_version < key.current_version:
        raise invalid("bundle", "is older than what is here")
    if bundle.term == key.term and bundle.primary != key.primary_region:
        raise invalid("bundle", "names another primary for the same term")
    return False


def missing(bundle: Bundle, here: Here) -> list[Shipped]:
    """Find the versions that are not here, and hold the others against what is.

    One may be here that the primary does not have: its house got the primary when another was lost, in which
    that version waited. It stays, unused, and numbers tell it from the primary's (`lostprimaries`).

    Raises:
        StrongroomError: INVALID_FIELD for a gap, INCORRECT_KEY_MATERIAL for a version that is another here.
    """
    known = {version.version: version for version in here.versions}
    if bundle.after and bundle.after not in known:
        raise invalid("bundle", "leaves out versions that are not here")
    for shipped in bundle.versions:
        mine = known.get(shipped.version)
        if mine is not None and not _same(mine, shipped):
            raise StrongroomError(Reason.INCORRECT_KEY_MATERIAL, field="bundle")
    missing = [each for each in bundle.versions if each.version not in known]
    if here.repeated and missing:
        raise invalid("bundle", "is not from the house of the key's primary")
    if bundle.current_version not in {*known, *(each.version for each in bundle.versions)}:
        raise invalid("bundle", "lacks the current version")
    return missing


def _same(mine: VersionRecord, shipped: Shipped) -> bool:
    check = hmac.compare_digest(mine.check_value, shipped.check_value)
    return check and (mine.public_key, mine.scheme) == (shipped.public_key, shipped.scheme)
