"""CKR values translated once: whose fault, and what becomes of session, handle, retry and breaker.

python-pkcs11 raises a class for most codes and a bare PKCS11Error for the rest, recognisable only by its
text; `code_of` turns both back into the number. `fault_of` and `RULES` are total: an unknown code counts as
the token's.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pkcs11 import exceptions

from strongroomd.domain.errors import Reason, StrongroomError


class Fault(StrEnum):
    """Whose fault an error is."""

    DATA = "data"
    REQUEST = "request"
    DOUBTFUL = "doubtful"
    SESSION = "session"
    HANDLE = "handle"
    LOGIN = "login"
    PIN = "pin"
    TOKEN = "token"  # noqa: S105 - a class of errors, not a password
    GONE = "gone"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a fault.

    Attributes:
        reason: what the caller is told unless the operation knows better.
        retry_after: seconds after which the caller may try again.
        keep_session: the session may be used again.
        retry: the same call is tried once more on another session.
        canary: a canary operation decides whether the token is ill; the breaker follows it.
        fatal: nothing in this process will work again; it must be replaced (re-initialising beside other
            threads crashes).
    """

    reason: Reason
    retry_after: float | None = None
    keep_session: bool = False
    retry: bool = False
    canary: bool = False
    fatal: bool = False


RULES: Final[dict[Fault, Rule]] = {
    Fault.DATA: Rule(Reason.INTERNAL, keep_session=True),
    Fault.REQUEST: Rule(Reason.INTERNAL, keep_session=True),
    Fault.DOUBTFUL: Rule(Reason.INTERNAL, retry=True, canary=True),
    Fault.SESSION: Rule(Reason.HSM_UNAVAILABLE, 0.1, retry=True),
    Fault.HANDLE: Rule(Reason.HSM_UNAVAILABLE, 0.1, keep_session=True),
    Fault.LOGIN: Rule(Reason.HSM_UNAVAILABLE, 2.0, fatal=True),
    Fault.PIN: Rule(Reason.HSM_UNAVAILABLE, fatal=True),
    Fault.TOKEN: Rule(Reason.HSM_UNAVAILABLE, 1.0, canary=True),
    Fault.GONE: Rule(Reason.HSM_UNAVAILABLE, 2.0, fatal=True),
    Fault.CAPACITY: Rule(Reason.OVERLOADED, 1.0, keep_session=True),
}

GENERAL_ERROR: Final = 0x5
FUNCTION_FAILED: Final = 0x6
TEMPLATE_INCONSISTENT: Final = 0xD1
PIN_INCORRECT: Final = 0xA0
UNKNOWN: Final = 0xFFFFFFFF  # no CKR: an error of the wrapper itself

