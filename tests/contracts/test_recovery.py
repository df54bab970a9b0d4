"""The recovery blob: opened with the offline private key, in software that knows nothing of the daemon."""

import dataclasses
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.hsmkeys import OpenedVault, make, soon
from tests.softhsm import TokenFactory
from tests.vectors.xaes import open_xaes

from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault

pytestmark = pytest.mark.softhsm


def spki(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def recover(private: rsa.RSAPrivateKey, blob: bytes, length: int) -> bytes:
    """CKM_RSA_AES_KEY_WRAP undone; SoftHSM's padding of odd lengths is cut to the true length."""
    size = private.key_size // 8
    sha1 = hashes.SHA1()  # noqa: S303 - the OAEP hash of the blob's first part
    oaep = padding.OAEP(padding.MGF1(sha1), sha1, None)
    ephemeral = private.decrypt(blob[:size], oaep)
    material = keywrap.aes_key_unwrap_with_padding(ephemeral, blob[size:])
    return material[:length] if length else material


def der_only(pkcs8: bytes) -> bytes:
    """Cut SoftHSM's zero bytes behind the DER structure."""
    length_bytes = pkcs8[1] & 0x7F if pkcs8[1] & 0x80 else 0
    length = int.from_bytes(pkcs8[2 : 2 + length_bytes], "big") if length_bytes else pkcs8[1]
    return pkcs8[: 2 + length_bytes + length]


@pytest.fixture(scope="module")
def offline() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


@pytest.fixture
def recoverable(fresh_token: TokenFactory, offline: rsa.RSAPrivateKey) -> Iterator[TokenVault]:
    token = fresh_token()
    settings = dataclasses.replace(token.settings, recovery_public_key=spki(offline))
    vault = open_vault(settings, token.pin, initialise(settings, token.pin))
    yield vault
    vault.close()


@pytest.mark.parametrize("exportable", [False, True])
async def test_secrets_come_back(
    recoverable: TokenVault, offline: rsa.RSAPrivateKey, exportable: bool
) -> None:
    aes = await make(recoverable, KeySpec.SYMMETRIC_DEFAULT, exportable=exportable)
    sealed = await recoverable.seal(aes, b"secret", b"aad", deadline=soon())
    assert open_xaes(recover(offline, aes.record.recovery_blob, 32), sealed, b"aad") == b"secret"

    mac = await make(recoverable, KeySpec.HMAC_224, exportable=exportable)
    key = recover(offline, mac.record.recovery_blob, mac.record.length)
    assert len(key) == 28
    expected = hmac.digest(key, b"data", "sha224")
    assert await recoverable.mac(mac, MacAlgorithm.HMAC_SHA_224, b"data", deadline=soon()) == expected


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_P521])
async def test_pairs_come_back(recoverable: TokenVault, offline: rsa.RSAPrivateKey, spec: KeySpec) -> None:
    key = await make(recoverable, spec, KeyUsage.SIGN_VERIFY)

    pkcs8 = der_only(recover(offline, key.record.recovery_blob, 0))

    private = serialization.load_der_private_key(pkcs8, None)
    assert isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    assert spki(private) == key.record.public_key


async def test_resident_keys_have_no_recovery_blob(recoverable: TokenVault) -> None:
    key = await make(recoverable, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)

    assert key.record.recovery_blob == b""


async def test_without_recovery_key_there_is_no_blob(vault: TokenVault) -> None:
    assert (await make(vault, KeySpec.SYMMETRIC_DEFAULT)).record.recovery_blob == b""


def test_useless_recovery_keys_are_refused(opened: OpenedVault) -> None:
    weak = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    for useless in (b"nonsense", spki(weak), spki(curve)):
        settings = dataclasses.replace(opened.token.settings, recovery_public_key=useless)
        with pytest.raises(StrongroomError) as refusal:
            open_vault(settings, opened.token.pin, opened.house)
        assert refusal.value.reason is Reason.CONFIGURATION
        assert refusal.value.field == "hsm.recovery_public_key"
