"""Founding: house keys in a fresh token, the first account, all in a fresh store, anchored in the token."""

import dataclasses
from collections.abc import Sequence

from strongroomd.config import Settings, token_plans
from strongroomd.custody.accounts import new_principal, root_arn
from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.accounts import AccountRecord, IdentityKind, IdentityRecord, PrincipalKind, kind_of
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.limits import DEFAULT_ROLE_SECONDS
from strongroomd.domain.principals import parse_principal
from strongroomd.domain.records import HouseRecord, Record
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm import ceremony
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.pin import Pin
from strongroomd.ports import Vault
from strongroomd.storage.migration import migrate, require_current
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.wiring import rooms
from strongroomd.wiring.tokens import records_in


async def initialise(settings: Settings, *, so_pin: Pin | None = None) -> list[HouseRecord]:
    """Make and record the house keys.

    Args:
        settings: names the token, which must be empty, and the store, which must know no house keys.
        so_pin: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION when token or store are used already.
    """
    migrate(rooms.store_url(settings))
    store = open_store(rooms.store_settings(settings))
    try:
        if await store.all(HouseRecord) or await store.journal(0, 1):
            raise StrongroomError(
                Reason.CONFIGURATION, "the store belongs to a token already", field="store.path"
            )
        hsm, pin = rooms.hsm_settings(settings), rooms.pin_source(settings).read()
        house = dated(ceremony.initialise(hsm, pin, so_pin=so_pin))
        vault = open_vault(hsm, pin, house)
        try:
            await _record(store, vault, house, await first_callers(settings, vault, Clock().wall_ms()))
        finally:
            vault.close()
        return house
    finally:
        await store.close()


async def complete_house(settings: Settings) -> list[HouseRecord]:
    """Make and record the house keys that a house of an earlier release lacks; gives what was made.

    Nothing is done, and the token not asked, for a store that was never founded or lacks none. The daemon
    must not serve meanwhile.

    Raises:
        StrongroomError: what the token raises; CONFIGURATION or INTEGRITY_FAILURE when store and token do not
            belong together.
    """
    store = open_store(rooms.store_settings(settings))
    try:
        house = records_in(MAIN, [stored.record for stored in await store.all(HouseRecord)])
        if not house or not ceremony.missing_roles(house):
            return []
        hsm, pin = rooms.hsm_settings(settings), rooms.pin_source(settings).read()
        made = dated(ceremony.complete(hsm, pin, house))
        vault = open_vault(hsm, pin, [*house, *made])
        try:
            ledger = Ledger(store, vault)
            await ledger.start()
            for record in house:
                await ledger.read(HouseRecord, record.record_id)
            async with ledger.change() as change:
                for record in made:
                    await change.put(record)
        finally:
            vault.close()
        return made
    finally:
        await store.close()


def dated(house: Sequence[HouseRecord]) -> list[HouseRecord]:
    """Say of new house keys when they were made."""
    now = Clock().wall_ms()
    return [dataclasses.replace(record, created_at=now) for record in house]


async def initialise_token(settings: Settings, name: str, *, so_pin: Pin | None = None) -> None:
    """Make the house keys of a further token and record them; the daemon may serve meanwhile.

    Args:
        settings: name the token, which must be empty; the store must know none of its house keys.
        name: which further token.
        so_pin: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION when the token is used already, or no token has that name.
    """
    plan = next((plan for plan in token_plans(settings)[1:] if plan.name == name), None)
    if plan is None:
        raise StrongroomError(
            Reason.CONFIGURATION, "no [[hsm.tokens]] entry has this name", field="hsm.tokens"
        )
    require_current(rooms.store_url(settings))
    store = open_store(rooms.store_settings(settings))
    try:
        house = [stored.record for stored in await store.all(HouseRecord)]
        _demand_unused(name, house)
        mine = records_in(MAIN, house)
        vault = open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), mine)
        try:
            ledger = Ledger(store, vault)
            await ledger.start()
            for record in mine:
                await ledger.read(HouseRecord, record.record_id)
            pin = rooms.pin_source(settings, None, plan).read()
            made = dated(ceremony.initialise(rooms.hsm_settings(settings, plan), pin, so_pin=so_pin))
            await _add(ledger, name, made)
        finally:
            vault.close()
    finally:
        await store.close()


async def _add(ledger: Ledger, name: str, made: Sequence[HouseRecord]) -> None:
    async with ledger.change() as change:
        found = await change.transaction.find(HouseRecord, {"token": name})
        _demand_unused(name, [stored.record for stored in found])
        for record in made:
            await change.put(record)


def _demand_unused(name: str, house: Sequence[HouseRecord]) -> None:
    if records_in(name, house):
        raise StrongroomError(
            Reason.CONFIGURATION, "the store has house keys of this token already", field="hsm.tokens"
        )


async def founded_tokens(settings: Settings) -> set[str]:
    """Name the tokens of which the store has house keys, for a look only: nothing is verified."""
    store = open_store(rooms.store_settings(settings))
    try:
        return {stored.record.token for stored in await store.all(HouseRecord)}
    finally:
        await store.close()


async def _record(
    store: SqlStore, vault: Vault, house: Sequence[HouseRecord], callers: Sequence[Record]
) -> None:
    ledger = Ledger(store, vault)
    async with ledger.change() as change:
        for record in (*house, *callers):
            await change.put(record)
    await vault.write_anchor(Anchor(ledger.sequence, ledger.head, 0, bytes(32)))


async def first_callers(settings: Settings, vault: Vault, now: int) -> list[Record]:
    """Make the first account, its root, and its administrators with their certificates' identities."""
    account = settings.daemon.account
    made: list[Record] = [
        AccountRecord(account, "made by strongroomd init", now, ()),
        await new_principal(vault, root_arn(account), PrincipalKind.ROOT, now),
    ]
    for arn in dict.fromkeys(settings.access.administrators):
        administrator = parse_principal(arn, "arn")
        if administrator.account == account:
            kind = kind_of(administrator)
            record = await new_principal(vault, arn, kind, now)
            if kind is PrincipalKind.ROLE:
                record = dataclasses.replace(record, max_session_seconds=DEFAULT_ROLE_SECONDS)
            made += [record, *_identities(settings, arn, account, now)]
    return made


def _identities(settings: Settings, arn: str, account: str, now: int) -> list[Record]:
    facts = [
        (IdentityKind.URI, entry.uri, "")
        if entry.uri
        else (IdentityKind.SUBJECT, entry.subject or "", entry.issuer_spki_sha256 or "")
        for entry in settings.identities
        if entry.arn == arn
    ]
    return [IdentityRecord(kind, value, issuer, arn, account, now) for kind, value, issuer in facts]
