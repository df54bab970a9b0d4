"""XAES-256-GCM: the published vectors through the vault, and an independent implementation both ways.

Source: C2SP, XAES-256-GCM.md (CC BY 4.0), section "Test vectors".
"""

import asyncio
import hashlib
import os

import pytest
from tests.hsmkeys import OpenedVault, make, soon
from tests.vectors.loader import import_secret
from tests.vectors.xaes import _encrypt_block, derive_key, open_xaes, seal_xaes

from strongroomd.domain import limits
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm import symmetric, xaes
from strongroomd.hsm.keystore import TokenVault

pytestmark = pytest.mark.softhsm

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PLAINTEXT = b"XAES-256-GCM"
VECTORS = [
    (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (b"\x03" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
]
"""One key for each value of the first bit of L, which decides how K1 is made."""


@pytest.mark.parametrize(("key", "aad", "expected"), VECTORS)
def test_software_model_gives_the_published_answer(key: bytes, aad: bytes, expected: str) -> None:
    assert seal_xaes(key, NONCE, PLAINTEXT, aad)[24:].hex() == expected


def test_software_model_passes_the_accumulated_test() -> None:
    """10,000 cases drawn from SHAKE-128, as the section "Accumulated randomized tests" says."""
    source = Stream()
    accumulated = hashlib.shake_128()
    for _ in range(10_000):
        key, nonce = source.read(32), source.read(24)
        plaintext = source.read(source.read(1)[0])
        aad = source.read(source.read(1)[0])
        accumulated.update(seal_xaes(key, nonce, plaintext, aad)[24:])

    assert accumulated.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


class Stream:
    """SHAKE-128 of nothing, read on and on."""

    def __init__(self) -> None:
        self._data = hashlib.shake_128().digest(8_000_000)
        self._offset = 0

    def read(self, length: int) -> bytes:
        self._offset += length
        return self._data[self._offset - length : self._offset]


@pytest.mark.parametrize(("key", "aad", "expected"), VECTORS)
async def test_vault_opens_the_published_ciphertext(
    vault: TokenVault, key: bytes, aad: bytes, expected: str
) -> None:
    bound = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, key)

    assert await vault.open(bound, NONCE + bytes.fromhex(expected), aad, deadline=soon()) == PLAINTEXT


@pytest.mark.parametrize(("key", "aad", "expected"), VECTORS)
async def test_vault_seals_to_the_published_ciphertext(
    vault: TokenVault, monkeypatch: pytest.MonkeyPatch, key: bytes, aad: bytes, expected: str
) -> None:
    bound = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, key)
    await vault._held.load(bound, soon())
    pieces = iter((NONCE[:12], NONCE[12:]))
    monkeypatch.setattr(os, "urandom", lambda _: next(pieces))

    sealed = await vault.seal(bound, PLAINTEXT, aad, deadline=soon())

    assert sealed == NONCE + bytes.fromhex(expected)


async def test_software_opens_what_the_vault_sealed(vault: TokenVault) -> None:
    for _ in range(20):
        root = os.urandom(32)
        bound = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, root)
        for size in (0, 1, 15, 16, 17, 4_096):
            plaintext, aad = os.urandom(size), os.urandom(size % 40)
            sealed = await vault.seal(bound, plaintext, aad, deadline=soon())
            assert open_xaes(root, sealed, aad) == plaintext


async def test_vault_opens_what_software_sealed_under_any_nonce(vault: TokenVault) -> None:
    root = os.urandom(32)
    bound = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, root)

    for _ in range(100):
        sealed = seal_xaes(root, os.urandom(24), b"data", b"aad")
        assert await vault.open(bound, sealed, b"aad", deadline=soon()) == b"data"


async def test_sub_key_serves_a_bounded_number_of_messages(
    vault: TokenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symmetric, "SUBKEY_MESSAGES", 10)
    bound = await make(vault, KeySpec.SYMMETRIC_DEFAULT)

    sealed = [await vault.seal(bound, b"data", b"", deadline=soon()) for _ in range(35)]

    assert len({s[:12] for s in sealed}) == 4
    for each in sealed:
        assert await vault.open(bound, each, b"", deadline=soon()) == b"data"


async def test_sub_key_serves_a_bounded_time(vault: TokenVault, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    first = await vault.seal(bound, b"data", b"", deadline=soon())
    monkeypatch.setattr(symmetric, "SUBKEY_SECONDS", 0.0)

    second = await vault.seal(bound, b"data", b"", deadline=soon())

    assert first[:12] != second[:12]
    assert limits.SUBKEY_MESSAGES == 1 << 20
    assert limits.SUBKEY_SECONDS == 900.0


async def test_cache_of_sub_keys_is_bounded_and_holds_only_proven_ones(own: OpenedVault) -> None:
    root = os.urandom(32)
    bound = import_secret(own.vault, KeySpec.SYMMETRIC_DEFAULT, root)
    cache = own.vault._symmetric._subkeys
    cache._size = 5
    for _ in range(12):
        sealed = seal_xaes(root, os.urandom(24), b"data", b"")
        await own.vault.open(bound, sealed, b"", deadline=soon())
        with pytest.raises(StrongroomError) as refusal:
            await own.vault.open(bound, os.urandom(12) + sealed[12:], b"", deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
    assert len(cache) == 5
    await asyncio.sleep(0)  # the pin of those who waited for the load goes with their turn of the loop

    own.vault.forget(bound.key_id)
    assert len(cache) == 0


def test_host_arithmetic_equals_the_model() -> None:
    for _ in range(200):
        key, prefix = os.urandom(32), os.urandom(12)
        blocks = xaes.derivation_blocks(xaes.mask_of(_encrypt_block(key, bytes(16))), prefix)
        halves = _encrypt_block(key, blocks[:16]) + _encrypt_block(key, blocks[16:])
        assert halves == derive_key(key, prefix + bytes(12))