_e = exceptions
CODES: Final[dict[type[exceptions.PKCS11Error], tuple[int, Fault]]] = {
    _e.AnotherUserAlreadyLoggedIn: (0x104, Fault.LOGIN),
    _e.AttributeTypeInvalid: (0x12, Fault.REQUEST),
    _e.AttributeValueInvalid: (0x13, Fault.REQUEST),
    _e.AttributeReadOnly: (0x10, Fault.REQUEST),
    _e.AttributeSensitive: (0x11, Fault.REQUEST),
    _e.ArgumentsBad: (0x7, Fault.REQUEST),
    _e.DataInvalid: (0x20, Fault.DATA),
    _e.DataLenRange: (0x21, Fault.DATA),
    _e.DomainParamsInvalid: (0x130, Fault.REQUEST),
    _e.DeviceError: (0x30, Fault.TOKEN),
    _e.DeviceMemory: (0x31, Fault.CAPACITY),
    _e.DeviceRemoved: (0x32, Fault.GONE),
    _e.EncryptedDataInvalid: (0x40, Fault.DATA),
    _e.EncryptedDataLenRange: (0x41, Fault.DATA),
    _e.ExceededMaxIterations: (0x1B5, Fault.TOKEN),
    _e.FunctionCancelled: (0x50, Fault.SESSION),
    _e.FunctionFailed: (FUNCTION_FAILED, Fault.TOKEN),
    _e.FunctionRejected: (0x200, Fault.TOKEN),
    _e.FunctionNotSupported: (0x54, Fault.REQUEST),
    _e.GeneralError: (GENERAL_ERROR, Fault.TOKEN),
    _e.HostMemory: (0x2, Fault.CAPACITY),
    _e.KeyHandleInvalid: (0x60, Fault.HANDLE),
    _e.KeyIndigestible: (0x67, Fault.REQUEST),
    _e.KeyNeeded: (0x66, Fault.REQUEST),
    _e.KeyNotNeeded: (0x64, Fault.REQUEST),
    _e.KeyNotWrappable: (0x69, Fault.REQUEST),
    _e.KeySizeRange: (0x62, Fault.REQUEST),
    _e.KeyTypeInconsistent: (0x63, Fault.REQUEST),
    _e.KeyUnextractable: (0x6A, Fault.REQUEST),
    _e.MechanismInvalid: (0x70, Fault.REQUEST),
    _e.MechanismParamInvalid: (0x71, Fault.REQUEST),
    _e.MultipleObjectsReturned: (UNKNOWN, Fault.REQUEST),
    _e.MultipleTokensReturned: (UNKNOWN, Fault.REQUEST),
    _e.NoEvent: (0x8, Fault.REQUEST),
    _e.NoSuchKey: (UNKNOWN, Fault.REQUEST),
    _e.NoSuchToken: (UNKNOWN, Fault.GONE),
    _e.ObjectHandleInvalid: (0x82, Fault.HANDLE),
    _e.OperationActive: (0x90, Fault.SESSION),
    _e.OperationNotInitialized: (0x91, Fault.SESSION),
    _e.PinExpired: (0xA3, Fault.PIN),
    _e.PinIncorrect: (PIN_INCORRECT, Fault.PIN),
    _e.PinInvalid: (0xA1, Fault.PIN),
    _e.PinLenRange: (0xA2, Fault.PIN),
    _e.PinLocked: (0xA4, Fault.PIN),
    _e.PinTooWeak: (0x1B8, Fault.PIN),
    _e.PublicKeyInvalid: (0x1B9, Fault.DATA),
    _e.RandomNoRNG: (0x121, Fault.TOKEN),
    _e.RandomSeedNotSupported: (0x120, Fault.REQUEST),
    _e.SessionClosed: (0xB0, Fault.SESSION),
    _e.SessionCount: (0xB1, Fault.CAPACITY),
    _e.SessionExists: (0xB6, Fault.REQUEST),
    _e.SessionHandleInvalid: (0xB3, Fault.SESSION),
    _e.SessionReadOnly: (0xB5, Fault.REQUEST),
    _e.SessionReadOnlyExists: (0xB7, Fault.REQUEST),
    _e.SessionReadWriteSOExists: (0xB8, Fault.REQUEST),
    _e.SignatureLenRange: (0xC1, Fault.DATA),
    _e.SignatureInvalid: (0xC0, Fault.DATA),
    _e.SlotIDInvalid: (0x3, Fault.GONE),
    _e.TemplateIncomplete: (0xD0, Fault.REQUEST),
    _e.TemplateInconsistent: (TEMPLATE_INCONSISTENT, Fault.REQUEST),
    _e.TokenNotPresent: (0xE0, Fault.GONE),
    _e.TokenNotRecognised: (0xE1, Fault.GONE),
    _e.TokenWriteProtected: (0xE2, Fault.REQUEST),
    _e.UnwrappingKeyHandleInvalid: (0xF0, Fault.GONE),  # a house key vanished: no cache can mend that
    _e.UnwrappingKeySizeRange: (0xF1, Fault.REQUEST),
    _e.UnwrappingKeyTypeInconsistent: (0xF2, Fault.REQUEST),
    _e.UserAlreadyLoggedIn: (0x100, Fault.REQUEST),
    _e.UserNotLoggedIn: (0x101, Fault.LOGIN),
    _e.UserPinNotInitialized: (0x102, Fault.PIN),
    _e.UserTooManyTypes: (0x105, Fault.LOGIN),
    _e.WrappedKeyInvalid: (0x110, Fault.DATA),
    _e.WrappedKeyLenRange: (0x112, Fault.DATA),
    _e.WrappingKeyHandleInvalid: (0x113, Fault.GONE),
    _e.WrappingKeySizeRange: (0x114, Fault.REQUEST),
    _e.WrappingKeyTypeInconsistent: (0x115, Fault.REQUEST),
}

