"""Signed statements, verified without the daemon: attestations and certificates of destruction.

    from strongroom.statements import verify

    claims = verify(payload, signature, pinned_pem, kind="key-attestation").claims

A statement is worth what the public key is worth: pin the PEM out of band. `openssl dgst -sha256 -verify`
checks the same signature; this looks besides at the form, which is canonical: no two texts say the same.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from strongroom.errors import NotGenuine, StrongroomError, invalid

FORMAT: Final = "strongroom.statement.v1"
ATTESTATION: Final = "key-attestation"
DESTRUCTION: Final = "destruction-certificate"
MAX_STATEMENT: Final = 1 << 20
_MEMBERS: Final = {"claims", "format", "house", "kind", "time"}
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_HOUSE: Final = re.compile(r"[!-~]{1,256}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a house said.

    Attributes:
        kind: `key-attestation`, `destruction-certificate`, ...
        house: names the installation.
        time: when, by the house's clock.
        claims: what it claims; see protos/README.md, "Statements".
    """

    kind: str
    house: str
    time: datetime
    claims: Mapping[str, Any]


def verify(
    payload: bytes, signature: bytes, public_key: bytes, *, kind: str = "", house: str = "", nonce: str = ""
) -> Statement:
    """Verify a statement and give what it says.

    Args:
        payload: the bytes that were signed.
        signature: ECDSA, DER.
        public_key: the pinned P-256 public key, PEM or DER.
        kind: refuse statements of any other kind, if given.
        house: refuse statements of any other house, if given.
        nonce: refuse statements that do not repeat it, if given.

    Raises:
        InvalidRequest: the public key is none of P-256.
        NotGenuine: INVALID_SIGNATURE: signature, form, kind, house or nonce are not right.
    """
    if not _signed(payload, signature, public_key):
        raise _refused("the signature is not one of this payload by this key")
    statement = _parse(payload)
    if kind and statement.kind != kind:
        raise _refused("it is a statement of another kind")
    if house and statement.house != house:
        raise _refused("it is a statement of another house")
    if nonce and statement.claims.get("nonce") != nonce:
        raise _refused("it does not repeat the nonce: it may be an old one")
    return statement


def _signed(payload: bytes, signature: bytes, public_key: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    try:
        _p256(public_key).verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _p256(public_key: bytes) -> Any:  # noqa: ANN401 - cryptography is loaded inside
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_der_public_key,
        load_pem_public_key,
    )

    load = load_pem_public_key if public_key.lstrip().startswith(b"-----BEGIN") else load_der_public_key
    try:
        key = load(public_key)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise invalid("public_key", "must be a P-256 public key, PEM or DER")
    return key


def _parse(payload: bytes) -> Statement:
    if len(payload) > MAX_STATEMENT:
        raise _refused("it is too large for a statement")
    try:
        found = json.loads(payload.decode("ascii"), parse_float=_no_number, parse_constant=_no_number)
        whole = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    except (ValueError, RecursionError):
        raise _refused(_FORM) from None
    if whole != payload or not isinstance(found, dict) or found.keys() != _MEMBERS:
        raise _refused(_FORM)
    return _read(found)


def _read(found: dict[str, Any]) -> Statement:
    kind, house, time, claims = (found[name] for name in ("kind", "house", "time", "claims"))
    texts = all(isinstance(text, str) for text in (kind, house, time))
    if not texts or not isinstance(claims, dict) or found["format"] != FORMAT:
        raise _refused(_FORM)
    if not (_KIND.fullmatch(kind) and _HOUSE.fullmatch(house) and _TIME.fullmatch(time)):
        raise _refused(_FORM)
    try:
        return Statement(kind, house, datetime.fromisoformat(time), claims)
    except ValueError:
        raise _refused(_FORM) from None


_FORM: Final = "it does not have the form of a statement"


def _no_number(_: str) -> object:
    raise ValueError("numbers are whole")


def _refused(why: str) -> StrongroomError:
    return NotGenuine("INVALID_SIGNATURE", why)
