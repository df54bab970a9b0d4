"""`init`: the house keys are made in a fresh token; a token that holds anything is refused.

`complete` is for a house that was founded by an earlier release: it makes the house keys that came since.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from pkcs11.exceptions import PKCS11Error

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import active
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm import handles, housebirth
from strongroomd.hsm.faults import Refused, code_of, fault_of
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import open_household
from strongroomd.hsm.login import Login, log_in, login_lock
from strongroomd.hsm.mechanisms import HOUSE_MECHANISMS
from strongroomd.hsm.module import load
from strongroomd.hsm.observer import Observer, Silent
from strongroomd.hsm.packing import MAPPER
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.templates import House, roles_in


def initialise(
    settings: HsmSettings, pin: Pin, *, so_pin: Pin | None = None, observer: Observer | None = None
) -> list[HouseRecord]:
    """Make the house keys and give the records that the caller must store; logs the process out afterwards.

    Args:
        settings: the token to use: initialised (it has a label) and holding no object; its name says which
            house keys it gets.
        pin: the user PIN.
        so_pin: the security officer's PIN, to set `pin` first in a token that has no user PIN yet.
        observer: hears of alerts.

    Raises:
        StrongroomError: CONFIGURATION for a token that holds objects, UNSUPPORTED_BY_TOKEN, HSM_UNAVAILABLE.
    """
    if so_pin is not None:
        _set_user_pin(settings, pin, so_pin)
    return _logged_in(settings, pin, observer, lambda login: _make_house(login, settings))


def missing_roles(house: Sequence[HouseRecord]) -> tuple[House, ...]:
    """Name the house keys that the main token of a founded house should have and its records do not name."""
    present = {record.role for record in active(house)}
    return tuple(role for role in roles_in(MAIN) if role.value not in present)


def complete(
    settings: HsmSettings, pin: Pin, house: Sequence[HouseRecord], observer: Observer | None = None
) -> list[HouseRecord]:
    """Make the house keys that a founded house lacks, and give the records that the caller must store.

    Cut off before they are stored, it leaves objects that nobody knows and nobody uses.

    Args:
        settings: the main token.
        pin: the user PIN.
        house: the records of its house keys; each is found and proved first.
        observer: hears of alerts.

    Raises:
        StrongroomError: CONFIGURATION or INTEGRITY_FAILURE when these are not the token's, HSM_UNAVAILABLE.
    """

    def work(login: Login) -> list[HouseRecord]:
        roles = missing_roles(house)
        there = [role for role in roles_in(MAIN) if role not in roles]
        open_household(login.session, house, login.module.quirks, there)
        made = [_make(login.session, role) for role in roles]
        if login.guard is not None:
            login.guard.sync()
        return made

    return _logged_in(settings, pin, observer, work)


def _logged_in(
    settings: HsmSettings,
    pin: Pin,
    observer: Observer | None,
    work: Callable[[Login], list[HouseRecord]],
) -> list[HouseRecord]:
    login = log_in(settings, pin, observer or Silent())
    try:
        return work(login)
    except PKCS11Error as error:
        raise Refused("initialise", code_of(error), fault_of(error, doubtful=False)) from error
    finally:
        login.session.close()


def _set_user_pin(settings: HsmSettings, pin: Pin, so_pin: Pin) -> None:
    with login_lock(settings):
        token = load(settings).token(settings)
        try:
            session = token.open(rw=True, so_pin=so_pin.reveal(), attribute_mapper=MAPPER)
        except PKCS11Error as error:
            raise Refused("C_Login", code_of(error), fault_of(error, doubtful=False)) from error
        try:
            session.init_pin(pin.reveal())
        except PKCS11Error as error:
            raise Refused("C_InitPIN", code_of(error), fault_of(error, doubtful=False)) from error
        finally:
            session.close()


def _make_house(login: Login, settings: HsmSettings) -> list[HouseRecord]:
    session = login.session
    if handles.find(session, {}):
        raise StrongroomError(
            Reason.CONFIGURATION,
            "the token holds objects already; init takes a fresh one",
            field=settings.place("token_serial"),
        )
    if missing := login.module.offer(login.token).missing(HOUSE_MECHANISMS):
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, f"the token lacks {', '.join(missing)}")
    roles = roles_in(settings.name)
    records = [replace(_make(session, role), token=settings.name) for role in roles]
    open_household(session, records, login.module.quirks, roles)
    if login.guard is not None:
        login.guard.sync()
    return records


def _make(session: Session, role: House) -> HouseRecord:
    hsm_id = os.urandom(16).hex()
    made = housebirth.make(session, role, hsm_id)
    return HouseRecord(
        role=role.value, hsm_id=hsm_id, public_key=made.public_key, check_value=made.check_value
    )