UNMAPPED: Final[dict[int, Fault]] = {
    0x1B: Fault.REQUEST,  # ACTION_PROHIBITED
    0x68: Fault.REQUEST,  # KEY_FUNCTION_NOT_PERMITTED
    0xA: Fault.GONE,  # CANT_LOCK
    0x140: Fault.REQUEST,  # CURVE_NOT_SUPPORTED
    0x201: Fault.CAPACITY,  # TOKEN_RESOURCE_EXCEEDED
    0x190: Fault.GONE,  # CRYPTOKI_NOT_INITIALIZED
    0x191: Fault.GONE,  # CRYPTOKI_ALREADY_INITIALIZED
    0x150: Fault.SESSION,  # BUFFER_TOO_SMALL
}

_TEXTS: Final = {"not initialized": 0x190, "already initialized": 0x191, "Buffer was too small": 0x150}
_UNMAPPED_TEXT: Final = re.compile(r"Unmapped error code (0x[0-9a-fA-F]+)")
_AMBIGUOUS: Final = {GENERAL_ERROR, FUNCTION_FAILED}


class Refused(StrongroomError):  # noqa: N818 - reads as what happened
    """A token call failed; carries the code and its class for callers who can say more about it.

    Attributes:
        code: the CKR value, `UNKNOWN` when there was none.
        kind: its class.
    """

    def __init__(self, function: str, code: int, kind: Fault) -> None:
        rule = RULES[kind]
        detail = f"{function}: CKR {code:#x} ({kind})"
        super().__init__(rule.reason, retry_after=rule.retry_after, detail=detail)
        self.code = code
        self.kind = kind


def code_of(error: exceptions.PKCS11Error) -> int:
    """Recover the CKR value of an exception; `UNKNOWN` when there is none."""
    known = CODES.get(type(error))
    if known is not None:
        return known[0]
    text = str(error)
    if match := _UNMAPPED_TEXT.search(text):
        return int(match[1], 16)
    return next((code for part, code in _TEXTS.items() if part in text), UNKNOWN)


_EXCEPTIONS: Final = {code: kind for kind, (code, _) in CODES.items() if code != UNKNOWN}


def exception_of(code: int) -> exceptions.PKCS11Error:
    """Make the exception that python-pkcs11 would raise for a CKR value; `code_of` undoes it."""
    known = _EXCEPTIONS.get(code)
    return known() if known else exceptions.PKCS11Error(f"Unmapped error code {code:#x}")


def fault_of(error: exceptions.PKCS11Error, *, doubtful: bool) -> Fault:
    """Classify an exception.

    Args:
        error: what python-pkcs11 raised.
        doubtful: the call worked on bytes from outside (decrypt, unwrap), for whose faults some modules
        answer
            GENERAL_ERROR or FUNCTION_FAILED.
    """
    known = CODES.get(type(error))
    if known is None:
        return UNMAPPED.get(code_of(error), Fault.TOKEN)
    code, fault = known
    return Fault.DOUBTFUL if doubtful and code in _AMBIGUOUS else fault
