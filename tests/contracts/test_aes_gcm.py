"""Versions of scheme AES_GCM, on a real SoftHSM token: format 2, made and used, and what they refuse."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import exceptions
from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism
from tests.hsmkeys import MADE, OpenedVault, altered, choosing, make, make_gcm, soon
from tests.vectors.loader import import_secret

from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import handles
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.mechanisms import Offer
from strongroomd.hsm.quirks import STANDARD
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.templates import MASK

pytestmark = pytest.mark.softhsm

AES, USAGE = KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT
M = Mechanism
PLACES = [
    (CustodyMode.WRAPPED, False),
    (CustodyMode.WRAPPED, True),
    (CustodyMode.RESIDENT, False),
]


def with_record(key: BoundVersion, **changes: Any) -> BoundVersion:
    return dataclasses.replace(key, record=dataclasses.replace(key.record, **changes))


async def refused(work: Any, reason: Reason) -> str:
    with pytest.raises(StrongroomError) as caught:
        await work
    assert caught.value.reason is reason
    return str(caught.value.detail)


@pytest.mark.parametrize(("mode", "exportable"), PLACES)
async def test_key_in_every_place_works_and_opens_again_after_eviction(
    vault: TokenVault, mode: CustodyMode, exportable: bool
) -> None:
    key = await make_gcm(vault, mode, exportable=exportable)
    sealed = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
    vault.forget(key.key_id)

    assert key.record.scheme is Scheme.AES_GCM
    assert len(sealed) == 12 + len(b"plaintext") + 16
    assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"plaintext"
    vault.forget(key.key_id)
    again = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
    assert await vault.open(key, again, b"aad", deadline=soon()) == b"plaintext"


async def test_sealed_form_is_plain_aes_gcm_in_both_directions(vault: TokenVault) -> None:
    secret, iv = bytes(range(32)), bytes(range(12))
    key = import_secret(vault, AES, secret, Scheme.AES_GCM)

    sealed = await vault.seal(key, b"from the token", b"aad", deadline=soon())

    assert AESGCM(secret).decrypt(sealed[:12], sealed[12:], b"aad") == b"from the token"
    theirs = iv + AESGCM(secret).encrypt(iv, b"from software", b"aad")
    assert await vault.open(key, theirs, b"aad", deadline=soon()) == b"from software"


async def test_ivs_are_fresh_after_every_load_too(vault: TokenVault) -> None:
    key = await make_gcm(vault)
    seen = set()
    for _ in range(5):
        seen |= {(await vault.seal(key, b"x", b"", deadline=soon()))[:12] for _ in range(100)}
        vault.forget(key.key_id)

    assert len(seen) == 500


async def test_every_flipped_bit_is_refused_with_the_same_error(vault: TokenVault) -> None:
    key = await make_gcm(vault)
    sealed = await vault.seal(key, b"p", b"aad", deadline=soon())

    for position in range(len(sealed)):
        await refused(
            vault.open(key, altered(sealed, position), b"aad", deadline=soon()), Reason.INVALID_CIPHERTEXT
        )
    await vault.probe()


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 27])
async def test_short_ciphertext_is_refused(vault: TokenVault, length: int) -> None:
    key = await make_gcm(vault)

    await refused(vault.open(key, bytes(length), b"", deadline=soon()), Reason.INVALID_CIPHERTEXT)


async def test_other_context_other_key_and_other_scheme_are_refused(vault: TokenVault) -> None:
    key, other, xaes = await make_gcm(vault), await make_gcm(vault), await make(vault, AES)
    sealed = await vault.seal(key, b"data", b"aad", deadline=soon())
    long = await vault.seal(xaes, b"data", b"aad", deadline=soon())

    for holder, data, aad in (
        (key, sealed, b"AAD"),
        (other, sealed, b"aad"),
        (xaes, sealed, b"aad"),
        (key, long, b"aad"),
    ):
        await refused(vault.open(holder, data, aad, deadline=soon()), Reason.INVALID_CIPHERTEXT)


async def test_old_versions_keep_their_scheme_whatever_the_setting_says(vault: TokenVault) -> None:
    xaes, gcm = await make(vault, AES), await make_gcm(vault)
    for setting, other in (("aes-gcm", "xaes"), ("xaes", "aes-gcm")):
        with choosing(vault, setting):
            sealed = [await vault.seal(key, b"data", b"", deadline=soon()) for key in (xaes, gcm)]
            vault.forget(xaes.key_id)
            vault.forget(gcm.key_id)
        with choosing(vault, other):
            opened = [
                await vault.open(*pair, b"", deadline=soon())
                for pair in zip((xaes, gcm), sealed, strict=True)
            ]

        assert [len(one) for one in sealed] == [24 + 4 + 16, 12 + 4 + 16]
        assert opened == [b"data", b"data"]


async def test_the_setting_touches_no_other_spec(vault: TokenVault) -> None:
    with choosing(vault, "aes-gcm"):
        for spec in (KeySpec.HMAC_256, KeySpec.ECC_NIST_P256):
            assert (await make(vault, spec)).record.scheme is Scheme.DEFAULT


def _attempts(vault: TokenVault, session: Any, handle: int) -> dict[str, Callable[[], object]]:
    return {
        "derive": lambda: handles.derive_blocks(session, handle, bytes(16), MASK),
        "sign": lambda: handles.sign(session, handle, M.SHA256_HMAC, None, b"data"),
        "wrap": lambda: handles.wrap(session, handle, M.AES_KEY_WRAP_PAD, handle),
        "another mode": lambda: handles.Bound(session, handle).encrypt(bytes(16), mechanism=M.AES_ECB),
        "a mode with IV": lambda: handles.Bound(session, handle).encrypt(
            bytes(16), mechanism=M.AES_CBC, mechanism_param=bytes(16)
        ),
        "a mode without tag": lambda: handles.Bound(session, handle).decrypt(
            bytes(16), mechanism=M.AES_CBC, mechanism_param=bytes(16)
        ),
    }


@pytest.mark.parametrize("mode", list(MADE))
async def test_loaded_key_does_aes_gcm_and_nothing_else(opened: OpenedVault, mode: CustodyMode) -> None:
    vault = opened.vault
    key = await make_gcm(vault, mode)
    loaded = await vault._held.load(key, soon())
    with vault._parts.pool.fresh() as session:
        for name, attempt in _attempts(vault, session, loaded.handle).items():
            with pytest.raises(exceptions.PKCS11Error):
                pytest.fail(f"{name} worked: {attempt()!r}")
        with pytest.raises((exceptions.PKCS11Error, KeyError)):
            pytest.fail(f"the value is readable: {loaded.held[Attribute.VALUE]!r}")
    assert loaded.mask == b""


@pytest.mark.parametrize("mode", list(MADE))
async def test_a_load_never_encrypts(
    vault: TokenVault, mode: CustodyMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is counted encrypts: a key may do so 2^32 times, and is loaded any number of times."""
    key = await make_gcm(vault, mode)
    sealed = await vault.seal(key, b"data", b"", deadline=soon())
    vault.forget(key.key_id)

    def forbidden(*_: object) -> bytes:
        raise AssertionError("a load encrypted")

    monkeypatch.setattr(handles, "encrypt_gcm", forbidden)
    monkeypatch.setattr(vault._symmetric._ciphers, "encrypt", forbidden)
    assert await vault.open(key, sealed, b"", deadline=soon()) == b"data"


