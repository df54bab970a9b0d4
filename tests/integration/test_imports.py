"""Bring your own key through a running daemon: by SDK and command line, for every kind of material."""

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.harness import Daemon, Shell, allow, refused, wait_until
from tests.imports import cook, wrapped, wrapped_by_openssl

from strongroom import AsyncClient, Client
from strongroom.errors import KeyNotUsable, StrongroomError
from strongroom.results import ImportParameters
from strongroomd.domain.importing import WrappingAlgorithm

pytestmark = pytest.mark.daemon
NEVER = "KEY_MATERIAL_DOES_NOT_EXPIRE"
KINDS = {
    "SYMMETRIC_DEFAULT": ("", "RSAES_OAEP_SHA_256"),
    "HMAC_256": ("", "RSAES_OAEP_SHA_1"),
    "RSA_2048": ("SIGN_VERIFY", "RSA_AES_KEY_WRAP_SHA_1"),
    "ECC_NIST_P384": ("SIGN_VERIFY", "RSA_AES_KEY_WRAP_SHA_256"),
}


def external(client: Client, spec: str = "SYMMETRIC_DEFAULT", usage: str = "", policy: str = "") -> str:
    return client.create_key(spec=spec, usage=usage, origin="EXTERNAL", policy=policy).key_id


def parameters(
    client: Client, key: str, algorithm: str = "RSAES_OAEP_SHA_1", level: str = ""
) -> ImportParameters:
    return client.get_parameters_for_import(
        key, wrapping_algorithm=algorithm, wrapping_key_spec="RSA_2048", level=level
    )


