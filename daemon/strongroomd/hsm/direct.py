"""The calls of the hot path, straight through the module's own function list: one call for each step.

python-pkcs11 asks for the length of every result first, and gives the GIL up around each of the three calls;
beside other threads taking it back costs more than the work (measured for one AES-GCM encryption in a busy
worker: 40 us against 13). Here the result goes into a buffer that is long enough, and the GIL is kept: a call
made on the event loop's thread holds that thread up anyway. So only calls that take microseconds belong here;
what is slow goes through `handles`, on a lane, without the GIL. For tokens whose short calls have become
long (pace.py) there are the same calls without the GIL.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Final

from pkcs11 import exceptions
from pkcs11.mechanisms import Mechanism

from strongroomd.hsm.faults import exception_of
from strongroomd.hsm.handles import Session

# Places in CK_FUNCTION_LIST, counted in pointers: the version takes the first (PKCS#11 v2.40, pkcs11f.h).
_PLACES: Final = {
    "C_EncryptInit": 30,
    "C_Encrypt": 31,
    "C_DecryptInit": 34,
    "C_Decrypt": 35,
    "C_SignInit": 43,
    "C_Sign": 44,
}
_ULONG: Final = ctypes.c_ulong
_POINTER: Final = ctypes.c_void_p
_TAG_BITS: Final = 128
_TAG_BYTES: Final = _TAG_BITS // 8
_MAX_IV: Final = (
    12  # bytes; longer ones take another path in GCM (NIST SP 800-38D, 7.1), and none is random enough
)
_ROOM: Final = 8_192  # bytes that a result usually fits in; longer ones get a buffer of their own

# PYFUNCTYPE keeps the GIL during the call, CFUNCTYPE gives it up.
_Init: Final = (_ULONG, _ULONG, _POINTER, _ULONG)
_Step: Final = (_ULONG, _ULONG, ctypes.c_char_p, _ULONG, _POINTER, _POINTER)
_KEEPING: Final = ctypes.PYFUNCTYPE(*_Init), ctypes.PYFUNCTYPE(*_Step)
_RELEASING: Final = ctypes.CFUNCTYPE(*_Init), ctypes.CFUNCTYPE(*_Step)
_Steps = tuple[Callable[[int, int, int], int], Callable[[int, bytes, int, int, int], int]]


class _GcmParams(ctypes.Structure):
    """CK_GCM_PARAMS (PKCS#11 v2.40, 2.12.3)."""

    _fields_ = (
        ("iv", ctypes.c_char_p),
        ("iv_bytes", _ULONG),
        ("iv_bits", _ULONG),
        ("aad", ctypes.c_char_p),
        ("aad_bytes", _ULONG),
        ("tag_bits", _ULONG),
    )


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = (("mechanism", _ULONG), ("parameter", _POINTER), ("parameter_bytes", _ULONG))


class _Scratch(threading.local):
    """What a call points the module at; one for each thread, so that none sees another's."""

    def __init__(self) -> None:
        self.gcm = _GcmParams(tag_bits=_TAG_BITS)
        parameter = ctypes.addressof(self.gcm), ctypes.sizeof(self.gcm)
        self._by_gcm = _Mechanism(int(Mechanism.AES_GCM), *parameter)
        self.by_gcm = ctypes.addressof(self._by_gcm)
        self.plain = _Mechanism(0, None, 0)
        self.by_plain = ctypes.addressof(self.plain)
        self.room = ctypes.create_string_buffer(_ROOM)
        self.length = _ULONG(0)
        self.length_at = ctypes.addressof(self.length)


class DirectCalls:
    """Encrypts, decrypts and signs by session and key handle; any thread.

    Args:
        table: the module's function list.
        keep_gil: hold up every other thread meanwhile.
    """

    def __init__(self, table: "ctypes._Pointer[ctypes.c_void_p]", *, keep_gil: bool = True) -> None:
        self._encrypt = _steps(table, "C_EncryptInit", "C_Encrypt", keep_gil=keep_gil)
        self._decrypt = _steps(table, "C_DecryptInit", "C_Decrypt", keep_gil=keep_gil)
        self._sign = _steps(table, "C_SignInit", "C_Sign", keep_gil=keep_gil)
        self._scratch = _Scratch()

    def encrypt_gcm(self, session: Session, handle: int, iv: bytes, aad: bytes, data: bytes) -> bytes:
        """AES-GCM: ciphertext || tag. Raises PKCS11Error."""
        scratch = self._scratch
        _set_gcm(scratch.gcm, iv, aad)
        return _two_steps(
            self._encrypt, scratch, session.handle, scratch.by_gcm, handle, data, len(data) + _TAG_BYTES
        )

    def decrypt_gcm(self, session: Session, handle: int, iv: bytes, aad: bytes, data: bytes) -> bytes:
        """AES-GCM: plaintext. Raises PKCS11Error, for a tag that does not verify too."""
        scratch = self._scratch
        _set_gcm(scratch.gcm, iv, aad)
        return _two_steps(self._decrypt, scratch, session.handle, scratch.by_gcm, handle, data, len(data))

    def sign(self, session: Session, handle: int, mechanism: Mechanism, data: bytes) -> bytes:
        """Sign or MAC by a mechanism without parameters. Raises PKCS11Error."""
        scratch = self._scratch
        scratch.plain.mechanism = mechanism
        return _two_steps(self._sign, scratch, session.handle, scratch.by_plain, handle, data, _ROOM)


def _steps(table: "ctypes._Pointer[ctypes.c_void_p]", begin: str, finish: str, *, keep_gil: bool) -> _Steps:
    init, step = _KEEPING if keep_gil else _RELEASING
    return init(table[_PLACES[begin]]), step(table[_PLACES[finish]])


def _set_gcm(gcm: _GcmParams, iv: bytes, aad: bytes) -> None:
    if not 0 < len(iv) <= _MAX_IV:
        raise exceptions.MechanismParamInvalid
    gcm.iv, gcm.iv_bytes, gcm.iv_bits = iv, len(iv), len(iv) * 8
    gcm.aad, gcm.aad_bytes = aad, len(aad)


def _two_steps(
    calls: _Steps,
    scratch: _Scratch,
    session: int,
    mechanism: int,
    key: int,
    data: bytes,
    room: int,
) -> bytes:
    """Init and the operation itself; the result is wiped from the buffer, since it may be a plaintext."""
    begin, finish = calls
    code = begin(session, mechanism, key)
    if code:
        raise exception_of(code)
    buffer = scratch.room if room <= _ROOM else ctypes.create_string_buffer(room)
    scratch.length.value = max(room, 1)
    code = finish(session, data, len(data), ctypes.addressof(buffer), scratch.length_at)
    if code:
        raise exception_of(code)
    length = scratch.length.value
    result = ctypes.string_at(buffer, length)
    ctypes.memset(buffer, 0, length)
    return result
