"""Strongroom: the client SDK and the command line of the key custody daemon.

    from strongroom import Client

    with Client.from_environment() as client:
        sealed = client.encrypt("alias/payroll", b"4000 EUR", context={"employee": "17"})
        opened = client.decrypt(sealed.ciphertext, context={"employee": "17"})

`AsyncClient` is the same for asyncio. Errors are in `strongroom.errors`, answers in `strongroom.results`,
names of specs and algorithms in `strongroom.names`, envelope encryption of files in `strongroom.files`.
Names are loaded when they are first used, so that the command line starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from strongroom.aio_client import AsyncClient as AsyncClient
    from strongroom.client import Client as Client
    from strongroom.errors import AccessDenied as AccessDenied
    from strongroom.errors import CallerError as CallerError
    from strongroom.errors import ConfigurationError as ConfigurationError
    from strongroom.errors import Conflict as Conflict
    from strongroom.errors import DeadlineExceeded as DeadlineExceeded
    from strongroom.errors import DryRunSucceeded as DryRunSucceeded
    from strongroom.errors import IntegrityError as IntegrityError
    from strongroom.errors import InternalError as InternalError
    from strongroom.errors import InvalidRequest as InvalidRequest
    from strongroom.errors import KeyNotUsable as KeyNotUsable
    from strongroom.errors import NotFound as NotFound
    from strongroom.errors import NotGenuine as NotGenuine
    from strongroom.errors import OperatorError as OperatorError
    from strongroom.errors import StrongroomError as StrongroomError
    from strongroom.errors import Throttled as Throttled
    from strongroom.errors import Unavailable as Unavailable
    from strongroom.files import decrypt_file as decrypt_file
    from strongroom.files import encrypt_file as encrypt_file
    from strongroom.names import CustodyMode as CustodyMode
    from strongroom.names import DataKeyPairSpec as DataKeyPairSpec
    from strongroom.names import DataKeySpec as DataKeySpec
    from strongroom.names import EncryptionAlgorithm as EncryptionAlgorithm
    from strongroom.names import KeyManager as KeyManager
    from strongroom.names import KeySpec as KeySpec
    from strongroom.names import KeyState as KeyState
    from strongroom.names import KeyUsage as KeyUsage
    from strongroom.names import LimitScope as LimitScope
    from strongroom.names import MacAlgorithm as MacAlgorithm
    from strongroom.names import MessageType as MessageType
    from strongroom.names import Pinning as Pinning
    from strongroom.names import PrincipalKind as PrincipalKind
    from strongroom.names import QuotaDecision as QuotaDecision
    from strongroom.names import QuotaRequestState as QuotaRequestState
    from strongroom.names import SigningAlgorithm as SigningAlgorithm
    from strongroom.retry import RetryPolicy as RetryPolicy
    from strongroom.settings import Settings as Settings

_HOMES: Final = {
    "aio_client": ("AsyncClient",),
    "client": ("Client",),
    "errors": (
        *(
            "AccessDenied",
            "CallerError",
            "ConfigurationError",
            "Conflict",
            "DeadlineExceeded",
            "DryRunSucceeded",
        ),
        *("IntegrityError", "InternalError", "InvalidRequest", "KeyNotUsable", "NotFound", "NotGenuine"),
        *("OperatorError", "StrongroomError", "Throttled", "Unavailable"),
    ),
    "files": ("decrypt_file", "encrypt_file"),
    "names": (
        *(
            "CustodyMode",
            "DataKeyPairSpec",
            "DataKeySpec",
            "EncryptionAlgorithm",
            "KeyManager",
            "KeySpec",
            "KeyState",
            "KeyUsage",
        ),
        *("LimitScope", "MacAlgorithm", "MessageType", "Pinning", "PrincipalKind"),
        *("QuotaDecision", "QuotaRequestState", "SigningAlgorithm"),
    ),
    "retry": ("RetryPolicy",),
    "settings": ("Settings",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the public names
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
