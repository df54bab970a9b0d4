"""Every material that the token can wrap leaves, at every level, and openssl uses it with equal results."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from tests.harness import refused
from tests.people import Cast, Person, enrol, new_key
from tests.vectors import xaes

from strongroom import results
from strongroomd.domain import context, envelope

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

OAEP = {
    "SHA_1": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),  # noqa: S303 - RFC 8017, B.1
    "SHA_256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}
LEVELS = {
    "TOKEN": "RSA_AES_KEY_WRAP_SHA_1",
    "HOST_EPHEMERAL": "RSA_AES_KEY_WRAP_SHA_256",
    "HOST": "RSAES_OAEP_SHA_256",
}
PAIRS = (
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
)
HMACS = {"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
DIGESTS = {"ECC_NIST_P384": 384, "ECC_NIST_P521": 512}


def opened(recipient: rsa.RSAPrivateKey, export: results.Export) -> bytes:
    """What the recipient makes of a blob, zeros of KWP and all."""
    oaep = OAEP[export.algorithm.partition("SHA")[1] + export.algorithm.partition("SHA")[2]]
    if export.algorithm == "RSAES_OAEP_SHA_256":
        return recipient.decrypt(export.blob, oaep)
    size = recipient.key_size // 8
    return aes_key_unwrap_with_padding(recipient.decrypt(export.blob[:size], oaep), export.blob[size:])


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    command = ["openssl", *(str(each) for each in arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def leave(house: Cast, key: str, spki: bytes, level: str) -> results.Export:
    done = house.alice.client.execute_export(house.approved(key, spki, level=level).approval_id)
    assert (done.level, done.algorithm) == (level, LEVELS[level])
    return done


@pytest.mark.parametrize("level", list(LEVELS))
@pytest.mark.parametrize("spec", list(HMACS))
def test_hmac_keys(house: Cast, recipient: rsa.RSAPrivateKey, spki: bytes, spec: str, level: str) -> None:
    key = house.key(spec=spec)
    ours = house.admin.generate_mac(key, b"message").mac

    done = leave(house, key, spki, level)

    material = opened(recipient, done)
    assert done.length == HMACS[spec]
    assert not any(material[done.length :])  # HMAC_224 comes with four zeros, which change no MAC
    digest = f"sha{spec.removeprefix('HMAC_')}"
    text = openssl(
        "dgst",
        f"-{digest}",
        "-mac",
        "HMAC",
        "-macopt",
        f"hexkey:{material[: done.length].hex()}",
        stdin=b"message",
    )
    assert text.split()[-1].decode() == ours.hex()


@pytest.mark.parametrize("level", list(LEVELS))
def test_symmetric_keys(house: Cast, recipient: rsa.RSAPrivateKey, spki: bytes, level: str) -> None:
    key = house.key()
    sealed = house.admin.encrypt(key, b"plaintext").ciphertext

    done = leave(house, key, spki, level)

    root = opened(recipient, done)
    assert (done.length, len(root)) == (32, 32)
    parsed = envelope.parse(sealed)
    aad = context.aad(parsed.header, context.EMPTY)
    assert xaes.open_xaes(root, parsed.sealed, aad) == b"plaintext"
    # The same root, used by openssl: L of XAES is the encryption of a zero block, of which the sub-keys are made.
    zero = openssl("enc", "-aes-256-ecb", "-K", root.hex(), "-nopad", stdin=bytes(16))
    assert zero == xaes._encrypt_block(root, bytes(16))


@pytest.mark.parametrize("spec", PAIRS)
def test_key_pairs(house: Cast, recipient: rsa.RSAPrivateKey, spki: bytes, tmp_path: Path, spec: str) -> None:
    key = house.key(spec=spec, usage="SIGN_VERIFY")
    private, public, message = (tmp_path / name for name in ("private.der", "public.der", "message"))
    public.write_bytes(house.admin.get_public_key(key).public_key)
    message.write_bytes(b"message")
    for level in ("TOKEN", "HOST_EPHEMERAL"):
        done = leave(house, key, spki, level)

        pkcs8 = opened(recipient, done)
        assert done.length == 0
        length = der_length(pkcs8)
        assert 0 <= len(pkcs8) - length <= 7
        assert not any(pkcs8[length:])
        private.write_bytes(pkcs8)  # openssl takes it with the zeros behind it
        made = openssl("pkey", "-inform", "DER", "-in", private, "-pubout", "-outform", "DER")
        assert made == public.read_bytes()
        serialization.load_der_private_key(pkcs8[:length], None)  # cryptography wants them gone

    digest = DIGESTS.get(spec, 256)
    signature = openssl("dgst", f"-sha{digest}", "-keyform", "DER", "-sign", private, message)
    kind = "RSASSA_PKCS1_V1_5" if spec.startswith("RSA") else "ECDSA"
    house.admin.verify(key, b"message", signature, algorithm=f"{kind}_SHA_{digest}")  # raises if not
    if spec.startswith("RSA"):  # PKCS #1 v1.5 has one signature of one message
        ours = house.admin.sign(key, b"message", algorithm=f"{kind}_SHA_{digest}").signature
        assert ours == signature


def der_length(data: bytes) -> int:
    """How long the DER SEQUENCE at the beginning of some bytes is."""
    assert data[0] == 0x30
    if data[1] < 0x80:
        return 2 + data[1]
    count = data[1] & 0x7F
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big")


def test_key_pairs_do_not_leave_at_level_host(house: Cast, spki: bytes) -> None:
    with refused("INVALID_FIELD", "level"):
        house.asked(house.key(spec="ECC_NIST_P256", usage="SIGN_VERIFY"), spki, level="HOST")


def test_a_shared_wrapping_key(house: Cast, recipient: rsa.RSAPrivateKey, spki: bytes) -> None:
    """Made in the HSM, given to the recipient once; then keys leave under it by AES-KWP."""
    asked = house.admin.ask_wrapping_key("vault", "AES", spki, purpose="many keys")
    made = house.admin.register_wrapping_key("vault", "AES", spki, house.agreed(asked))
    shared = opened(
        recipient,
        results.Export(made.transport, LEVELS["TOKEN"], "TOKEN", "", 0, 32, results.Receipt(b"", b"", "")),
    )
    key = house.key(spec="HMAC_256")
    ours = house.admin.generate_mac(key, b"message").mac
    request = house.alice.client.request_export(key, wrapping_key_id=made.wrapping_key_id, purpose="x")

    done = house.alice.client.execute_export(house.agreed(request))

    assert done.algorithm == "AES_KEY_WRAP_PAD"
    material = openssl(
        "enc", "-d", "-id-aes256-wrap-pad", "-K", shared.hex(), "-iv", "A65959A6", stdin=done.blob
    )
    text = openssl("dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{material.hex()}", stdin=b"message")
    assert text.split()[-1].decode() == ours.hex()
    assert [each.name for each in house.admin.list_wrapping_keys().items if each.kind == "AES"] == ["vault"]


def test_the_receipt_verifies_by_openssl_and_says_all(house: Cast, spki: bytes, tmp_path: Path) -> None:
    key = house.key()
    request = house.approved(key, spki)
    done = house.alice.client.execute_export(request.approval_id)
    payload, signature = tmp_path / "receipt.json", tmp_path / "receipt.sig"
    payload.write_bytes(done.receipt.payload)
    signature.write_bytes(done.receipt.signature)
    (public,) = house.daemon.folder.rglob("statement-public-key.pem")

    openssl("dgst", "-sha256", "-verify", public, "-signature", signature, payload)

    said = json.loads(done.receipt.payload)
    claims = said["claims"]
    assert said["kind"] == "key-export"
    assert claims["approved_by"] == [house.bob.arn, house.carol.arn]
    assert claims["request_sha256"] == request.digest
    assert claims["level"] == "token"
    assert {each["approver"] for each in claims["signatures"]} == {
        house.bob.approver_id,
        house.carol.approver_id,
    }
    place = claims["audit"]
    records = house.admin.list_audit_records(action="strongroom:ExecuteExport", page_size=1000).items
    (found,) = (each for each in records if (each.origin, each.sequence) == (place["chain"], place["seq"]))
    assert json.loads(found.canonical_json)["approval"] == request.approval_id
    shown = house.carol.client.describe_approval(request.approval_id)
    assert shown.receipt == done.receipt
    assert base64.b64encode(done.blob).decode() not in house.daemon.log


def test_the_receipt_names_no_approval_that_did_not_count(house: Cast, spki: bytes) -> None:
    """Somebody whose key is revoked before the execution, and who asked, where it approved besides enough others."""
    request = house.asked(house.key(), spki)
    gone = Person("alice", house.alice.client, *new_key("alice"))
    enrol(house.admin, gone)
    gone.approve(request)
    house.agreed(request)
    house.admin.revoke_approver(gone.approver_id)

    done = house.alice.client.execute_export(request.approval_id)

    claims = json.loads(done.receipt.payload)["claims"]
    assert claims["approved_by"] == [house.bob.arn, house.carol.arn]
    assert [each["approver"] for each in claims["signatures"]] == [
        house.bob.approver_id,
        house.carol.approver_id,
    ]
    shown = house.admin.describe_approval(request.approval_id)
    assert {each.principal: each.counts for each in shown.approvals} == {
        house.alice.arn: False,
        house.bob.arn: True,
        house.carol.arn: True,
    }
