"""Envelopes written by earlier versions open for ever: the files are never edited, only joined by new ones.

Each names a root key, and is opened twice: through the vault, and by an independent XAES or AES-GCM in software.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.vectors.loader import import_secret
from tests.vectors.xaes import open_xaes

from strongroomd.domain import context, envelope
from strongroomd.domain.algorithms import KeySpec, Scheme
from strongroomd.domain.envelope import Format
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.keystore import TokenVault

CASES: list[dict[str, Any]] = [
    case | {"scheme": scheme}
    for name, scheme in (("envelopes-1.json", Scheme.DEFAULT), ("envelopes-2.json", Scheme.AES_GCM))
    for case in json.loads((Path(__file__).parent / name).read_text())["envelopes"]
]
pytestmark = pytest.mark.softhsm


def open_gcm(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Format 2 in software."""
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], aad)


OPENERS = {Scheme.DEFAULT: open_xaes, Scheme.AES_GCM: open_gcm}


def name(case: dict[str, Any]) -> str:
    return f"{case['scheme']}: {case['comment']}"


def authenticated(case: dict[str, Any]) -> tuple[envelope.Envelope, bytes]:
    parsed = envelope.parse(bytes.fromhex(case["ciphertext"]))
    return parsed, context.aad(parsed.header, context.parse_context(case["encryption_context"]))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_golden_envelope_names_its_key_and_version(case: dict[str, Any]) -> None:
    parsed, _ = authenticated(case)

    assert (parsed.format, parsed.key_id, parsed.version) == (
        envelope.FORMATS[case["scheme"]], case["key_id"], case["key_version"],
    )  # fmt: skip
    assert envelope.header(parsed.format, parsed.key_id, parsed.version) == parsed.header


@pytest.mark.parametrize("case", CASES, ids=name)
async def test_a_golden_envelope_opens(case: dict[str, Any], vault: TokenVault) -> None:
    parsed, aad = authenticated(case)
    root = bytes.fromhex(case["root_key"])
    key = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, root, case["scheme"])

    opened = await vault.open(key, parsed.sealed, aad, deadline=time.monotonic() + 30)

    assert opened == bytes.fromhex(case["plaintext"]) == OPENERS[case["scheme"]](root, parsed.sealed, aad)


@pytest.mark.parametrize("case", CASES, ids=name)
async def test_a_golden_envelope_opens_under_nothing_else(case: dict[str, Any], vault: TokenVault) -> None:
    parsed, _ = authenticated(case)
    key = import_secret(vault, KeySpec.SYMMETRIC_DEFAULT, bytes.fromhex(case["root_key"]), case["scheme"])
    others = [
        context.aad(parsed.header, context.parse_context({**case["encryption_context"], "more": "x"})),
        context.aad(envelope.header(parsed.format, parsed.key_id, parsed.version ^ 2), context.EMPTY),
        context.aad(
            envelope.header(Format(3 - parsed.format), parsed.key_id, parsed.version),
            context.parse_context(case["encryption_context"]),
        ),
    ]

    for other in others:
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(key, parsed.sealed, other, deadline=time.monotonic() + 30)
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
