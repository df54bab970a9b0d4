"""Wycheproof through the daemon's own HSM adapter (acceptance 8): 0 invalid accepted, refused valid ones listed."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from pkcs11.constants import Attribute
from pkcs11.exceptions import KeySizeRange
from pkcs11.mechanisms import Mechanism
from tests.hsmkeys import soon
from tests.vectors.loader import import_key, import_secret

from strongroomd.custody.publickeys import oaep_encrypt
from strongroomd.domain.algorithms import (
    EncryptionAlgorithm,
    KeyFamily,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm import handles
from strongroomd.hsm.birth import rsa_wrapping_template, wrap_under_rsa
from strongroomd.hsm.ciphers import forged
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.mechanisms import CURVES
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import load_public_key, verifies
from strongroomd.hsm.templates import DUTIES, HOUSE_DUTIES, MASK, SUBKEY, Duty, House, Life, template

HERE = Path(__file__).parent
SKIPS = json.loads((HERE / "skips.json").read_text())
KEK = pack(template(KeyFamily.AES, Life.SEALED, HOUSE_DUTIES[House.KEK_SEALED][1]))

Case = dict
Group = dict


def load(name: str) -> dict:
    return json.loads(gzip.decompress((HERE / "wycheproof" / f"{name}.json.gz").read_bytes()))


def raw(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


async def gcm(vault: TokenVault, _: Group, case: Case) -> bool:
    """Sub-keys' own operations, in both directions."""
    sealed, calls = raw(case, "ct") + raw(case, "tag"), vault._calls
    with vault._parts.pool.fresh() as session:
        key = session.create_object({**SUBKEY, **pack({Attribute.VALUE: raw(case, "key")})})
        try:
            opened = vault._device.run_doubtful(
                "C_Decrypt", calls.decrypt_gcm, key.handle, raw(case, "iv"), raw(case, "aad"), sealed
            )
            again = vault._device.run(
                "C_Encrypt", calls.encrypt_gcm, key.handle, raw(case, "iv"), raw(case, "aad"), opened
            )
        finally:
            key.destroy()
    return opened == raw(case, "msg") and again == sealed


async def kwp(vault: TokenVault, _: Group, case: Case) -> bool:
    """Unwrapping, and wrapping again: SoftHSM pads first what is no multiple of eight bytes long."""
    with vault._parts.pool.fresh() as session:
        kek = session.create_object({**KEK, **pack({Attribute.VALUE: raw(case, "key")})})
        try:
            held = vault._device.run_doubtful("load", handles.unwrap, kek.handle, raw(case, "ct"), MASK)
            again = handles.wrap(session, kek.handle, Mechanism.AES_KEY_WRAP_PAD, held.handle)
            message = handles.take_value(held)
            return message == raw(case, "msg") and (again == raw(case, "ct") or len(message) % 8 != 0)
        finally:
            kek.destroy()


def hmac_with(spec: KeySpec, algorithm: MacAlgorithm) -> Callable:
    async def run(vault: TokenVault, group: Group, case: Case) -> bool:
        try:
            key = import_secret(vault, spec, raw(case, "key"))
        except KeySizeRange:
            return False
        made = await vault.mac(key, algorithm, raw(case, "msg"), deadline=soon())
        vault.forget(key.key_id)
        return made[: group["tagSize"] // 8] == raw(case, "tag")

    return run


def rsa_parts(private: rsa.RSAPrivateKey) -> dict[Attribute, bytes]:
    n = private.private_numbers()
    values = {
        Attribute.MODULUS: n.public_numbers.n,
        Attribute.PUBLIC_EXPONENT: n.public_numbers.e,
        Attribute.PRIVATE_EXPONENT: n.d,
        Attribute.PRIME_1: n.p,
        Attribute.PRIME_2: n.q,
        Attribute.EXPONENT_1: n.dmp1,
        Attribute.EXPONENT_2: n.dmq1,
        Attribute.COEFFICIENT: n.iqmp,
    }
    return {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in values.items()}


_imported: dict = {}


def rsa_key(vault: TokenVault, group: Group, usage: KeyUsage) -> BoundVersion:
    """Import a group's key once."""
    name = (id(vault), group["privateKeyPkcs8"], usage)
    if name not in _imported:
        private = serialization.load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        spec = KeySpec(f"RSA_{private.key_size}")
        _imported[name] = import_key(vault, spec, usage, rsa_parts(private), public)
    return _imported[name]


def oaep_with(algorithm: EncryptionAlgorithm) -> Callable:
    async def run(vault: TokenVault, group: Group, case: Case) -> bool:
        key = rsa_key(vault, group, KeyUsage.ENCRYPT_DECRYPT)
        opened = await vault.rsa_decrypt(key, algorithm, raw(case, "ct"), deadline=soon())
        return opened == raw(case, "msg")

    return run


async def pkcs1(vault: TokenVault, group: Group, case: Case) -> bool:
    name = group["sha"].replace("-", "").lower()
    algorithm = SigningAlgorithm(f"RSASSA_PKCS1_V1_5_{group['sha'].replace('-', '_')}")
    key = rsa_key(vault, group, KeyUsage.SIGN_VERIFY)
    digest = hashlib.new(name, raw(case, "msg")).digest()
    return await vault.sign(key, algorithm, digest, deadline=soon()) == raw(case, "sig")


def ecdh_with(spec: KeySpec, curve: ec.EllipticCurve) -> Callable:
    duty = template(KeyFamily.EC, Life.SEALED, DUTIES[KeyFamily.EC, KeyUsage.KEY_AGREEMENT])
    size = (curve.key_size + 7) // 8

    async def run(vault: TokenVault, _: Group, case: Case) -> bool:
        """The check of the point is the core's, in software; the derivation is the adapter's."""
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, raw(case, "public"))
        except ValueError as error:
            raise forged() from error
        point = peer.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        scalar = int(case["private"], 16).to_bytes(size, "big")
        parts = {Attribute.EC_PARAMS: CURVES[spec], Attribute.VALUE: scalar}
        with vault._parts.pool.fresh() as session:
            key = session.create_object(pack({**duty, **parts}))
            try:
                held = vault._device.run("C_DeriveKey", handles.derive_ecdh, key.handle, point, size, MASK)
                return handles.take_value(held) == raw(case, "shared")
            finally:
                key.destroy()

    return run


