"""`init`: the house keys are made in a fresh token; a token that holds anything is refused."""

import os
from dataclasses import replace

from pkcs11.constants import Attribute
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import handles
from strongroomd.hsm.faults import Refused, code_of, fault_of
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import PROBE_BORN, mac_check, open_household, public_check
from strongroomd.hsm.login import Login, log_in, login_lock
from strongroomd.hsm.mechanisms import CURVES, HOUSE_MECHANISMS
from strongroomd.hsm.module import load
from strongroomd.hsm.observer import Observer, Silent
from strongroomd.hsm.packing import MAPPER, pack
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.publickeys import public_key_of
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.templates import PUBLIC_HALF, House, house_template, roles_in


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
    login = log_in(settings, pin, observer or Silent())
    try:
        return _make_house(login, settings)
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
    identity = os.urandom(16)
    template = pack(house_template(role, identity))
    public_key = b""
    if role is House.CHECKPOINT:
        public, key = session._generate_keypair(  # noqa: SLF001 - the public method refuses EC without parameters
            KeyType.EC,
            capabilities=0,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            public_template={**PUBLIC_HALF, **pack({Attribute.EC_PARAMS: CURVES[KeySpec.ECC_NIST_P256]})},
            private_template=template,
        )
        public_key = public_key_of(KeySpec.ECC_NIST_P256, public)
        public.destroy()
    else:
        kind = Mechanism.AES_KEY_GEN if role in _KEKS else Mechanism.GENERIC_SECRET_KEY_GEN
        key = session.generate_key(
            KeyType.GENERIC_SECRET, 256, capabilities=0, mechanism=kind, template=template
        )
    check = _check_value(session, role, key.handle, public_key)
    return HouseRecord(role=role.value, hsm_id=identity.hex(), public_key=public_key, check_value=check)


_KEKS = frozenset((House.KEK_SEALED, House.KEK_EXPORTABLE))


def _check_value(session: Session, role: House, handle: int, public_key: bytes) -> bytes:
    if role in _KEKS:
        return _probe_blob(session, handle)
    if role is House.CHECKPOINT:
        return public_check(public_key)
    return b"" if role is House.SENTINEL else mac_check(session, handle)


def _probe_blob(session: Session, kek: int) -> bytes:
    """Wrap a throw-away MAC key: the blob and that key's check value prove the KEK at every start."""
    probe = session.generate_key(
        KeyType.GENERIC_SECRET,
        256,
        capabilities=0,
        mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        template=PROBE_BORN,
    )
    try:
        blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, probe.handle)
        return blob + mac_check(session, probe.handle)
    finally:
        probe.destroy()
