"""Loading the PKCS#11 module with locking, and choosing a token.

python-pkcs11 calls C_Initialize with a null argument, which promises single-threaded use; modules then run
without locks and crash under threads. Before the library loads the module, the
C_Initialize pointer in the module's function list is replaced by a hook that supplies CKF_OS_LOCKING_OK; the
hook counts its calls, and a load that did not pass through it is refused.
"""

import ctypes
import os
import threading
from pathlib import Path
from typing import Any, Final

import pkcs11

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.mechanisms import Offer
from strongroomd.hsm.quirks import Quirks, quirks_of
from strongroomd.hsm.settings import HsmSettings

_OS_LOCKING_OK: Final = 0x2  # PKCS#11 v2.40, 4.8: CKF_OS_LOCKING_OK
_INITIALIZE_SLOT: Final = 1  # the function list is CK_VERSION (padded to a pointer), then C_Initialize, ...

_Initialize = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)


class _Arguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class LockingHook:
    """Stands in the function list in C_Initialize's place and adds the locking flag.

    Attributes:
        calls: how often C_Initialize went through it.
    """

    def __init__(self, path: Path) -> None:
        self.calls = 0
        self._module = ctypes.CDLL(str(path))
        table = ctypes.POINTER(ctypes.c_void_p)()
        if self._module.C_GetFunctionList(ctypes.byref(table)) != 0:
            raise OSError("the module gives no function list")
        self._original = _Initialize(table[_INITIALIZE_SLOT])
        self._arguments = _Arguments(flags=_OS_LOCKING_OK)
        self._callback = _Initialize(self._initialize)
        table[_INITIALIZE_SLOT] = ctypes.cast(self._callback, ctypes.c_void_p).value
        self.table = table

    def _initialize(self, _: int | None) -> int:
        self.calls += 1
        return int(self._original(ctypes.addressof(self._arguments)))


class Module:
    """A loaded PKCS#11 module; one for each path and process, for ever (it is never finalised).

    Attributes:
        library: python-pkcs11's module object.
        hook: proof that locking is on.
        quirks: what is particular about this module.
        direct: the calls of the hot path.
        released: the same for threads, without the GIL.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.hook = LockingHook(path)
            self.library: Any = pkcs11.lib(str(path))
        except (OSError, pkcs11.PKCS11Error) as error:
            raise _unavailable(f"the PKCS#11 module cannot be loaded: {error}") from error
        if self.hook.calls < 1:
            raise _unavailable("the PKCS#11 module was initialised without locking")
        self.quirks: Quirks = quirks_of(self.library.manufacturer_id)
        self.direct = DirectCalls(self.hook.table)
        self.released = DirectCalls(self.hook.table, keep_gil=False)

    def token(self, settings: HsmSettings) -> Any:  # noqa: ANN401 - pkcs11.Token, without usable types
        """Choose the token by serial and label, never by slot number.

        Raises:
            StrongroomError: HSM_UNAVAILABLE unless exactly one token matches.
        """
        try:
            slots = self.library.get_slots(token_present=True)
        except pkcs11.PKCS11Error as error:
            raise _unavailable(f"the module lists no slots: {type(error).__name__}") from error
        ill, found = 0, []
        for slot in slots:
            try:
                token = slot.get_token()
            except (pkcs11.PKCS11Error, UnicodeDecodeError):
                ill += 1  # it must not hide the others
            else:
                found += [token] if _is_wanted(token, settings) else []
        if len(found) != 1:
            count = f"{len(found)} have, {ill} more do not answer"
            raise _unavailable(f"no single token has the configured serial and label: {count}")
        return found[0]

    def offer(self, token: Any, symmetric: str = "auto") -> Offer:  # noqa: ANN401 - as above
        """List what a token can do; `symmetric` is one of `SYMMETRIC_CHOICES`."""
        return Offer({int(m) for m in token.slot.get_mechanisms()}, self.quirks, symmetric)


def _is_wanted(token: Any, settings: HsmSettings) -> bool:  # noqa: ANN401 - pkcs11.Token
    serial, label = settings.token_serial, settings.token_label
    return (not serial or token.serial == serial.encode()) and (not label or token.label == label)


_loaded: dict[Path, Module] = {}
_loading = threading.Lock()


def load(settings: HsmSettings) -> Module:
    """Load the module, or give the one loaded before; the caller holds the login lock."""
    with _loading:
        path = settings.module.resolve()
        if path not in _loaded:
            if settings.softhsm_conf is not None:
                os.environ["SOFTHSM2_CONF"] = str(settings.softhsm_conf)  # read by C_Initialize alone
            _loaded[path] = Module(path)
        return _loaded[path]


def _unavailable(detail: str) -> StrongroomError:
    return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=5.0)
