"""Encrypt and Decrypt of genuine ciphertexts."""

import os
from functools import partial
from typing import Final

from strongroom.errors import StrongroomError
from strongroom.xks.selftest.findings import Check, Doubt, Failure, said
from strongroom.xks.selftest.probe import AAD, PLAINTEXT, Probe

_MOST_PLAINTEXT: Final = 4_300  # bytes that every proxy must take
_MOST_AAD: Final = 8_192


def _round(probe: Probe, size: int, aad_size: int | None, *, cdiv: bool) -> str:
    plaintext = os.urandom(size)
    aad = None if aad_size is None else os.urandom(aad_size)
    sealed = probe.client.encrypt(probe.key, plaintext, aad=aad, cdiv=cdiv)
    if probe.client.decrypt(probe.key, sealed, aad=aad) != plaintext:
        raise Failure("another plaintext came back")
    parts = f"IV {len(sealed.iv)}, tag {len(sealed.tag)}, metadata {len(sealed.metadata)} bytes"
    return f"{parts}, CDIV recomputed" if cdiv else parts


def _empty(probe: Probe) -> str:
    try:
        return _round(probe, 0, None, cdiv=True)
    except StrongroomError as refused:
        raise Doubt(f"the API leaves it open: {said(refused)}") from None


def _fresh_ivs(probe: Probe) -> str:
    ivs = [probe.client.encrypt(probe.key, PLAINTEXT, aad=AAD, cdiv=False).iv for _ in range(8)]
    if len(set(ivs)) < len(ivs):
        raise Failure("an IV came twice: under AES-GCM that gives the key's secrets away")
    return f"{len(ivs)} of {len(ivs)} differ"


def _operations(probe: Probe) -> str:
    for operation in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt"):
        sealed = probe.client.encrypt(probe.key, PLAINTEXT, operation=operation)
    probe.client.decrypt(probe.key, sealed, operation="ReEncrypt")
    return "all that KMS names"


def _trip(title: str, size: int, aad: int | None, *, cdiv: bool = True) -> Check:
    return Check("ciphertexts", title, partial(_round, size=size, aad_size=aad, cdiv=cdiv))


SEALING: Final = (
    _trip("without AAD", 64, None, cdiv=False),
    _trip("without AAD, CDIV", 64, None),
    _trip("with AAD", 64, 48, cdiv=False),
    _trip("with AAD, CDIV", 64, 48),
    _trip("1 byte", 1, None),
    Check("ciphertexts", "0 bytes", _empty),
    _trip("4,300 bytes", _MOST_PLAINTEXT, None),
    _trip("8,192 bytes of AAD", 64, _MOST_AAD),
    _trip("4,300 bytes with 8,192 of AAD", _MOST_PLAINTEXT, _MOST_AAD),
    Check("ciphertexts", "IVs are fresh", _fresh_ivs),
    Check("ciphertexts", "each kmsOperation", _operations),
)
