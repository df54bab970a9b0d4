"""A token that can be made ill and well again while a daemon, or a test, uses it.

Functions stand before those of the PKCS#11 module, in its function list, so that whatever calls the module
meets them: `direct`, python-pkcs11, the canary, on any thread. What they do is said by rules; the first rule
that fits a call applies, a call that none fits goes straight through:

    function  name of a PKCS#11 function, e.g. "C_Encrypt"; "*" (the default) for each of `FUNCTIONS`
    slot      slot of the session that the call is made in; leave it out for every slot
    pid       process whose calls are meant; leave it out for every worker
    share     which part of the calls, 0 to 1 (default 1), in turn and not at random: 0.1 is each tenth
    seconds   sleep so long first
    code      return this CKR instead of calling the module (0x30 device error, 0x5 general error,
              0xB3 session handle invalid, 0x32 device removed)
    hang      true: return only once the rules have changed

In a test's own process, on a vault that is open:

    with ill(vault) as token:
        token.be({"function": "C_Encrypt", "seconds": 0.1, "share": 0.1})
        ...
        token.be()  # well

A daemon: run `ill_token.py supervise CONFIG` in place of `strongroomd serve`, with STRONGROOM_TEST_ILL naming a
file. The workers look at it at each call: a JSON list of rules makes the token ill (`steer` writes it whole), an
empty list or no file makes it well. Calls that hang return within 10 ms of that.
"""

import ctypes
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from strongroomd.cli import main
from strongroomd.config import load, read
from strongroomd.hsm import module, scout
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.settings import HsmSettings
from strongroomd.supervisor import Supervisor
from strongroomd.telemetry import logs

VARIABLE: Final = "STRONGROOM_TEST_ILL"
OPEN_SESSION: Final = "C_OpenSession"
# Each function's place in the list, the version counted as place 0, and its number of arguments (PKCS#11 2.40).
FUNCTIONS: Final = {
    OPEN_SESSION: (13, 5),
    "C_CreateObject": (21, 4),
    "C_DestroyObject": (23, 2),
    "C_GetAttributeValue": (25, 4),
    "C_FindObjectsInit": (27, 3),
    "C_EncryptInit": (30, 3),
    "C_Encrypt": (31, 5),
    "C_DecryptInit": (34, 3),
    "C_Decrypt": (35, 5),
    "C_SignInit": (43, 3),
    "C_Sign": (44, 5),
    "C_GenerateKey": (59, 5),
    "C_GenerateKeyPair": (60, 8),
    "C_WrapKey": (61, 6),
    "C_UnwrapKey": (62, 8),
    "C_DeriveKey": (63, 6),
    "C_GenerateRandom": (65, 3),
}
_GET_SESSION_INFO: Final = 16
_SessionInfo: Final = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)
_HANGING: Final = 0.01
_CKR_OK: Final = 0
Rule = dict[str, Any]


