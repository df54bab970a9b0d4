"""The whole way of every material that the token can wrap: openssl, import, use, export, openssl; all results equal.

What openssl made is imported as exportable, used, exported under approvals at every level that it can leave at,
and unwrapped by openssl. SoftHSM pads with zeros what it wraps: a secret's true length is in the answer, and in
the receipt; a PKCS#8 says its own.
"""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from tests.harness import refused
from tests.imports import cook, wrapped_by_openssl
from tests.people import Cast
from tests.vectors import xaes

from strongroom import results
from strongroomd.domain import context, envelope

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

MESSAGE = b"the same message on both sides"
SECRETS = {"SYMMETRIC_DEFAULT": 32, "HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
PAIRS = {
    "RSA_2048": 256,
    "RSA_3072": 256,
    "RSA_4096": 256,
    "ECC_NIST_P256": 256,
    "ECC_NIST_P384": 384,
    "ECC_NIST_P521": 512,
    "ECC_SECG_P256K1": 256,
}
"""Key pairs by the digest that they sign."""

IMPORTS = {"RSA": "RSA_AES_KEY_WRAP_SHA_256", "ECC": "RSA_AES_KEY_WRAP_SHA_1", "HMA": "RSAES_OAEP_SHA_256"}
SECRET_LEVELS, PAIR_LEVELS = ("TOKEN", "HOST_EPHEMERAL", "HOST"), ("TOKEN", "HOST_EPHEMERAL")


def openssl(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], cwd=folder, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipient sits: an RSA key of theirs in a folder, and nothing of the daemon's."""
    folder = tmp_path_factory.mktemp("desk")
    options = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072")
    openssl(folder, "genpkey", *options, "-out", "recipient.pem")
    openssl(folder, "pkey", "-in", "recipient.pem", "-pubout", "-outform", "DER", "-out", "recipient.der")
    return folder


def brought(house: Cast, folder: Path, spec: str) -> tuple[str, bytes]:
    """Have openssl make material, and import it into an exportable key; gives the key's id and the material."""
    cook(folder, spec)
    material = (folder / "material.bin").read_bytes()
    key = house.key(spec=spec, origin="EXTERNAL", **({"usage": "SIGN_VERIFY"} if spec in PAIRS else {}))
    algorithm = IMPORTS.get(spec[:3], "RSAES_OAEP_SHA_1")
    given = house.admin.get_parameters_for_import(
        key, wrapping_algorithm=algorithm, wrapping_key_spec="RSA_2048"
    )
    sent = wrapped_by_openssl(folder, algorithm, given.public_key)
    made = house.admin.import_key_material(
        key, given.import_token, sent, expiration_model="KEY_MATERIAL_DOES_NOT_EXPIRE"
    )
    assert made.material.wrapping_algorithm == algorithm
    found = house.admin.describe_key(key)
    assert (found.origin, found.exportable, found.state) == ("EXTERNAL", True, "ENABLED")
    return key, material


def left(house: Cast, desk: Path, key: str, level: str) -> results.Export:
    """Have a key leave for the desk, as two people approved."""
    request = house.approved(key, (desk / "recipient.der").read_bytes(), level=level)
    return house.alice.client.execute_export(request.approval_id)


def unwrapped(desk: Path, export: results.Export) -> bytes:
    """What openssl makes of a blob, by the commands of ops/runbooks/ExportKey.md."""
    digest = "sha1" if export.algorithm.endswith("SHA_1") else "sha256"
    oaep = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}")
    decrypt = ["pkeyutl", "-decrypt", "-inkey", "recipient.pem"]
    decrypt += [part for option in oaep for part in ("-pkeyopt", option)]
    if export.algorithm.startswith("RSAES_OAEP"):
        return openssl(desk, *decrypt, stdin=export.blob)
    once = openssl(desk, *decrypt, stdin=export.blob[:384])
    unwrap = ("enc", "-d", "-id-aes256-wrap-pad", "-K", once.hex(), "-iv", "A65959A6")
    return openssl(desk, *unwrap, stdin=export.blob[384:])


def claimed(export: results.Export) -> dict[str, object]:
    claims: dict[str, object] = json.loads(export.receipt.payload)["claims"]
    return claims


def mac_by_openssl(folder: Path, spec: str, material: bytes) -> bytes:
    digest = f"-sha{spec.removeprefix('HMAC_')}"
    text = openssl(
        folder, "dgst", digest, "-mac", "HMAC", "-macopt", f"hexkey:{material.hex()}", stdin=MESSAGE
    )
    return bytes.fromhex(text.split()[-1].decode())


def opened_outside(root: bytes, sealed: bytes) -> bytes:
    """Open a ciphertext of the daemon's with its root key alone (C2SP's XAES-256-GCM)."""
    parsed = envelope.parse(sealed)
    return xaes.open_xaes(root, parsed.sealed, context.aad(parsed.header, context.EMPTY))


