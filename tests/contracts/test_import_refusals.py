"""What is not taken in, by whom it is found out, and that nothing of it stays in the token."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pkcs11.exceptions import PKCS11Error, TemplateInconsistent
from pkcs11.mechanisms import Mechanism
from tests.contracts.test_import_recipes import pair_for, works_as
from tests.hsmkeys import altered, bind, soon
from tests.imports import wrapped

from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import LEVELS, ImportLevel, WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.keys import Arrival
from strongroomd.hsm import handles
from strongroomd.hsm.arrivals import parsed
from strongroomd.hsm.dock import PAIRS
from strongroomd.hsm.gauging import PRIMES
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.templates import Life

pytestmark = pytest.mark.softhsm
W, L = WrappingAlgorithm, ImportLevel
K = KeySpec
WAYS = [(algorithm, level) for algorithm, levels in LEVELS.items() for level in levels]
WRAPPED_WAYS = [way for way in WAYS if way[0].has_key_wrap]
IN_MEMORY = (W.RSA_AES_KEY_WRAP_SHA_256, L.HOST)
IN_THE_TOKEN = (W.RSA_AES_KEY_WRAP_SHA_1, L.TOKEN)


async def bring(
    vault: TokenVault, spec: KeySpec, material: bytes, way: tuple[WrappingAlgorithm, ImportLevel]
) -> Any:
    algorithm, level = way
    usage = next((u for u in SPECS[spec].usages if u is not KeyUsage.ENCRYPT_DECRYPT), SPECS[spec].usages[0])
    pair = await pair_for(vault, algorithm)
    sent = wrapped(material, algorithm, pair.public_key)
    arrival = Arrival(spec, usage, False, algorithm, level)
    return await vault.import_material(pair, sent, arrival, deadline=soon())


async def refusal(
    vault: TokenVault, spec: KeySpec, material: bytes, way: tuple[WrappingAlgorithm, ImportLevel]
) -> StrongroomError:
    """Be refused, and find the token as it was, its objects and its health."""
    before = objects(vault)
    with pytest.raises(StrongroomError) as caught:
        await bring(vault, spec, material, way)
    assert objects(vault) == before
    assert vault._parts.health.breaker.closed
    assert caught.value.field == "encrypted_key_material"
    return caught.value


def objects(vault: TokenVault) -> int:
    with vault._parts.pool.fresh() as session:
        return len(handles.find(session, {}))


def pkcs8(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize("way", WAYS, ids=["/".join(way) for way in WAYS])
@pytest.mark.parametrize(
    ("spec", "lengths"),
    [(K.SYMMETRIC_DEFAULT, (16, 24, 31, 33)), (K.HMAC_224, (27, 29, 32)), (K.HMAC_512, (63, 65))],
)
async def test_secret_of_another_length_is_refused_with_the_right_one_named(
    vault: TokenVault, spec: KeySpec, lengths: tuple[int, ...], way: tuple[WrappingAlgorithm, ImportLevel]
) -> None:
    for length in lengths:
        error = await refusal(vault, spec, os.urandom(length), way)

        assert error.reason is Reason.INVALID_FIELD
        assert f"not {SPECS[spec].bits // 8} bytes" in error.message


P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65_537, 2_048)


@pytest.mark.parametrize("way", WAYS, ids=["/".join(way) for way in WAYS])
async def test_key_of_another_curve_is_refused(
    vault: TokenVault, way: tuple[WrappingAlgorithm, ImportLevel]
) -> None:
    for spec, key in ((K.ECC_NIST_P256, P384), (K.ECC_SECG_P256K1, P256), (K.ECC_NIST_P384, P256)):
        error = await refusal(vault, spec, pkcs8(key), way)

        assert (error.reason, "another curve" in error.message) == (Reason.INVALID_FIELD, True)


MISFITS: dict[str, tuple[KeySpec, bytes]] = {
    "bare bytes as a curve key": (K.ECC_NIST_P256, os.urandom(32)),
    "an RSA key as a curve key": (K.ECC_NIST_P256, pkcs8(RSA)),
    "a curve key as an RSA key": (K.RSA_2048, pkcs8(P256)),
    "an Ed25519 key as a curve key": (K.ECC_NIST_P256, pkcs8(ed25519.Ed25519PrivateKey.generate())),
    "a truncated curve key": (K.ECC_NIST_P256, pkcs8(P256)[:-40]),
    "a truncated RSA key": (K.RSA_2048, pkcs8(RSA)[:-1]),
    "nothing that is DER": (K.RSA_2048, b"\x30\x82" + os.urandom(1_000)),
}


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("way", WRAPPED_WAYS, ids=["/".join(way) for way in WRAPPED_WAYS])
async def test_private_key_that_is_none_or_of_another_kind_is_refused(
    vault: TokenVault, name: str, way: tuple[WrappingAlgorithm, ImportLevel]
) -> None:
    """In memory with the reason; in the token the token says no, and knows no more."""
    spec, material = MISFITS[name]

    error = await refusal(vault, spec, material, way)

    assert error.reason in (
        {Reason.INVALID_FIELD} if way[1] is L.HOST else {Reason.INVALID_FIELD, Reason.INVALID_CIPHERTEXT}
    )


FORMS: dict[str, tuple[KeySpec, Callable[[], bytes]]] = {
    "PKCS#1": (K.RSA_2048, lambda: RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())),
    "SEC1": (K.ECC_NIST_P256, lambda: P256.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())),
    "PEM": (K.ECC_NIST_P256, lambda: P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    "encrypted": (K.ECC_NIST_P256, lambda: P256.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))),
    "with a byte too many": (K.ECC_NIST_P256, lambda: pkcs8(P256) + b"\0"),
    "nothing but a tag": (K.ECC_NIST_P256, lambda: b"\x30"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
async def test_in_memory_only_plain_pkcs8_in_der_is_taken(vault: TokenVault, name: str) -> None:
    spec, make = FORMS[name]

    assert (await refusal(vault, spec, make(), IN_MEMORY)).reason is Reason.INVALID_FIELD


def der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
    return bytes([tag]) + length + body


def integer(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1))


def rsa_pkcs8(**changes: int) -> bytes:
    """PKCS#8 of numbers that no library would write."""
    own = RSA.private_numbers()
    public = own.public_numbers
    numbers = {"n": public.n, "e": public.e, "d": own.d, "p": own.p, "q": own.q, "dp": own.dmp1, "dq": own.dmq1,
               "qi": own.iqmp, **changes}  # fmt: skip
    inner = der(0x30, integer(0) + b"".join(integer(value) for value in numbers.values()))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return der(0x30, integer(0) + algorithm + der(4, inner))


