"""Every material by every algorithm, made and wrapped by OpenSSL as the manual says, and used as OpenSSL uses it."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.hsmkeys import bind, soon
from tests.imports import cook, recipes, wrapped, wrapped_by_openssl

from strongroomd.domain.algorithms import (
    DIGESTS,
    MAC_DIGESTS,
    SPECS,
    EncryptionAlgorithm,
    KeyFamily,
    KeySpec,
    KeyUsage,
    Scheme,
    mac_algorithms,
    signing_algorithms,
)
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.importing import LEVELS, ImportLevel, WrappingAlgorithm, WrappingKeySpec, settle_way
from strongroomd.domain.keys import Arrival, BoundVersion, WrappingPair
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.publickeys import HASHES, load_public_key, verifies

pytestmark = pytest.mark.softhsm

MATERIALS = [spec for spec in KeySpec if spec is not KeySpec.ECC_NIST_EDWARDS25519]
W = WrappingAlgorithm
RSA_2048 = WrappingKeySpec.RSA_2048
_pairs: dict[Any, WrappingPair] = {}


async def pair_for(
    vault: TokenVault, algorithm: WrappingAlgorithm, bits: WrappingKeySpec = RSA_2048
) -> WrappingPair:
    """One pair for each kind: what makes it good for one import only is the core's."""
    name = (id(vault), algorithm.is_sha256, bits)
    if name not in _pairs:
        _pairs[name] = await vault.make_wrapping_pair(bits, algorithm, deadline=soon())
    return _pairs[name]


def ways(spec: KeySpec) -> list[tuple[WrappingAlgorithm, ImportLevel]]:
    """The algorithms and levels that a spec can come in by, under a wrapping key that carries it."""
    found = []
    for algorithm, levels in LEVELS.items():
        for level in levels:
            try:
                settle_way(spec, algorithm, bits_for(spec), level, ImportLevel.HOST)
            except StrongroomError:
                continue
            found.append((algorithm, level))
    return found


def bits_for(spec: KeySpec) -> WrappingKeySpec:
    return WrappingKeySpec.RSA_3072 if spec is KeySpec.ECC_NIST_P521 else RSA_2048


def test_the_manual_has_a_recipe_for_every_material_and_algorithm() -> None:
    assert set(recipes()) == {*MATERIALS, *WrappingAlgorithm}


def test_rsa_comes_by_key_wrap_only_and_all_else_by_everything() -> None:
    assert {a for a, _ in ways(KeySpec.RSA_2048)} == {W.RSA_AES_KEY_WRAP_SHA_1, W.RSA_AES_KEY_WRAP_SHA_256}
    for spec in MATERIALS:
        if not spec.startswith("RSA"):
            assert {a for a, _ in ways(spec)} == set(W)


@pytest.mark.parametrize("spec", MATERIALS)
async def test_material_of_openssl_comes_in_by_every_way_and_works_as_it_does_outside(
    vault: TokenVault, tmp_path: Path, spec: KeySpec
) -> None:
    cook(tmp_path, spec)
    outside = (tmp_path / "material.bin").read_bytes()
    traits = set()

    for number, (algorithm, level) in enumerate(ways(spec)):
        usages = SPECS[spec].usages
        usage = usages[number % len(usages)]
        pair = await pair_for(vault, algorithm, bits_for(spec))
        sent = wrapped_by_openssl(tmp_path, algorithm, pair.public_key)
        arrival = Arrival(spec, usage, number % 2 == 0, algorithm, level)
        imported = await vault.import_material(pair, sent, arrival, deadline=soon())
        key = bind(imported.material, spec, usage, exportable=arrival.exportable)
        await works_as(vault, key, outside)
        assert key.record.length == (0 if key.record.public_key else SPECS[spec].bits // 8)
        traits.add(imported.trait)

    assert len(traits) == 1


async def test_material_of_a_key_whose_scheme_is_settled_keeps_it_and_is_told_again_under_any(
    vault: TokenVault,
) -> None:
    material = os.urandom(32)
    pair = await pair_for(vault, W.RSAES_OAEP_SHA_1)
    sent = wrapped(material, W.RSAES_OAEP_SHA_1, pair.public_key)
    usage, traits = KeyUsage.ENCRYPT_DECRYPT, set()

    for scheme in Scheme:
        arrival = Arrival(
            KeySpec.SYMMETRIC_DEFAULT, usage, False, W.RSAES_OAEP_SHA_1, ImportLevel.TOKEN, scheme
        )
        imported = await vault.import_material(pair, sent, arrival, deadline=soon())
        traits.add(imported.trait)
        key = bind(imported.material, KeySpec.SYMMETRIC_DEFAULT, usage)
        sealed = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
        assert imported.material.scheme is scheme
        assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"plaintext"

    assert AESGCM(material).decrypt(sealed[:12], sealed[12:], b"aad") == b"plaintext"
    assert len(traits) == 1


async def works_as(vault: TokenVault, key: BoundVersion, outside: bytes) -> None:
    """Hold what the vault makes with a key against what the material makes outside."""
    match SPECS[key.spec].family:
        case KeyFamily.AES:
            await is_root_of(vault, key, outside)
        case KeyFamily.HMAC:
            [algorithm] = mac_algorithms(key.spec, key.usage)
            made = await vault.mac(key, algorithm, b"message", deadline=soon())
            assert made == hmac_of(outside, MAC_DIGESTS[algorithm])
        case _:
            private: Any = serialization.load_der_private_key(outside, None)
            assert load_public_key(key.record.public_key) == private.public_key()
            await pair_works(vault, key, private)


def hmac_of(material: bytes, digest: str) -> bytes:
    made = hmac.HMAC(material, {"sha224": hashes.SHA224(), **HASHES}[digest])
    made.update(b"message")
    return made.finalize()


async def is_root_of(vault: TokenVault, key: BoundVersion, outside: bytes) -> None:
    """Open with an XAES of our own what the vault sealed under the imported root."""
    from tests.vectors.xaes import open_xaes  # noqa: PLC0415 - one of several checks

    sealed = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
    assert open_xaes(outside, sealed, b"aad") == b"plaintext"
    assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"plaintext"


async def pair_works(vault: TokenVault, key: BoundVersion, private: Any) -> None:
    if key.usage is KeyUsage.SIGN_VERIFY:
        for algorithm in signing_algorithms(key.spec, key.usage)[::3]:
            digest = hashlib.new(DIGESTS[algorithm], os.urandom(8)).digest()
            signature = await vault.sign(key, algorithm, digest, deadline=soon())
            assert verifies(private.public_key(), algorithm, digest, signature)
    elif key.usage is KeyUsage.KEY_AGREEMENT:
        peer = ec.generate_private_key(private.curve)
        point = peer.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        assert await vault.agree(key, point, deadline=soon()) == private.exchange(
            ec.ECDH(), peer.public_key()
        )
    else:
        assert isinstance(private, rsa.RSAPrivateKey)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        sent = private.public_key().encrypt(b"secret", oaep)
        how = EncryptionAlgorithm.RSAES_OAEP_SHA_256
        assert await vault.rsa_decrypt(key, how, sent, deadline=soon()) == b"secret"
