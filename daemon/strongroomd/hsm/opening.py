"""From a PIN and the store's house records to a vault that has proved itself."""

from collections.abc import Callable, Collection, Sequence

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm.birth import Cradle, recovery_template
from strongroomd.hsm.device import Device, Health
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import Household, mac_check, open_household
from strongroomd.hsm.keystore import Parts, TokenVault
from strongroomd.hsm.login import Login, log_in
from strongroomd.hsm.mechanisms import HOUSE_MECHANISMS
from strongroomd.hsm.observer import Observer, Silent
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.selftest import run_selftest
from strongroomd.hsm.sessions import Keeper, Pool
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.templates import House, roles_in


def open_vault(
    settings: HsmSettings, pin: Pin, house: Sequence[HouseRecord], observer: Observer | None = None
) -> TokenVault:
    """Log in, prove the token, and open the vault: `open_token` and what it gives, made into a vault.

    Call it on the thread of the event loop that will use the vault.
    """
    watcher = observer or Silent()
    return TokenVault(settings, open_token(settings, pin, house, watcher), watcher)


def open_token(settings: HsmSettings, pin: Pin, house: Sequence[HouseRecord], observer: Observer) -> Parts:
    """Log in, prove house keys, unwrap templates and every mechanism in use; any thread.

    Blocks for tens of milliseconds, or as long as other processes hold the login lock.

    Args:
        settings: the token and the bounds.
        pin: the user PIN.
        house: the store's records of this token's house keys, verified or about to be (the main token has the
            MAC key among them).
        observer: hears of calls, caches, sessions and alerts.

    Raises:
        StrongroomError: CONFIGURATION when the store has no house keys or another token's, INTEGRITY_FAILURE
            when a house key is not what `init` made, HSM_UNAVAILABLE, UNSUPPORTED_BY_TOKEN.
    """
    if not house:
        raise StrongroomError(
            Reason.CONFIGURATION,
            f"the store knows no house keys: run strongroomd init{' --token' if settings.name else ''}",
            field=settings.place("token_serial"),
        )
    recovery = recovery_template(settings.recovery_public_key)
    login = log_in(settings, pin, observer)
    pool = Pool(login.token, settings.sessions, observer)
    try:
        health, household = _prove(login, pool, house, roles_in(settings.name), observer)
        offer = login.module.offer(login.token, settings.symmetric)
        cradle = Cradle(household, login.module.quirks, recovery, offer)
    except BaseException:
        pool.close(login.session)
        raise
    return Parts(login, pool, Keeper(pool), Keeper(pool), health, household, offer, cradle)


def _prove(
    login: Login, pool: Pool, records: Sequence[HouseRecord], roles: Collection[House], observer: Observer
) -> tuple[Health, Household]:
    offer = login.module.offer(login.token)
    if missing := offer.missing(HOUSE_MECHANISMS):
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, f"the token lacks {', '.join(missing)}")
    health = Health(pool, observer)
    device = Device(pool, health, observer, forgiving=False)
    try:
        house = device.run("open_household", open_household, records, login.module.quirks, roles)
        health.canary = _canary(house)
        device.run("selftest", run_selftest, offer, login.module.direct)
    except BaseException:
        health.close()
        raise
    return health, house


def _canary(house: Household) -> Callable[[Session], bool]:
    def canary(session: Session) -> bool:
        handle, answer = house.canary
        return mac_check(session, handle) == answer

    return canary