def of_primes(p: int, q: int, e: int = 65_537) -> bytes:
    d = pow(e, -1, (p - 1) * (q - 1))
    return rsa_pkcs8(n=p * q, e=e, d=d, p=p, q=q, dp=d % (p - 1), dq=d % (q - 1), qi=pow(q, -1, p))


def with_exponent_three() -> bytes:
    while True:
        own = rsa.generate_private_key(3, 2_048).private_numbers()
        return of_primes(own.p, own.q, 3)


OWN = RSA.private_numbers()
PUBLICLY_WEAK: dict[str, tuple[Callable[[], bytes], str]] = {
    "small exponent": (with_exponent_three, "exponent"),
    "even exponent": (lambda: rsa_pkcs8(e=65_538), "exponent"),
    "small factor": (lambda: rsa_pkcs8(n=(1 << 2_047) + 9 - (1 << 2_047) % 3), "small factor"),
    "equal primes": (lambda: rsa_pkcs8(n=OWN.p * OWN.p, q=OWN.p), "equal or too close"),
    "another size": (lambda: pkcs8(rsa.generate_private_key(65_537, 3_072)), "2,048 bits"),
}


@pytest.mark.parametrize("name", PUBLICLY_WEAK)
@pytest.mark.parametrize("way", [IN_MEMORY, IN_THE_TOKEN], ids=["host", "token"])
async def test_rsa_key_that_is_weak_in_public_is_refused_wherever_it_comes_in(
    vault: TokenVault, name: str, way: tuple[WrappingAlgorithm, ImportLevel]
) -> None:
    make, why = PUBLICLY_WEAK[name]

    error = await refusal(vault, K.RSA_2048, make(), way)

    assert error.reason is Reason.INVALID_FIELD
    assert way is IN_MEMORY or why in error.message


OWN_D = OWN.d
INCONSISTENT = {
    "another private exponent": {"d": OWN_D - 2},
    "another prime": {"p": OWN.p + 2},
    "primes changed": {"p": OWN.q, "q": OWN.p},
    "another first CRT exponent": {"dp": OWN.dmp1 + 2},
    "another second CRT exponent": {"dq": OWN.dmq1 + 2},
    "another coefficient": {"qi": OWN.iqmp + 1},
    "a prime that is one": {"p": 1, "q": OWN.p * OWN.q},
}


@pytest.mark.parametrize("name", INCONSISTENT)
async def test_in_memory_rsa_numbers_that_do_not_belong_together_are_refused(
    vault: TokenVault, name: str
) -> None:
    error = await refusal(vault, K.RSA_2048, rsa_pkcs8(**INCONSISTENT[name]), IN_MEMORY)

    assert error.reason is Reason.INVALID_FIELD


async def test_in_the_token_a_private_half_of_another_public_one_is_refused(vault: TokenVault) -> None:
    other = rsa.generate_private_key(65_537, 2_048).private_numbers()

    error = await refusal(vault, K.RSA_2048, rsa_pkcs8(n=other.public_numbers.n), IN_THE_TOKEN)

    assert error.reason in {Reason.INVALID_FIELD, Reason.INVALID_CIPHERTEXT}