def verify_with(algorithm: SigningAlgorithm) -> Callable:
    async def run(_: TokenVault, group: Group, case: Case) -> bool:
        """Verification is public work, done in software by the function that guards RSA signatures."""
        data = raw(case, "msg")
        if "sha" in group:
            data = hashlib.new(group["sha"].replace("-", "").lower(), data).digest()
        return verifies(load_public_key(raw(group, "publicKeyDer")), algorithm, data, raw(case, "sig"))

    return run


S, M, E = SigningAlgorithm, MacAlgorithm, EncryptionAlgorithm
SUITES: dict[str, Callable] = {
    "aes_gcm_test": gcm,
    "aes_kwp_test": kwp,
    "hmac_sha224_test": hmac_with(KeySpec.HMAC_224, M.HMAC_SHA_224),
    "hmac_sha256_test": hmac_with(KeySpec.HMAC_256, M.HMAC_SHA_256),
    "hmac_sha384_test": hmac_with(KeySpec.HMAC_384, M.HMAC_SHA_384),
    "hmac_sha512_test": hmac_with(KeySpec.HMAC_512, M.HMAC_SHA_512),
    "rsa_oaep_2048_sha1_mgf1sha1_test": oaep_with(E.RSAES_OAEP_SHA_1),
    "rsa_oaep_2048_sha256_mgf1sha256_test": oaep_with(E.RSAES_OAEP_SHA_256),
    "rsa_oaep_3072_sha256_mgf1sha256_test": oaep_with(E.RSAES_OAEP_SHA_256),
    "rsa_oaep_4096_sha256_mgf1sha256_test": oaep_with(E.RSAES_OAEP_SHA_256),
    "rsa_pkcs1_2048_sig_gen_test": pkcs1,
    "rsa_pkcs1_3072_sig_gen_test": pkcs1,
    "rsa_pkcs1_4096_sig_gen_test": pkcs1,
    "rsa_pss_2048_sha256_mgf1_32_test": verify_with(S.RSASSA_PSS_SHA_256),
    "rsa_pss_2048_sha384_mgf1_48_test": verify_with(S.RSASSA_PSS_SHA_384),
    "rsa_pss_4096_sha512_mgf1_64_test": verify_with(S.RSASSA_PSS_SHA_512),
    "ecdh_secp256r1_ecpoint_test": ecdh_with(KeySpec.ECC_NIST_P256, ec.SECP256R1()),
    "ecdh_secp384r1_ecpoint_test": ecdh_with(KeySpec.ECC_NIST_P384, ec.SECP384R1()),
    "ecdh_secp521r1_ecpoint_test": ecdh_with(KeySpec.ECC_NIST_P521, ec.SECP521R1()),
    "ecdsa_secp256r1_sha256_test": verify_with(S.ECDSA_SHA_256),
    "ecdsa_secp384r1_sha384_test": verify_with(S.ECDSA_SHA_384),
    "ecdsa_secp521r1_sha512_test": verify_with(S.ECDSA_SHA_512),
    "ecdsa_secp256k1_sha256_test": verify_with(S.ECDSA_SHA_256),
    "ed25519_test": verify_with(S.ED25519_SHA_512),
}


def cases(name: str) -> Iterator[tuple[Group, Case]]:
    for group in load(name)["testGroups"]:
        for case in group["tests"]:
            yield group, case


async def passes(vault: TokenVault, name: str, group: Group, case: Case) -> bool:
    try:
        return await SUITES[name](vault, group, case)
    except (StrongroomError, ValueError):
        return False