class IllToken:
    """Stands in the function list until `restore`.

    Args:
        table: the module's function list.

    Attributes:
        calls: how many met a rule.
    """

    def __init__(self, table: Any) -> None:
        self.calls = 0
        self._table = table
        self._rules: list[Rule] = []
        self._turns = itertools.count(1)
        self._pid = os.getpid()
        self._session_info = _SessionInfo(table[_GET_SESSION_INFO])
        self._before = {name: table[place] for name, (place, _) in FUNCTIONS.items()}
        self._kept = {name: self._stand_in(name) for name in FUNCTIONS}
        for name, stand_in in self._kept.items():
            table[FUNCTIONS[name][0]] = ctypes.cast(stand_in, ctypes.c_void_p).value

    def be(self, *rules: Rule) -> None:
        """Be ill by these rules, or well without any."""
        self._rules = list(rules)

    def restore(self) -> None:
        """Put the module's own functions back."""
        self.be()
        for name, (place, _) in FUNCTIONS.items():
            self._table[place] = self._before[name]

    def rules(self) -> list[Rule]:
        """What holds now."""
        return self._rules

    def _stand_in(self, name: str) -> Any:
        prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_void_p] * FUNCTIONS[name][1])
        real = prototype(self._before[name])

        def call(*arguments: int | None) -> int:
            return self._suffer(name, arguments[0] or 0) or int(real(*arguments))

        return prototype(call)

    def _suffer(self, name: str, first: int) -> int:
        """Do what the rules say; gives the code to be returned, 0 for going on to the module."""
        rules = self.rules()
        if not rules:
            return _CKR_OK
        rule = next((rule for rule in rules if self._fits(rule, name, first)), None)
        if rule is None or not self._in_turn(rule):
            return _CKR_OK
        self.calls += 1
        time.sleep(rule.get("seconds", 0.0))
        while rule.get("hang") and rule in self.rules():
            time.sleep(_HANGING)
        return int(rule.get("code", _CKR_OK))

    def _fits(self, rule: Rule, name: str, first: int) -> bool:
        if rule.get("function", "*") not in {"*", name} or rule.get("pid", self._pid) != self._pid:
            return False
        return "slot" not in rule or rule["slot"] == self._slot(name, first)

    def _slot(self, name: str, first: int) -> int:
        """Tell the slot of a session; C_OpenSession is given the slot itself."""
        if name == OPEN_SESSION:
            return first
        info = (ctypes.c_ulong * 4)()  # CK_SESSION_INFO: slot, state, flags, device error
        self._session_info(first, ctypes.addressof(info))
        return int(info[0])

    def _in_turn(self, rule: Rule) -> bool:
        share, turn = rule.get("share", 1.0), next(self._turns)
        return int(turn * share) > int((turn - 1) * share)


class SteeredToken(IllToken):
    """Reads its rules from a file whenever that changes."""

    def __init__(self, table: Any, path: Path) -> None:
        self._path = path
        self._seen = (0, 0)
        super().__init__(table)

    def rules(self) -> list[Rule]:
        """What the file says."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                self.be(*json.loads(self._path.read_text() or "[]"))
                self._seen = seen
        except OSError:
            self.be()
            self._seen = (0, 0)
        return self._rules


def steer(path: Path, *rules: Rule) -> None:
    """Write the rules of a running daemon's token; without any it is well."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(rules))
    new.replace(path)


@contextmanager
def ill(vault: TokenVault) -> Iterator[IllToken]:
    """Put an ill token under a vault of this process, and under every other of the same module."""
    loaded = vault._parts.login.module
    token = IllToken(loaded.hook.table)
    _take_up(loaded)
    try:
        yield token
    finally:
        token.restore()
        _take_up(loaded)


def _take_up(loaded: module.Module) -> None:
    """Have the direct calls look at the function list again."""
    loaded.direct.__init__(loaded.hook.table)  # type: ignore[misc] # in place: vaults hold it
    loaded.released.__init__(loaded.hook.table, keep_gil=False)  # type: ignore[misc]


# --- the daemon's processes


def _supervise(config: Path) -> int:
    logs.configure("info")
    data = read(config)
    return Supervisor(load(config, data), data, (sys.executable, __file__, "worker")).run()


def _work() -> None:
    path, before = Path(os.environ[VARIABLE]), module.LockingHook.__init__
    kept: list[SteeredToken] = []

    def hook(self: module.LockingHook, module_path: Path) -> None:
        before(self, module_path)
        kept.append(SteeredToken(self.table, path))

    def sees(settings: HsmSettings) -> bool:
        """A fresh process would meet the same illness, which the scout's own is spared."""
        return not any(token.rules() for token in kept) and truly(settings)

    truly, scout.sees = scout.sees, sees
    module.LockingHook.__init__ = hook  # type: ignore[method-assign,assignment]
    main()


if __name__ == "__main__":
    run: dict[str, Callable[[], int | None]] = {
        "supervise": lambda: _supervise(Path(sys.argv[2])),
        "worker": _work,
    }
    sys.exit(run[sys.argv[1]]())
