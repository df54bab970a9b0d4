"""House keys: made once in a fresh token, found and proved at every start."""

import dataclasses
import os

import pytest
from pkcs11 import exceptions
from pkcs11.constants import Attribute
from pkcs11.mechanisms import KeyType, Mechanism
from tests.hsmkeys import OpenedVault, of_role
from tests.softhsm import TestToken, TokenFactory

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm import handles, selftest
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.house import PROBE_BORN, mac_check
from strongroomd.hsm.module import load
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.packing import MAPPER, pack
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.templates import MASK, House, house_template, roles_in

pytestmark = pytest.mark.softhsm


def test_init_makes_one_key_for_each_role(opened: OpenedVault) -> None:
    assert [record.role for record in opened.house] == [role.value for role in roles_in(MAIN)]
    assert len({record.hsm_id for record in opened.house}) == len(roles_in(MAIN))
    assert all(len(record.hsm_id) == 32 for record in opened.house)


def test_init_refuses_a_token_that_holds_anything(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    initialise(token.settings, token.pin)

    with pytest.raises(StrongroomError) as refusal:
        initialise(token.settings, token.pin)

    assert refusal.value.reason is Reason.CONFIGURATION
    assert refusal.value.field == "hsm.token_serial"


def test_init_sets_the_user_pin_with_the_officers_pin(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    pin = Pin("another pin")

    house = initialise(token.settings, pin, so_pin=token.so_pin)

    open_vault(token.settings, pin, house).close()


def test_store_without_house_keys_is_refused(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    initialise(token.settings, token.pin)

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, [])

    assert refusal.value.reason is Reason.CONFIGURATION


def test_fresh_token_behind_a_used_store_is_refused(opened: OpenedVault, fresh_token: TokenFactory) -> None:
    token = fresh_token()

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, opened.house)

    assert refusal.value.reason is Reason.CONFIGURATION


@pytest.mark.parametrize("role", roles_in(MAIN))
def test_missing_role_is_refused(fresh_token: TokenFactory, role: House) -> None:
    token = fresh_token()
    house = [r for r in initialise(token.settings, token.pin) if r.role != role]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.CONFIGURATION


@pytest.mark.parametrize("role", ["kek-sealed", "kek-exportable", "row-mac", "health"])
def test_wrong_check_value_is_refused(fresh_token: TokenFactory, role: str) -> None:
    token = fresh_token()
    house = [
        dataclasses.replace(r, check_value=r.check_value[:-1] + bytes([r.check_value[-1] ^ 1]))
        if r.role == role
        else r
        for r in initialise(token.settings, token.pin)
    ]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


def test_wrong_checkpoint_public_key_is_refused(opened: OpenedVault, fresh_token: TokenFactory) -> None:
    token = fresh_token()
    other = next(r.public_key for r in opened.house if r.role == "checkpoint")
    house = [
        dataclasses.replace(r, public_key=other) if r.role == "checkpoint" else r
        for r in initialise(token.settings, token.pin)
    ]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


def test_kek_without_unwrap_template_is_refused(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    house = initialise(token.settings, token.pin)
    lax = _lax_kek(token)
    swapped = [dataclasses.replace(lax, role=r.role) if r.role == "kek-sealed" else r for r in house]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, swapped)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE
    assert "CKA_UNWRAP_TEMPLATE" in str(refusal.value.detail)


def _lax_kek(token: TestToken) -> HouseRecord:
    """A KEK in the token that looks right but for the one attribute that cannot be read."""
    session = (
        load(token.settings)
        .token(token.settings)
        .open(rw=True, user_pin=token.pin.reveal(), attribute_mapper=MAPPER)
    )
    identity = os.urandom(16)
    template = house_template(House.KEK_SEALED, identity)
    del template[Attribute.UNWRAP_TEMPLATE]
    kek = session.generate_key(
        KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=pack(template)
    )
    probe = session.generate_key(
        KeyType.GENERIC_SECRET,
        256,
        capabilities=0,
        mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        template=PROBE_BORN,
    )
    blob = handles.wrap(session, kek.handle, Mechanism.AES_KEY_WRAP_PAD, probe.handle)
    check = blob + mac_check(session, probe.handle)
    session.close()
    return HouseRecord(role="", hsm_id=identity.hex(), public_key=b"", check_value=check)


@pytest.mark.parametrize("role", list(House))
async def test_house_keys_can_neither_be_changed_nor_copied_nor_destroyed(
    opened: OpenedVault, role: House
) -> None:
    record = await of_role(opened, role)
    with opened.vault._parts.pool.fresh(writable=True) as session:
        (key,) = handles.find(session, pack({Attribute.ID: bytes.fromhex(record.hsm_id)}))
        attempts = [
            lambda: key.wrapper.__setitem__(Attribute.LABEL, b"other"),
            lambda: key.wrapper.__setitem__(Attribute.MODIFIABLE, b"\x01"),
            lambda: key.wrapper.__setitem__(Attribute.EXTRACTABLE, b"\x01"),
            lambda: key.copy(pack({Attribute.TOKEN: False})),
            key.destroy,
            lambda: key[Attribute.VALUE],
        ]
        for attempt in attempts:
            with pytest.raises(exceptions.PKCS11Error):
                attempt()
        assert len(handles.find(session, pack({Attribute.ID: bytes.fromhex(record.hsm_id)}))) == 1


@pytest.mark.parametrize("role", ["kek-sealed", "kek-exportable"])
def test_keks_do_nothing_but_wrap(opened: OpenedVault, role: str) -> None:
    handle = opened.vault._house.keks[next(r.hsm_id for r in opened.house if r.role == role)]
    with opened.vault._parts.pool.fresh() as session:
        for attempt in (
            lambda: opened.vault._calls.encrypt_gcm(session, handle, bytes(12), b"", b"data"),
            lambda: opened.vault._calls.decrypt_gcm(session, handle, bytes(12), b"", bytes(32)),
            lambda: handles.derive_blocks(session, handle, bytes(16), MASK),
            lambda: handles.sign(session, handle, Mechanism.AES_CMAC, None, b"data"),
        ):
            with pytest.raises(exceptions.PKCS11Error):
                attempt()


def test_failing_self_test_keeps_the_vault_shut(
    fresh_token: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = fresh_token()
    house = initialise(token.settings, token.pin)
    monkeypatch.setattr(selftest, "_XAES_ANSWER", "00")

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert "CKM_AES_GCM" in str(refusal.value.detail)


def test_vault_opens_again_after_closing(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    house = initialise(token.settings, token.pin)

    for _ in range(3):
        open_vault(token.settings, token.pin, house).close()


async def test_a_replica_pair_proves_itself_by_what_only_its_private_half_opens(opened: OpenedVault) -> None:
    one, other = await of_role(opened, House.REPLICA), await of_role(opened, House.REPLICA)
    await opened.vault.take_up([one])
    assert opened.vault.replica_key == one.public_key

    with pytest.raises(StrongroomError) as refusal:
        await opened.vault.take_up([dataclasses.replace(other, public_key=one.public_key)])

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE
