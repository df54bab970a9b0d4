"""Every limit is exact at its boundary, names field and limit, and what a key cannot do is refused."""

import uuid

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.harness import fresh_id, refused

from strongroom import Client
from strongroom.errors import StrongroomError


@pytest.fixture(scope="module")
def seal(admin: Client) -> str:
    return admin.create_key().key_id


@pytest.fixture(scope="module")
def rsa_key(admin: Client) -> str:
    return admin.create_key(spec="RSA_2048", usage="ENCRYPT_DECRYPT").key_id


@pytest.fixture(scope="module")
def sign(admin: Client) -> str:
    return admin.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY").key_id


@pytest.fixture(scope="module")
def mac(admin: Client) -> str:
    return admin.create_key(spec="HMAC_512").key_id


@pytest.fixture(scope="module")
def agree(admin: Client) -> str:
    return admin.create_key(spec="ECC_NIST_P256", usage="KEY_AGREEMENT").key_id


def test_plaintext_is_1_to_4096_bytes(admin: Client, seal: str) -> None:
    for size in (1, 4_096):
        sealed = admin.encrypt(seal, bytes(size)).ciphertext
        assert len(sealed) == size + 64
        assert admin.decrypt(sealed).plaintext == bytes(size)
    with refused("INVALID_FIELD", "plaintext"):
        admin.encrypt(seal, b"")
    with pytest.raises(StrongroomError, match="at most 4096 bytes") as caught:
        admin.encrypt(seal, bytes(4_097))
    assert (caught.value.reason, caught.value.field) == ("FIELD_TOO_LARGE", "plaintext")


@pytest.mark.parametrize(("algorithm", "limit"), [("RSAES_OAEP_SHA_256", 190), ("RSAES_OAEP_SHA_1", 214)])
def test_rsa_plaintext_is_what_the_padding_leaves(
    admin: Client, rsa_key: str, algorithm: str, limit: int
) -> None:
    sealed = admin.encrypt(rsa_key, bytes(limit), algorithm=algorithm).ciphertext

    assert admin.decrypt(sealed, key=rsa_key, algorithm=algorithm).plaintext == bytes(limit)
    with refused("FIELD_TOO_LARGE", "plaintext"):
        admin.encrypt(rsa_key, bytes(limit + 1), algorithm=algorithm)
    with refused("FIELD_TOO_LARGE", "plaintext"):
        admin.encrypt(rsa_key, bytes(limit + 1), algorithm=algorithm, dry_run=True)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.encrypt(rsa_key, bytes(limit), algorithm=algorithm, dry_run=True)


def test_rsa_needs_its_scheme_its_key_and_no_context(admin: Client, seal: str, rsa_key: str) -> None:
    oaep = "RSAES_OAEP_SHA_256"
    sealed = admin.encrypt(rsa_key, b"x", algorithm=oaep).ciphertext

    with refused("INVALID_FIELD", "encryption_algorithm"):
        admin.encrypt(rsa_key, b"x")
    with refused("UNSUPPORTED_ALGORITHM", "encryption_algorithm"):
        admin.encrypt(seal, b"x", algorithm=oaep)
    with refused("INVALID_FIELD", "key"):
        admin.decrypt(sealed, algorithm=oaep)
    with refused("INVALID_FIELD", "encryption_context"):
        admin.encrypt(rsa_key, b"x", algorithm=oaep, context={"a": "b"})
    with refused("INVALID_FIELD", "encryption_context"):
        admin.decrypt(sealed, key=rsa_key, algorithm=oaep, context={"a": "b"})
    with refused("INVALID_FIELD", "destination_encryption_context"):
        own = admin.encrypt(seal, b"x").ciphertext
        admin.re_encrypt(own, rsa_key, destination_algorithm=oaep, destination_context={"a": "b"})
    with refused("FIELD_TOO_LARGE", "ciphertext"):
        admin.re_encrypt(admin.encrypt(seal, bytes(191)).ciphertext, rsa_key, destination_algorithm=oaep)
    with refused("INVALID_FIELD", "source_key"):
        admin.re_encrypt(sealed, seal, source_algorithm=oaep)
    with refused("INVALID_FIELD", "source_key_version"):
        admin.re_encrypt(sealed, seal, source_key=rsa_key, source_algorithm=oaep, source_key_version=2)
    for wrong in (sealed[:-1], sealed + b"x", bytes(256), b"\xff" * 256):
        with refused("INVALID_CIPHERTEXT"):
            admin.decrypt(wrong, key=rsa_key, algorithm=oaep)


def test_context_is_at_most_8192_bytes_and_64_pairs(admin: Client, seal: str) -> None:
    for context in ({"k": "v" * 8_183}, {str(n): "" for n in range(64)}, {"k": ""}):
        sealed = admin.encrypt(seal, b"x", context=context).ciphertext
        assert admin.decrypt(sealed, context=context).plaintext == b"x"
    for context in ({"k": "v" * 8_184}, {str(n): "" for n in range(65)}):
        with refused("FIELD_TOO_LARGE", "encryption_context"):
            admin.encrypt(seal, b"x", context=context)
    with refused("INVALID_FIELD", "encryption_context"):
        admin.encrypt(seal, b"x", context={"": "v"})


def test_messages_are_at_most_4096_bytes(admin: Client, sign: str, mac: str) -> None:
    for size in (0, 4_096):
        admin.verify(sign, bytes(size), admin.sign(sign, bytes(size)).signature)
    admin.verify_mac(mac, bytes(4_096), admin.generate_mac(mac, bytes(4_096)).mac)
    for call in (admin.sign, admin.generate_mac):
        with refused("FIELD_TOO_LARGE", "message"):
            call(sign, bytes(4_097))
    with refused("INVALID_FIELD", "message"):
        admin.generate_mac(mac, b"")


def test_signatures_and_macs_have_bounds(admin: Client, sign: str, mac: str) -> None:
    with refused("INVALID_SIGNATURE"):
        admin.verify(sign, b"x", bytes(1_024))
    with refused("FIELD_TOO_LARGE", "signature"):
        admin.verify(sign, b"x", bytes(1_025))
    with refused("INVALID_FIELD", "signature"):
        admin.verify(sign, b"x", b"")
    with refused("INVALID_MAC"):
        admin.verify_mac(mac, b"x", bytes(64))
    with refused("INVALID_MAC"):
        admin.verify_mac(mac, b"x", b"x")
    with refused("FIELD_TOO_LARGE", "mac"):
        admin.verify_mac(mac, b"x", bytes(65))
    with refused("INVALID_FIELD", "mac"):
        admin.verify_mac(mac, b"x", b"")


def test_random_bytes_and_data_keys_are_1_to_1024_bytes(admin: Client, seal: str) -> None:
    for size in (1, 1_024):
        assert len(admin.generate_random(size).data) == size
        assert len(admin.generate_data_key(seal, number_of_bytes=size).plaintext) == size
    for size in (0, 1_025):
        with refused("INVALID_FIELD", "number_of_bytes"):
            admin.generate_random(size)
    with refused("INVALID_FIELD", "number_of_bytes"):
        admin.generate_data_key(seal, number_of_bytes=1_025)


def test_batches_hold_1_to_500_items(admin: Client, seal: str, sign: str) -> None:
    made = admin.batch_encrypt(seal, [b"x"] * 500)
    assert len(made) == 500
    for items in ([], [b"x"] * 501):
        with refused("INVALID_FIELD" if not items else "FIELD_TOO_LARGE", "items"):
            admin.batch_encrypt(seal, items)
        with refused("INVALID_FIELD" if not items else "FIELD_TOO_LARGE", "items"):
            admin.batch_decrypt(items)
        with refused("INVALID_FIELD" if not items else "FIELD_TOO_LARGE", "items"):
            admin.batch_sign(sign, items)


def test_a_key_has_at_most_50_tags(admin: Client) -> None:
    key = admin.create_key(tags={f"t{n}": "v" * 256 for n in range(50)})

    assert len(admin.list_tags(key.key_id).tags) == 50
    admin.tag_key(key.key_id, {"t0": "new"})
    with refused("LIMIT_EXCEEDED", "tags"):
        admin.tag_key(key.key_id, {"one more": ""})
    with refused("LIMIT_EXCEEDED", "tags"):
        admin.create_key(tags={f"t{n}": "" for n in range(51)})
    with refused("FIELD_TOO_LARGE", "tags[0].key"):
        admin.tag_key(key.key_id, {"k" * 129: ""})
    with refused("FIELD_TOO_LARGE", "tags[0].value"):
        admin.tag_key(key.key_id, {"k": "v" * 257})
    with refused("INVALID_FIELD", "tags[0].key"):
        admin.tag_key(key.key_id, {"AWS:k": ""})
    with refused("FIELD_TOO_LARGE", "tag_keys[0]"):
        admin.untag_key(key.key_id, ["k" * 129])
    with refused("FIELD_TOO_LARGE", "tag_keys"):
        admin.untag_key(key.key_id, [str(n) for n in range(51)])


def test_a_key_has_at_most_50_aliases(admin: Client, sign: str) -> None:
    stem = f"alias/many-{uuid.uuid4()}-"
    for number in range(50):
        admin.create_alias(f"{stem}{number}", sign)

    with refused("LIMIT_EXCEEDED"):
        admin.create_alias(f"{stem}50", sign)
    admin.delete_alias(f"{stem}0")
    admin.create_alias(f"{stem}50", sign)


def test_texts_are_bounded(admin: Client, seal: str) -> None:
    assert admin.update_key_description(seal, "é" * 8_192).description == "é" * 8_192
    with refused("FIELD_TOO_LARGE", "description"):
        admin.update_key_description(seal, "x" * 8_193)
    with refused("INVALID_FIELD", "description"):
        admin.update_key_description(seal, "\x1b[31m")
    with refused("FIELD_TOO_LARGE", "key"):
        admin.describe_key("x" * 513)
    with refused("FIELD_TOO_LARGE", "alias"):
        admin.create_alias("alias/" + "x" * 251, seal)
    with refused("INVALID_FIELD", "alias"):
        admin.create_alias("alias/aws/mine", seal)
    with refused("INVALID_FIELD", "request_id"):
        admin.disable_key(seal, request_id="x" * 65)
    with refused("FIELD_TOO_LARGE", "policy"):
        admin.put_key_policy(seal, " " * 32_769)


def test_windows_pages_and_rates_are_bounded(admin: Client, seal: str) -> None:
    for days in (6, 31):
        with refused("INVALID_FIELD", "pending_window_days"):
            admin.schedule_key_deletion(seal, pending_window_days=days)
    with refused("INVALID_FIELD", "page_size"):
        admin.list_keys(page_size=1_001)
    assert len(admin.list_keys(page_size=1_000).items) > 1
    with refused("INVALID_FIELD", "per_second"):
        admin.put_limit("KEY", seal, 0)
    with refused("INVALID_FIELD", "per_second"):
        admin.put_limit("KEY", seal, 1_000_001)
    with refused("INVALID_FIELD", "burst"):
        admin.put_limit("KEY", seal, 1, burst=10_000_001)


@pytest.mark.parametrize(
    ("spec", "usage"), [("RSA_2048", ""), ("ECC_NIST_P256", ""), ("ECC_NIST_P256", "ENCRYPT_DECRYPT"), ("HMAC_256", "SIGN_VERIFY"), ("SYMMETRIC_DEFAULT", "SIGN_VERIFY"), ("ECC_SECG_P256K1", "KEY_AGREEMENT"), ("RSA_2048", "KEY_AGREEMENT")]
)  # fmt: skip
def test_a_usage_that_does_not_go_with_the_spec_is_refused(admin: Client, spec: str, usage: str) -> None:
    with refused("INVALID_FIELD", "key_usage"):
        admin.create_key(spec=spec, usage=usage, request_id=fresh_id())


def test_keys_do_only_what_their_usage_says(
    admin: Client, seal: str, sign: str, mac: str, agree: str, rsa_key: str
) -> None:
    peer = _spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    for key in (sign, mac, agree):
        with refused("INVALID_KEY_USAGE"):
            admin.encrypt(key, b"x")
        with refused("INVALID_KEY_USAGE"):
            admin.generate_data_key(key, number_of_bytes=16)
    for key in (seal, mac, agree, rsa_key):
        with refused("INVALID_KEY_USAGE"):
            admin.sign(key, b"x")
    for key in (seal, sign, agree):
        with refused("INVALID_KEY_USAGE"):
            admin.generate_mac(key, b"x")
    for key in (seal, sign, mac):
        with refused("INVALID_KEY_USAGE"):
            admin.derive_shared_secret(key, peer)
    with refused("INVALID_KEY_USAGE"):
        admin.generate_data_key(rsa_key, number_of_bytes=16)
    with refused("UNSUPPORTED_ALGORITHM", "signing_algorithm"):
        admin.sign(sign, b"x", algorithm="ECDSA_SHA_512")
    with refused("UNSUPPORTED_ALGORITHM", "mac_algorithm"):
        admin.generate_mac(mac, b"x", algorithm="HMAC_SHA_256")


def _spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_only_points_of_the_keys_own_curve_are_agreed_with(admin: Client, agree: str) -> None:
    good = _spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    off_curve = good[:-1] + bytes([good[-1] ^ 1])
    infinity = bytes.fromhex("301a301306072a8648ce3d020106082a8648ce3d030107030200") + b"\0"
    wrong = {
        "off the curve": off_curve,
        "the point at infinity": infinity,
        "another curve": _spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        "a curve of the same size": _spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        "RSA": _spki(rsa.generate_private_key(65_537, 2_048).public_key()),
        "a cut one": good[:-1],
        "more behind it": good + b"\0",
        "nothing": b"",
        "noise": b"\x30\x80" * 40,
    }

    for public in wrong.values():
        with refused("INVALID_FIELD", "public_key"):
            admin.derive_shared_secret(agree, public)
    with refused("FIELD_TOO_LARGE", "public_key"):
        admin.derive_shared_secret(agree, bytes(8_193))
    assert len(admin.derive_shared_secret(agree, good).secret) == 32