async def test_a_birth_encrypts_once(vault: TokenVault, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    real = handles.encrypt_gcm

    def counted(*arguments: Any) -> bytes:
        made.append(arguments[2])
        return real(*arguments)

    monkeypatch.setattr(handles, "encrypt_gcm", counted)
    key = await make_gcm(vault)

    assert made == [key.record.check_value[:12]]


@pytest.mark.parametrize("position", [0, 11, 12, 27, 43])
@pytest.mark.parametrize("mode", list(MADE))
async def test_wrong_check_value_is_an_unavailable_key_and_no_ill_token(
    vault: TokenVault, mode: CustodyMode, position: int
) -> None:
    key = await make_gcm(vault, mode)
    wrong = with_record(key, check_value=altered(key.record.check_value, position))

    assert "integrity" in await refused(vault._held.load(wrong, soon()), Reason.KEY_UNAVAILABLE)
    await vault.probe()


@pytest.mark.parametrize("check", [b"", bytes(8), bytes(12), bytes(28)])
async def test_check_value_of_another_form_is_refused(vault: TokenVault, check: bytes) -> None:
    key = await make_gcm(vault)

    await refused(vault._held.load(with_record(key, check_value=check), soon()), Reason.KEY_UNAVAILABLE)


async def test_swapped_blobs_and_objects_are_found(vault: TokenVault) -> None:
    for mode, column in ((CustodyMode.WRAPPED, "blob"), (CustodyMode.RESIDENT, "hsm_id")):
        key, other = await make_gcm(vault, mode), await make_gcm(vault, mode)
        swapped = with_record(key, **{column: getattr(other.record, column)})

        await refused(vault._held.load(swapped, soon()), Reason.KEY_UNAVAILABLE)


async def test_a_version_under_the_other_scheme_does_not_load(vault: TokenVault) -> None:
    """A root must not be used in two ways, even if a record said so."""
    for mode in MADE:
        xaes, gcm = await make(vault, AES, mode=mode), await make_gcm(vault, mode)
        for key, scheme in ((xaes, Scheme.AES_GCM), (gcm, Scheme.DEFAULT)):
            await refused(vault._held.load(with_record(key, scheme=scheme), soon()), Reason.KEY_UNAVAILABLE)


async def test_a_loaded_key_is_not_used_for_a_record_of_the_other_scheme(vault: TokenVault) -> None:
    key = await make_gcm(vault)
    await vault.seal(key, b"data", b"", deadline=soon())

    await refused(
        vault.seal(with_record(key, scheme=Scheme.DEFAULT), b"data", b"", deadline=soon()),
        Reason.KEY_UNAVAILABLE,
    )


async def test_concurrent_first_uses_load_the_key_once(vault: TokenVault) -> None:
    key = await make_gcm(vault)
    before = vault.loaded()[0]

    sealed = await asyncio.gather(*(vault.seal(key, b"data", b"", deadline=soon()) for _ in range(20)))

    assert len({one[:12] for one in sealed}) == 20
    assert vault.loaded()[0] == before + 1


# --- which scheme a token gets ---

HOUSE = {M.AES_KEY_GEN, M.AES_KEY_WRAP_PAD}


def offer(symmetric: str, *mechanisms: Mechanism) -> Offer:
    return Offer({int(m) for m in {*HOUSE, *mechanisms}}, STANDARD, symmetric)


@pytest.mark.parametrize(
    ("symmetric", "mechanisms", "scheme"),
    [
        ("auto", (M.AES_ECB_ENCRYPT_DATA, M.AES_GCM), Scheme.DEFAULT),
        ("auto", (M.AES_GCM,), Scheme.AES_GCM),
        ("xaes", (M.AES_ECB_ENCRYPT_DATA, M.AES_GCM), Scheme.DEFAULT),
        ("aes-gcm", (M.AES_ECB_ENCRYPT_DATA, M.AES_GCM), Scheme.AES_GCM),
    ],
)
def test_scheme_follows_the_setting_and_the_token(
    symmetric: str, mechanisms: tuple[Mechanism, ...], scheme: Scheme
) -> None:
    made = offer(symmetric, *mechanisms)

    assert made.placement(AES, USAGE, None, exportable=False) == (CustodyMode.WRAPPED, "")
    assert made.scheme(AES) is scheme


@pytest.mark.parametrize(
    ("symmetric", "mechanisms", "named"),
    [
        ("xaes", (M.AES_GCM,), "CKM_AES_ECB_ENCRYPT_DATA"),
        ("xaes", (M.AES_ECB_ENCRYPT_DATA,), "CKM_AES_GCM"),
        ("auto", (M.AES_ECB_ENCRYPT_DATA,), "CKM_AES_GCM"),
        ("auto", (), "CKM_AES_GCM"),
        ("aes-gcm", (M.AES_ECB_ENCRYPT_DATA,), "CKM_AES_GCM"),
    ],
)
def test_what_the_token_lacks_is_refused_by_name(
    symmetric: str, mechanisms: tuple[Mechanism, ...], named: str
) -> None:
    with pytest.raises(StrongroomError, match=named) as caught:
        offer(symmetric, *mechanisms).placement(AES, USAGE, None, exportable=False)
    assert caught.value.reason is Reason.UNSUPPORTED_BY_TOKEN


@pytest.mark.parametrize("symmetric", ["", "AES-GCM", "gcm", "xaes "])
def test_another_setting_is_no_setting(opened: OpenedVault, symmetric: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        dataclasses.replace(opened.token.settings, symmetric=symmetric)
    assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, "hsm.symmetric")
    assert isinstance(opened.token.settings, HsmSettings)