async def test_curve_key_whose_public_half_is_anothers_is_refused_in_memory_and_corrected_in_the_token(
    vault: TokenVault,
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    forged = pkcs8(P256).replace(_point(P256), _point(other))

    assert (await refusal(vault, K.ECC_NIST_P256, forged, IN_MEMORY)).reason is Reason.INVALID_FIELD
    imported = await bring(vault, K.ECC_NIST_P256, forged, IN_THE_TOKEN)

    assert _point(P256) in imported.material.public_key


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


@pytest.mark.parametrize("way", WAYS, ids=["/".join(way) for way in WAYS])
async def test_whatever_does_not_unwrap_is_refused_alike(
    vault: TokenVault, way: tuple[WrappingAlgorithm, ImportLevel]
) -> None:
    algorithm, level = way
    pair = await pair_for(vault, algorithm)
    other = await vault.make_wrapping_pair(WrappingKeySpec.RSA_2048, algorithm, deadline=soon())
    material = os.urandom(32)
    good = wrapped(material, algorithm, pair.public_key)
    wrong_hash = W(algorithm.replace("256", "1") if algorithm.is_sha256 else algorithm.replace("_1", "_256"))
    bad = [
        b"x", good[:-1], good + b"\0", good[1:], bytes(256), b"\xff" * 256, b"\xff" * 296, good[:256][::-1] + good[256:],
        wrapped(material, algorithm, other.public_key), wrapped(material, wrong_hash, pair.public_key),
        *(altered(good, position) for position in (0, 100, len(good) - 1)),
    ]  # fmt: skip
    before, texts = objects(vault), set()
    arrival = Arrival(K.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, False, algorithm, level)

    for sent in bad:
        with pytest.raises(StrongroomError) as caught:
            await vault.import_material(pair, sent, arrival, deadline=soon())
        texts.add((caught.value.reason, str(caught.value)))

    assert len(texts) == 1
    assert {reason for reason, _ in texts} == {Reason.INVALID_CIPHERTEXT}
    assert objects(vault) == before
    imported = await bring(vault, K.SYMMETRIC_DEFAULT, material, way)
    await works_as(vault, bind(imported.material, K.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT), material)


@pytest.mark.parametrize("algorithm", [W.RSAES_OAEP_SHA_1, W.RSAES_OAEP_SHA_256])
async def test_private_half_of_a_wrapping_pair_opens_material_and_can_do_nothing_else(
    vault: TokenVault, algorithm: WrappingAlgorithm
) -> None:
    pair = await pair_for(vault, algorithm)
    kek = vault._house.keks[pair.kek_id]
    block = wrapped(os.urandom(32), algorithm, pair.public_key)
    with vault._parts.pool.fresh() as session:
        with pytest.raises(TemplateInconsistent):  # nobody gets one that could leave the token
            handles.unwrap(session, kek, pair.blob, PAIRS[algorithm.is_sha256, Life.BORN])
        private = handles.unwrap(session, kek, pair.blob, PAIRS[algorithm.is_sha256, Life.SEALED])
        try:
            for mechanism in (Mechanism.RSA_PKCS, Mechanism.SHA256_RSA_PKCS):
                with pytest.raises(PKCS11Error):
                    handles.sign(session, private.handle, mechanism, None, b"data")
            forbidden = Mechanism.RSA_PKCS_OAEP if algorithm.is_sha256 else Mechanism.RSA_X_509
            with pytest.raises(PKCS11Error):
                handles.decrypt_rsa(session, private.handle, forbidden, block)
        finally:
            private.destroy()


async def test_short_one_time_key_is_refused_where_it_is_seen(vault: TokenVault) -> None:
    algorithm = W.RSA_AES_KEY_WRAP_SHA_256
    pair = await pair_for(vault, algorithm)
    sent = wrapped(os.urandom(32), algorithm, pair.public_key, carrier=os.urandom(16))
    arrival = Arrival(K.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, False, algorithm, L.HOST_EPHEMERAL)

    with pytest.raises(StrongroomError) as caught:
        await vault.import_material(pair, sent, arrival, deadline=soon())

    assert caught.value.reason is Reason.INVALID_CIPHERTEXT


def test_gauges_are_primes_of_the_size_that_carries_so_many_bytes() -> None:
    for length, prime in PRIMES.items():
        assert prime.bit_length() == 8 * (length + 42)
        assert all(pow(base, prime - 1, prime) == 1 for base in (2, 3, 5, 7, 11, 13))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_parsed_gives_attributes_or_one_typed_refusal(data: st.DataObject) -> None:
    """Bytes from nowhere, and good keys with some bytes changed, cut off or put in."""
    good = data.draw(st.sampled_from([pkcs8(P256), pkcs8(P384), pkcs8(RSA), b""]))
    spec = data.draw(st.sampled_from([K.ECC_NIST_P256, K.ECC_NIST_P384, K.RSA_2048, K.HMAC_256]))
    place = data.draw(st.integers(0, len(good)))
    put = data.draw(st.binary(max_size=8))
    material = good[:place] + put + good[place + data.draw(st.integers(0, 8)) :]
    refused = None

    try:
        parts = parsed(material, spec)
    except StrongroomError as error:
        refused, parts = error, {}

    if refused is not None:
        assert (refused.reason, refused.field) == (Reason.INVALID_FIELD, "encrypted_key_material")
        assert len(material) < 8 or material.hex() not in str(refused)
    assert (refused is None) is bool(parts)
