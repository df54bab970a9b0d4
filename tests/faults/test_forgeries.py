"""Ten thousand forged ciphertexts are their senders' trouble alone (reliability facts, M19)."""

import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.hsmkeys import OpenedVault, altered, make, soon

from strongroomd.domain.algorithms import EncryptionAlgorithm, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError

pytestmark = [pytest.mark.softhsm, pytest.mark.slow]


async def test_ten_thousand_forgeries_leave_the_breaker_closed_and_others_served(own: OpenedVault) -> None:
    vault = own.vault
    attacked, other = (
        await make(vault, KeySpec.SYMMETRIC_DEFAULT),
        await make(vault, KeySpec.SYMMETRIC_DEFAULT),
    )
    sealed = await vault.seal(attacked, b"secret", b"", deadline=soon())
    slowest = 0.0

    for i in range(10_000):
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(attacked, altered(sealed, i % len(sealed)), b"", deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
        if i % 100 == 0:
            started = time.perf_counter()
            good = await vault.seal(other, b"plaintext", b"", deadline=soon())
            assert await vault.open(other, good, b"", deadline=soon()) == b"plaintext"
            slowest = max(slowest, time.perf_counter() - started)

    assert vault._parts.health.breaker.closed
    assert vault.fatal is None
    assert slowest < 0.5
    assert await vault.open(attacked, sealed, b"", deadline=soon()) == b"secret"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
async def test_forged_rsa_ciphertexts_leave_the_breaker_closed(own: OpenedVault, algorithm: str) -> None:
    vault, oaep = own.vault, EncryptionAlgorithm(algorithm)
    key = await make(vault, KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT)
    public = load_der_public_key(key.record.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    digest = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()  # noqa: S303 - the scheme's name
    good = public.encrypt(b"secret", padding.OAEP(padding.MGF1(digest), digest, None))

    for i in range(200):
        with pytest.raises(StrongroomError) as refusal:
            await vault.rsa_decrypt(key, oaep, altered(good, i), deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT

    assert vault._parts.health.breaker.closed
    assert await vault.rsa_decrypt(key, oaep, good, deadline=soon()) == b"secret"