@pytest.mark.softhsm
@pytest.mark.parametrize("name", SUITES)
async def test_no_invalid_case_passes_and_every_valid_one_but_the_listed(
    vault: TokenVault, name: str
) -> None:
    accepted_invalid, refused_valid = [], []
    for group, case in cases(name):
        good = await passes(vault, name, group, case)
        if good and case["result"] == "invalid":
            accepted_invalid.append(case["tcId"])
        if not good and case["result"] == "valid":
            refused_valid.append(case["tcId"])

    assert accepted_invalid == []
    assert sorted(refused_valid) == sorted(listed(name))
    assert vault._parts.health.breaker.closed


@pytest.mark.softhsm
def test_kwp_wraps_as_the_vectors_say_but_for_lengths_that_softhsm_rounds_up(vault: TokenVault) -> None:
    """The other direction: as the daemon wraps what it keeps. What is no multiple of 8 is padded with zeros first."""
    born = pack(template(KeyFamily.HMAC, Life.BORN, Duty((), ())))
    rounded = 0
    with vault._parts.pool.fresh() as session:
        for _, case in cases("aes_kwp_test"):
            if case["result"] != "valid":
                continue
            message = raw(case, "msg")
            kek = session.create_object({**KEK, **pack({Attribute.VALUE: raw(case, "key")})})
            held = session.create_object({**born, **pack({Attribute.VALUE: message})})
            made = handles.wrap(session, kek.handle, Mechanism.AES_KEY_WRAP_PAD, held.handle)
            if len(message) % 8:
                rounded += 1
                assert made != raw(case, "ct")
                assert len(made) == len(raw(case, "ct"))
            else:
                assert made == raw(case, "ct")
            held.destroy()
            kek.destroy()

    assert rounded


OAEP_SUITES = {
    "rsa_oaep_2048_sha1_mgf1sha1_test": E.RSAES_OAEP_SHA_1,
    "rsa_oaep_2048_sha256_mgf1sha256_test": E.RSAES_OAEP_SHA_256,
    "rsa_oaep_3072_sha256_mgf1sha256_test": E.RSAES_OAEP_SHA_256,
    "rsa_oaep_4096_sha256_mgf1sha256_test": E.RSAES_OAEP_SHA_256,
}


@pytest.mark.softhsm
@pytest.mark.parametrize("name", OAEP_SUITES)
async def test_oaep_encrypts_what_the_vectors_keys_open(vault: TokenVault, name: str) -> None:
    """The other direction. OAEP is random, so no ciphertext is compared: who has the key opens it, by either way."""
    algorithm, done = OAEP_SUITES[name], 0
    for group, case in cases(name):
        if case["result"] != "valid" or raw(case, "label") or not raw(case, "msg"):
            continue
        key = rsa_key(vault, group, KeyUsage.ENCRYPT_DECRYPT)
        private = serialization.load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        made = oaep_encrypt(key.record.public_key, algorithm, raw(case, "msg"))
        assert made != raw(case, "ct")
        digest = hashes.SHA1() if algorithm is E.RSAES_OAEP_SHA_1 else hashes.SHA256()  # noqa: S303 - OAEP's
        assert private.decrypt(made, padding.OAEP(padding.MGF1(digest), digest, None)) == raw(case, "msg")
        assert await vault.rsa_decrypt(key, algorithm, made, deadline=soon()) == raw(case, "msg")
        done += 1

    assert done


@pytest.mark.softhsm
@pytest.mark.parametrize("size", [2_048, 3_072, 4_096])
def test_the_tokens_own_oaep_wraps_what_the_vectors_keys_open(vault: TokenVault, size: int) -> None:
    """As a key leaves at level `token`: OAEP with SHA-1 of a one-time AES key, by the token."""
    name = f"rsa_oaep_{size}_sha{1 if size == 2_048 else 256}_mgf1sha{1 if size == 2_048 else 256}_test"
    group = load(name)["testGroups"][0]
    private = serialization.load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    born = pack(template(KeyFamily.HMAC, Life.BORN, Duty((), ())))
    with vault._parts.pool.fresh() as session:
        held = session.create_object({**born, **pack({Attribute.VALUE: bytes(range(32))})})
        try:
            made = wrap_under_rsa(session, rsa_wrapping_template(private.public_key()), held.handle)
        finally:
            held.destroy()

    sha1 = hashes.SHA1()  # noqa: S303 - OAEP's
    once = private.decrypt(made[: size // 8], padding.OAEP(padding.MGF1(sha1), sha1, None))
    assert len(once) == 32
    assert aes_key_unwrap_with_padding(once, made[size // 8 :]) == bytes(range(32))


def listed(name: str) -> list[int]:
    """The tcIds that `skips.json` lists for a file."""
    return [tc_id for skip in SKIPS.get(name, []) for tc_id in skip["tcIds"]]


def test_every_skip_has_a_reason_and_belongs_to_a_valid_case() -> None:
    for name, skips in SKIPS.items():
        assert all(len(skip["reason"]) > 20 for skip in skips)
        valid = {case["tcId"] for _, case in cases(name) if case["result"] == "valid"}
        assert set(listed(name)) <= valid, name
        assert len(listed(name)) == len(set(listed(name))), name


def test_every_file_of_the_subset_is_run() -> None:
    assert {p.name.removesuffix(".json.gz") for p in (HERE / "wycheproof").iterdir()} == set(SUITES)