@pytest.mark.parametrize("spec", SECRETS)
def test_secrets(house: Cast, desk: Path, tmp_path: Path, spec: str) -> None:
    key, material = brought(house, tmp_path, spec)
    if spec == "SYMMETRIC_DEFAULT":
        sealed = house.admin.encrypt(key, MESSAGE).ciphertext
        assert opened_outside(material, sealed) == MESSAGE

        def use(found: bytes) -> None:
            assert opened_outside(found, sealed) == MESSAGE
    else:
        ours = house.admin.generate_mac(key, MESSAGE).mac
        assert mac_by_openssl(tmp_path, spec, material) == ours

        def use(found: bytes) -> None:
            assert mac_by_openssl(tmp_path, spec, found) == ours

    for level in SECRET_LEVELS:
        export = left(house, desk, key, level)

        whole = unwrapped(desk, export)

        assert export.length == claimed(export)["length"] == SECRETS[spec] == len(material)
        padded = len(material) if level == "HOST" else -(-len(material) // 8) * 8
        assert (len(whole), whole[: export.length]) == (padded, material)
        assert not any(whole[export.length :])  # HMAC_224 leaves as 32 bytes
        use(whole[: export.length])
        if spec != "SYMMETRIC_DEFAULT":
            use(whole)  # HMAC pads its key with zeros itself: they change nothing


@pytest.mark.parametrize("spec", PAIRS)
def test_key_pairs(house: Cast, desk: Path, tmp_path: Path, spec: str) -> None:
    key, _ = brought(house, tmp_path, spec)
    digest = f"-sha{PAIRS[spec]}"
    algorithm = f"{'RSASSA_PKCS1_V1_5' if spec.startswith('RSA') else 'ECDSA'}_SHA_{PAIRS[spec]}"
    (tmp_path / "public.der").write_bytes(house.admin.get_public_key(key).public_key)
    made = ("pkey", "-inform", "DER", "-in", "material.bin", "-pubout", "-outform", "DER")
    assert openssl(tmp_path, *made) == (tmp_path / "public.der").read_bytes()
    ours = house.admin.sign(key, MESSAGE, algorithm=algorithm).signature
    (tmp_path / "ours.sig").write_bytes(ours)
    check = ("dgst", digest, "-keyform", "DER", "-verify", "public.der", "-signature", "ours.sig")
    assert openssl(tmp_path, *check, stdin=MESSAGE) == b"Verified OK\n"

    for level in PAIR_LEVELS:
        export = left(house, desk, key, level)
        pkcs8 = unwrapped(desk, export)
        (tmp_path / "back.der").write_bytes(pkcs8)  # zeros behind it and all: openssl reads it so

        assert (export.length, claimed(export)["length"]) == (0, 0)
        back = ("pkey", "-inform", "DER", "-in", "back.der")
        assert (
            openssl(tmp_path, *back, "-pubout", "-outform", "DER") == (tmp_path / "public.der").read_bytes()
        )
        # Every number of the pair; SoftHSM's PKCS#8 leaves out a curve key's public half, which openssl works out.
        same = openssl(tmp_path, "pkey", "-inform", "DER", "-in", "material.bin", "-noout", "-text")
        assert openssl(tmp_path, *back, "-noout", "-text") == same
        theirs = openssl(tmp_path, "dgst", digest, "-keyform", "DER", "-sign", "back.der", stdin=MESSAGE)
        house.admin.verify(key, MESSAGE, theirs, algorithm=algorithm)  # raises if not
        if spec.startswith("RSA"):  # PKCS #1 v1.5 has one signature of one message
            assert theirs == ours


def test_what_was_not_made_exportable_comes_in_and_does_not_leave(
    house: Cast, desk: Path, tmp_path: Path
) -> None:
    cook(tmp_path, "HMAC_256")
    key = house.admin.create_key(spec="HMAC_256", origin="EXTERNAL", quorum=2, policy=house.policy()).key_id
    given = house.admin.get_parameters_for_import(
        key, wrapping_algorithm="RSAES_OAEP_SHA_1", wrapping_key_spec="RSA_2048"
    )
    sent = wrapped_by_openssl(tmp_path, "RSAES_OAEP_SHA_1", given.public_key)
    house.admin.import_key_material(
        key, given.import_token, sent, expiration_model="KEY_MATERIAL_DOES_NOT_EXPIRE"
    )
    with refused("NOT_EXPORTABLE"):
        house.asked(key, (desk / "recipient.der").read_bytes())


def test_an_altered_blob_unwraps_to_nothing(house: Cast, desk: Path, tmp_path: Path) -> None:
    key, _ = brought(house, tmp_path, "HMAC_256")
    export = left(house, desk, key, "TOKEN")
    unwrapped(desk, export)
    for place in (0, 383, 384, -1):
        blob = bytearray(export.blob)
        blob[place] ^= 1
        with pytest.raises(AssertionError):
            unwrapped(desk, dataclasses.replace(export, blob=bytes(blob)))
