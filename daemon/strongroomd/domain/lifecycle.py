"""What each key state allows, as one table (AWS KMS developer guide, key states)."""

from enum import StrEnum, auto
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import KeyState


class Act(StrEnum):
    """Kinds of action that a state can allow or refuse."""

    USE = auto()  # cryptographic work and GetPublicKey
    READ = auto()  # describe, list, read the policy
    EDIT = auto()  # description, tags, aliases
    POLICY = auto()  # put the key policy
    SWITCH = auto()  # enable and disable
    ROTATE = auto()
    REPLICATE = auto()  # give a key to another house, or its primary away
    SCHEDULE_DELETION = auto()
    CANCEL_DELETION = auto()
    IMPORT = auto()  # parameters for an import, and the import
    DELETE_MATERIAL = auto()  # of imported keys


_E, _D, _P, _I, _C, _U, _X = (
    KeyState.ENABLED,
    KeyState.DISABLED,
    KeyState.PENDING_DELETION,
    KeyState.PENDING_IMPORT,
    KeyState.CREATING,
    KeyState.UNAVAILABLE,
    KeyState.DESTROYED,
)

ALLOWED: Final[dict[Act, frozenset[KeyState]]] = {
    Act.USE: frozenset({_E}),
    Act.READ: frozenset({_E, _D, _P, _I, _C, _U}),
    Act.EDIT: frozenset({_E, _D, _I, _U}),
    Act.POLICY: frozenset({_E, _D, _P, _I, _U}),
    Act.SWITCH: frozenset({_E, _D}),
    Act.ROTATE: frozenset({_E}),
    Act.REPLICATE: frozenset({_E}),
    Act.SCHEDULE_DELETION: frozenset({_E, _D, _I, _U}),
    Act.CANCEL_DELETION: frozenset({_P}),
    Act.IMPORT: frozenset({_E, _D, _I}),
    Act.DELETE_MATERIAL: frozenset({_E, _D, _P, _I}),
}

_NOT_SCHEDULED: Final = frozenset({_E, _D, _I, _U})
"""States in which there is no deletion to cancel: that, not the state itself, is what is wrong."""

_REFUSALS: Final[dict[KeyState, Reason]] = {
    _E: Reason.INVALID_KEY_STATE,
    _D: Reason.KEY_DISABLED,
    _P: Reason.KEY_PENDING_DELETION,
    _I: Reason.KEY_PENDING_IMPORT,
    _C: Reason.INVALID_KEY_STATE,
    _U: Reason.KEY_UNAVAILABLE,
    _X: Reason.ACCESS_DENIED,
}


def require(state: KeyState, act: Act) -> None:
    """Refuse an act that the state does not allow.

    Raises:
        StrongroomError: KEY_DISABLED, KEY_PENDING_DELETION, KEY_PENDING_IMPORT, KEY_UNAVAILABLE,
            INVALID_KEY_STATE, or ACCESS_DENIED for a destroyed key, which no caller may tell from one that
            never was.
    """
    if state in ALLOWED[act]:
        return
    if act is Act.CANCEL_DELETION and state in _NOT_SCHEDULED:
        raise StrongroomError(Reason.INVALID_KEY_STATE, "the key is not pending deletion")
    raise StrongroomError(_REFUSALS[state])
