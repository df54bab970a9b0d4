"""The table of states against AWS's (developer guide, key states of KMS keys), with the deviations named."""

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.lifecycle import ALLOWED, Act, require
from strongroomd.domain.records import KeyState

E, D, P = KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_DELETION
I = KeyState.PENDING_IMPORT  # noqa: E741 - one letter a state
C, U, X = KeyState.CREATING, KeyState.UNAVAILABLE, KeyState.DESTROYED
OK = None
_D, _P = Reason.KEY_DISABLED, Reason.KEY_PENDING_DELETION
_S, _U, _I = Reason.INVALID_KEY_STATE, Reason.KEY_UNAVAILABLE, Reason.KEY_PENDING_IMPORT

# Rows are AWS's; where we are stricter the line says why.
AWS: dict[Act, dict[KeyState, Reason | None]] = {
    Act.USE: {E: OK, D: _D, P: _P, I: _I, C: _S, U: _U},
    Act.READ: {E: OK, D: OK, P: OK, I: OK, C: OK, U: OK},
    Act.EDIT: {E: OK, D: OK, P: _P, I: OK, C: _S, U: OK},  # AWS edits while creating; here that lasts seconds
    Act.POLICY: {E: OK, D: OK, P: OK, I: OK, C: _S, U: OK},  # the same
    Act.SWITCH: {E: OK, D: OK, P: _P, I: _I, C: _S, U: _U},  # AWS defers it while unavailable
    Act.ROTATE: {E: OK, D: _D, P: _P, I: _I, C: _S, U: _U},
    Act.REPLICATE: {E: OK, D: _D, P: _P, I: _I, C: _S, U: _U},
    Act.SCHEDULE_DELETION: {E: OK, D: OK, P: _P, I: OK, C: _S, U: OK},  # AWS schedules while creating
    Act.IMPORT: {E: OK, D: OK, P: _P, I: OK, C: _S, U: _U},
    Act.DELETE_MATERIAL: {E: OK, D: OK, P: OK, I: OK, C: _S, U: _U},
    Act.CANCEL_DELETION: {E: _S, D: _S, P: OK, I: _S, C: _S, U: _S},
}


@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("state", [E, D, P, I, C, U])
def test_each_state_allows_what_aws_says(act: Act, state: KeyState) -> None:
    expected = AWS[act][state]

    if expected is None:
        require(state, act)
    else:
        with pytest.raises(StrongroomError) as caught:
            require(state, act)
        assert caught.value.reason is expected


@pytest.mark.parametrize("act", list(Act))
def test_a_destroyed_key_looks_like_one_that_never_was(act: Act) -> None:
    with pytest.raises(StrongroomError) as caught:
        require(X, act)

    assert (caught.value.reason, caught.value.message) == (
        Reason.ACCESS_DENIED,
        StrongroomError(Reason.ACCESS_DENIED).message,
    )


def test_the_table_speaks_of_every_act() -> None:
    assert set(ALLOWED) == set(Act) == set(AWS)
