"""What the HSM room must be told: frozen settings, checked when they are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.mechanisms import SYMMETRIC_CHOICES

_THREADS: Final = ("slow_threads", "quick_threads", "birth_threads")


@dataclass(frozen=True, slots=True)
class HsmSettings:
    """Which token to use and within which bounds.

    Attributes:
        module: absolute path of the PKCS#11 module.
        state: folder for the login lock, the refused-PIN marker and the copies of token.object; owned by the
            daemon's user, mode 0700; shared by all workers and by the tokens of one module, whose
            C_Initialize looks at all of them.
        token_serial: serial number of the token; with `token_label` both must match.
        token_label: label of the token; at least one of the two is needed.
        softhsm_conf: SoftHSM's configuration file (becomes SOFTHSM2_CONF). Naming it also turns on the guard
            of token.object. None for other modules.
        sessions: most PIN-less sessions that one process keeps open for operations.
        slow_threads: threads for RSA, the slower curves and loading of key pairs.
        slow_queue: calls that may wait for those threads before further ones are refused.
        quick_threads: threads for AES, HMAC and the quicker curves while the token answers slowly.
        birth_threads: threads for RSA key generation, which may take seconds.
        birth_queue: the same bound for them.
        handles: loaded keys kept in the token's memory.
        handle_seconds: age at which a loaded key is loaded anew.
        subkeys: derived XAES sub-keys kept for decryption.
        symmetric: scheme of new symmetric versions: `auto`, `xaes` or `aes-gcm` (mechanisms.py).
        lock_seconds: how long to wait for another process's login.
        recovery_public_key: RSA SubjectPublicKeyInfo (DER) to which each wrapped key is also wrapped at
        birth;
            empty for none.
        name: the token's name, as records have it; empty for the main one.
        wary: short calls begin on threads, since a worker before this one was caught in a call.
    """

    module: Path
    state: Path
    token_serial: str = ""
    token_label: str = ""
    softhsm_conf: Path | None = None
    sessions: int = 8
    slow_threads: int = 2
    slow_queue: int = 256
    quick_threads: int = 4
    birth_threads: int = 1
    birth_queue: int = 32
    handles: int = 2_000
    handle_seconds: float = 900.0
    subkeys: int = 4_096
    symmetric: str = "auto"
    lock_seconds: float = 20.0
    recovery_public_key: bytes = b""
    name: str = MAIN
    wary: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the setting."""
        _require(self.module.is_absolute(), "hsm.module", "an absolute path is needed")
        _require(self.state.is_absolute(), "hsm.state", "an absolute path is needed")
        _require(bool(self.token_serial or self.token_label), "hsm.token_serial", "name serial or label")
        _require(
            self.sessions > sum(getattr(self, name) for name in _THREADS),
            "hsm.sessions",
            "one session for each thread and one for the event loop are needed",
        )
        for name in (*_THREADS, "slow_queue", "birth_queue", "handles", "subkeys"):
            _require(getattr(self, name) > 0, f"hsm.{name}", "must be positive")
        _require(self.symmetric in SYMMETRIC_CHOICES, "hsm.symmetric", "must be auto, xaes or aes-gcm")
        for name in ("handle_seconds", "lock_seconds"):
            _require(getattr(self, name) > 0, f"hsm.{name}", "must be positive")

    def place(self, setting: str) -> str:
        """Name one of the token's own settings, for errors."""
        return f"hsm.tokens.{self.name}.{setting}" if self.name else f"hsm.{setting}"


def _require(condition: bool, field: str, message: str) -> None:  # noqa: FBT001 - an assertion's only argument
    if not condition:
        raise StrongroomError(Reason.CONFIGURATION, message, field=field)