def bring(client: Client, key: str, material: bytes, **more: object) -> None:
    given = parameters(client, key)
    sent = wrapped(material, WrappingAlgorithm.RSAES_OAEP_SHA_1, given.public_key)
    client.import_key_material(key, given.import_token, sent, **({"expiration_model": NEVER} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", KINDS)
def test_material_made_by_openssl_works_as_it_does_there(admin: Client, tmp_path: Path, spec: str) -> None:
    usage, algorithm = KINDS[spec]
    cook(tmp_path, spec)
    material = (tmp_path / "material.bin").read_bytes()
    key = external(admin, spec, usage)
    with refused("KEY_PENDING_IMPORT"):
        admin.encrypt(key, b"x") if spec == "SYMMETRIC_DEFAULT" else admin.get_public_key(key)
    given = parameters(admin, key, algorithm)

    sent = wrapped_by_openssl(tmp_path, algorithm, given.public_key)
    made = admin.import_key_material(
        key, given.import_token, sent, valid_to=datetime.now(UTC) + timedelta(days=300), level=given.level
    )

    assert (made.material.key_version, made.material.level) == (1, given.level)
    found = admin.describe_key(key)
    assert (found.state, found.origin, found.imported_material) == ("ENABLED", "EXTERNAL", made.material)
    match spec:
        case "SYMMETRIC_DEFAULT":
            assert admin.decrypt(admin.encrypt(key, b"plaintext").ciphertext).plaintext == b"plaintext"
        case "HMAC_256":
            expected = hmac.new(material, b"message", hashlib.sha256).digest()
            assert admin.generate_mac(key, b"message").mac == expected
        case _:
            private = load_der_private_key(material, None)
            (tmp_path / "public.der").write_bytes(admin.get_public_key(key).public_key)
            assert admin.get_public_key(key).public_key == _spki(private)


def _spki(private: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]


def test_the_whole_way_by_command_line(admin: Client, shell: Shell, tmp_path: Path) -> None:
    made = shell("--json", "key", "create", "--external", "--alias", "byok")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["arn"]
    wrapping, token, sent = (
        str(tmp_path / name) for name in ("wrapping-key.der", "import-token.bin", "wrapped.bin")
    )
    files = ("--wrapping-key", wrapping, "--import-token", token)
    how = ("--algorithm", "RSAES_OAEP_SHA_256", "--spec", "RSA_2048")
    given = shell("material", "parameters", "alias/byok", *files, *how)
    assert given.returncode == 0, given.stderr
    cook(tmp_path, "SYMMETRIC_DEFAULT")
    cook(tmp_path, "RSAES_OAEP_SHA_256")

    done = shell(
        "--json", "material", "import", key, "--in", sent, "--import-token", token, "--does-not-expire"
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["level"] == "HOST"
    wait_until(lambda: admin.describe_key(key).state == "ENABLED", 1.5)  # of another worker, perhaps
    again = shell("material", "import", key, "--in", sent, "--import-token", token, "--does-not-expire")
    assert (again.returncode, b"INVALID_IMPORT_TOKEN" in again.stderr) == (4, True)
    dated = shell("material", "import", key, "--in", sent, "--import-token", token, "--valid-to", "tomorrow")
    assert (dated.returncode, b"valid_to" in dated.stderr) == (4, True)
    gone = shell("--json", "material", "delete", key)
    assert json.loads(gone.stdout)["state"] == "PENDING_IMPORT"


def test_of_many_imports_at_two_workers_under_one_token_one_is_stored(daemon: Daemon, admin: Client) -> None:
    key = external(admin)
    given = parameters(admin, key)
    sent = wrapped(b"\x31" * 32, WrappingAlgorithm.RSAES_OAEP_SHA_1, given.public_key)

    def bring_it(client: Client) -> str:
        try:
            client.import_key_material(key, given.import_token, sent, expiration_model=NEVER)
        except StrongroomError as error:
            return error.reason
        return "OK"

    clients = [daemon.client(timeout=30.0) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(bring_it, clients))
    for client in clients:
        client.close()

    assert sorted(ends) == ["INVALID_IMPORT_TOKEN"] * 7 + ["OK"]
    assert len(admin.list_key_versions(key).items) == 1


@pytest.mark.timed
def test_deleted_material_stops_working_in_every_worker_within_a_second(
    daemon: Daemon, admin: Client
) -> None:
    key, material = external(admin), b"\x11" * 32
    bring(admin, key, material)
    sealed = admin.encrypt(key, b"x").ciphertext
    clients = [daemon.client() for _ in range(6)]
    try:
        for client in clients:
            assert client.decrypt(sealed).plaintext == b"x"

        admin.delete_imported_key_material(key)

        wait_until(lambda: all(_refuses(client, sealed) for client in clients), 1.5)
    finally:
        for client in clients:
            client.close()
    bring(admin, key, material)
    assert admin.decrypt(sealed).plaintext == b"x"


def _refuses(client: Client, sealed: bytes) -> bool:
    try:
        client.decrypt(sealed)
    except KeyNotUsable as error:
        return error.reason == "KEY_PENDING_IMPORT"
    return False


async def test_further_material_by_asyncio_and_what_versions_tell(daemon: Daemon, admin: Client) -> None:
    key = external(admin)
    bring(admin, key, b"\x01" * 32)
    old = admin.encrypt(key, b"old").ciphertext
    bring(admin, key, b"\x02" * 32, import_type="NEW_KEY_MATERIAL")

    pending = admin.list_key_versions(key).items
    rotated = admin.rotate_key(key)

    assert [(v.current, v.pending_rotation) for v in pending] == [(True, False), (False, True)]
    assert rotated.current_version == 2
    assert admin.decrypt(old).plaintext == b"old"
    async with AsyncClient.connect(daemon.endpoint, **daemon.tls("admin")) as client:  # type: ignore[arg-type]
        deleted = await client.delete_imported_key_material(key, key_version=1)
    assert deleted.state == "PENDING_IMPORT"
    states = [v.imported_material.state for v in admin.list_key_versions(key).items if v.imported_material]
    assert states == ["REMOVED", "IMPORTED"]


def test_policy_may_demand_a_level_a_wrapping_and_an_end(admin: Client, service: Client) -> None:
    principal = "arn:aws:iam::111122223333:user/service"
    actions = ["kms:GetParametersForImport", "kms:ImportKeyMaterial", "kms:DescribeKey"]
    policy = json.loads(allow(principal, *actions))
    policy["Statement"].append(
        {
            "Effect": "Deny", "Principal": {"AWS": principal}, "Action": actions[:2], "Resource": "*",
            "Condition": {"StringNotEquals": {"strongroom:ImportLevel": "token"}},
        }
    )  # fmt: skip
    policy["Statement"].append(
        {
            "Effect": "Deny", "Principal": {"AWS": principal}, "Action": actions[1], "Resource": "*",
            "Condition": {"StringEquals": {"kms:ExpirationModel": NEVER}},
        }
    )  # fmt: skip
    key = external(admin, policy=json.dumps(policy))

    with refused("ACCESS_DENIED"):
        parameters(service, key, "RSAES_OAEP_SHA_256")
    weak = parameters(admin, key, "RSAES_OAEP_SHA_256")
    sent = wrapped(b"\x01" * 32, WrappingAlgorithm.RSAES_OAEP_SHA_256, weak.public_key)
    soon = datetime.now(UTC) + timedelta(days=3)
    with refused("ACCESS_DENIED"):
        service.import_key_material(key, weak.import_token, sent, valid_to=soon)
    with refused("ACCESS_DENIED"):
        bring(service, key, b"\x01" * 32)
    bring(service, key, b"\x01" * 32, expiration_model="", valid_to=soon)

    assert service.describe_key(key).state == "ENABLED"


def test_refusals_name_their_field(admin: Client) -> None:
    key = external(admin)
    given = parameters(admin, key)
    now = datetime.now(UTC)

    for valid_to in (now, now - timedelta(days=1), now + timedelta(days=366)):
        with refused("INVALID_FIELD", "valid_to"):
            admin.import_key_material(key, given.import_token, b"x", valid_to=valid_to)
    with refused("INVALID_FIELD", "valid_to"):
        admin.import_key_material(key, given.import_token, b"x")
    with refused("INVALID_FIELD", "encrypted_key_material"):
        admin.import_key_material(key, given.import_token, b"", expiration_model=NEVER)
    with refused("FIELD_TOO_LARGE", "encrypted_key_material"):
        admin.import_key_material(key, given.import_token, bytes(6_145), expiration_model=NEVER)
    with refused("INVALID_CIPHERTEXT", "encrypted_key_material"):
        admin.import_key_material(key, given.import_token, bytes(256), expiration_model=NEVER)
    with refused("INVALID_IMPORT_TOKEN", "import_token"):
        admin.import_key_material(key, bytes(57), bytes(256), expiration_model=NEVER)
    with refused("INVALID_FIELD", "level"):
        parameters(admin, key, level="HOST")
    with refused("UNSUPPORTED_BY_TOKEN"):
        admin.create_key(spec="ECC_NIST_EDWARDS25519", origin="EXTERNAL")
    with refused("UNSUPPORTED_ALGORITHM", "wrapping_algorithm"):
        parameters(admin, external(admin, "RSA_2048", "SIGN_VERIFY"))


def test_the_metric_tells_of_the_next_expiry(daemon: Daemon, admin: Client) -> None:
    key = external(admin)
    bring(admin, key, b"\x03" * 32, expiration_model="", valid_to=datetime.now(UTC) + timedelta(days=1))

    name = "strongroom_imported_material_expiry_seconds "
    wait_until(lambda: 0 < _value(daemon.metrics(), name) <= 86_400, 40)

    admin.delete_imported_key_material(key)


def _value(text: str, name: str) -> float:
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)
