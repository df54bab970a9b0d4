"""The calls straight into the module: the same answers as software, the same errors as the library's."""

import ctypes
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import exceptions
from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism
from tests.hsmkeys import OpenedVault, altered

from strongroomd.hsm.direct import _ROOM, DirectCalls
from strongroomd.hsm.packing import pack
from strongroomd.hsm.templates import SUBKEY

pytestmark = pytest.mark.softhsm

KEY = bytes(range(32))
IV = bytes(12)


@contextmanager
def ready(opened: OpenedVault) -> Iterator[tuple[DirectCalls, Any, int]]:
    """The calls, a session, and an AES key of a known value in it."""
    with opened.vault._parts.pool.fresh() as session:
        key = session.create_object({**SUBKEY, **pack({Attribute.VALUE: KEY})})
        yield opened.vault._calls, session, key.handle


@pytest.mark.parametrize("size", [0, 1, 16, 4_096, _ROOM - 16, _ROOM - 15, _ROOM, 65_536])
@pytest.mark.parametrize("aad", [b"", b"context", bytes(8_300)], ids=len)
def test_gcm_gives_what_software_gives(opened: OpenedVault, size: int, aad: bytes) -> None:
    plaintext = os.urandom(size)
    expected = AESGCM(KEY).encrypt(IV, plaintext, aad)

    with ready(opened) as (calls, session, key):
        assert calls.encrypt_gcm(session, key, IV, aad, plaintext) == expected
        assert calls.decrypt_gcm(session, key, IV, aad, expected) == plaintext


@pytest.mark.parametrize("position", [0, 20, -1])
def test_forged_bytes_are_refused_and_leave_no_operation_behind(opened: OpenedVault, position: int) -> None:
    sealed = AESGCM(KEY).encrypt(IV, b"plaintext", b"")

    with ready(opened) as (calls, session, key):
        with pytest.raises(exceptions.PKCS11Error):
            calls.decrypt_gcm(session, key, IV, b"", altered(sealed, position % len(sealed)))
        assert calls.decrypt_gcm(session, key, IV, b"", sealed) == b"plaintext"


@pytest.mark.parametrize("size", [0, 13, 16, 1_000])
def test_iv_of_a_wrong_length_never_reaches_the_token(opened: OpenedVault, size: int) -> None:
    with ready(opened) as (calls, session, key):
        for call in (calls.encrypt_gcm, calls.decrypt_gcm):
            with pytest.raises(exceptions.MechanismParamInvalid):
                call(session, key, bytes(size), b"", bytes(32))


@pytest.mark.parametrize("handle", [0, 999_999_999])
def test_handle_of_nothing_raises_the_librarys_error(opened: OpenedVault, handle: int) -> None:
    with ready(opened) as (calls, session, _), pytest.raises(exceptions.PKCS11Error) as refused:
        calls.encrypt_gcm(session, handle, IV, b"", b"data")
    assert isinstance(refused.value, exceptions.ObjectHandleInvalid | exceptions.KeyHandleInvalid)


def test_closed_session_raises_the_librarys_error(opened: OpenedVault) -> None:
    session = opened.vault._parts.pool.open()
    session.close()

    with pytest.raises(exceptions.SessionHandleInvalid):
        opened.vault._calls.sign(session, 1, Mechanism.SHA256_HMAC, b"data")


def test_key_is_not_used_for_what_it_may_not_do(opened: OpenedVault) -> None:
    with ready(opened) as (calls, session, key), pytest.raises(exceptions.PKCS11Error):
        calls.sign(session, key, Mechanism.AES_CMAC, b"data")


def test_threads_do_not_see_one_anothers_buffers(opened: OpenedVault) -> None:
    def work(number: int) -> bool:
        iv, aad = number.to_bytes(12, "big"), bytes([number]) * number
        with ready(opened) as (calls, session, key):
            sealed = [
                calls.encrypt_gcm(session, key, iv, aad, bytes([number]) * (n * 40)) for n in range(200)
            ]
        return sealed == [AESGCM(KEY).encrypt(iv, bytes([number]) * (n * 40), aad) for n in range(200)]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(1, 9)))


@pytest.mark.parametrize("size", [32, 4_096])
def test_plaintext_does_not_stay_in_the_buffer(opened: OpenedVault, size: int) -> None:
    secret = b"canary" + os.urandom(size)
    with ready(opened) as (calls, session, key):
        calls.decrypt_gcm(session, key, IV, b"", AESGCM(KEY).encrypt(IV, secret, b""))
        left = ctypes.string_at(calls._scratch.room, _ROOM)

    assert left == bytes(_ROOM)
