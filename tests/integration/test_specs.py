"""Acceptance 2: every spec in every mode, through cache and restart; and OpenSSL agrees."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conformance.wire import Wire
from tests.harness import Daemon, make_folder, refused, running

from strongroom import Client
from strongroomd.domain.algorithms import SPECS

MESSAGE = b"what is to be signed, sealed and delivered"
_CURVES = {"ECC_NIST_P256": ec.SECP256R1(), "ECC_NIST_P384": ec.SECP384R1(), "ECC_NIST_P521": ec.SECP521R1()}
_W, _R = "WRAPPED", "RESIDENT"
_SEAL, _SIGN, _MAC, _AGREE = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"

# Every spec in both modes and every usage at least once; RSA keys are slow to make.
CASES = [
    ("SYMMETRIC_DEFAULT", _SEAL, _W), ("SYMMETRIC_DEFAULT", _SEAL, _R),
    ("RSA_2048", _SEAL, _W), ("RSA_2048", _SEAL, _R), ("RSA_2048", _SIGN, _W), ("RSA_2048", _SIGN, _R),
    ("RSA_3072", _SEAL, _W), ("RSA_3072", _SIGN, _R), ("RSA_4096", _SIGN, _W), ("RSA_4096", _SEAL, _R),
    ("ECC_NIST_P256", _SIGN, _W), ("ECC_NIST_P256", _SIGN, _R), ("ECC_NIST_P256", _AGREE, _W),
    ("ECC_NIST_P256", _AGREE, _R), ("ECC_NIST_P384", _SIGN, _W), ("ECC_NIST_P384", _SIGN, _R),
    ("ECC_NIST_P384", _AGREE, _W), ("ECC_NIST_P384", _AGREE, _R), ("ECC_NIST_P521", _SIGN, _W),
    ("ECC_NIST_P521", _SIGN, _R), ("ECC_NIST_P521", _AGREE, _W), ("ECC_NIST_P521", _AGREE, _R),
    ("ECC_SECG_P256K1", _SIGN, _W), ("ECC_SECG_P256K1", _SIGN, _R), ("ECC_NIST_EDWARDS25519", _SIGN, _R),
    ("HMAC_224", _MAC, _W), ("HMAC_224", _MAC, _R), ("HMAC_256", _MAC, _W), ("HMAC_256", _MAC, _R),
    ("HMAC_384", _MAC, _W), ("HMAC_384", _MAC, _R), ("HMAC_512", _MAC, _W), ("HMAC_512", _MAC, _R),
]  # fmt: skip


@dataclass
class Use:
    """A key and a way to use it that gives the same answer each time."""

    key: str
    algorithms: tuple[str, ...]
    again: Callable[[Client], bytes]
    expected: bytes


def make(client: Client, spec: str, usage: str, mode: str) -> Use:
    key = client.create_key(spec=spec, usage=usage, custody_mode=mode)
    assert (key.custody_mode, key.custody_note) == (mode, "")
    name = key.key_id
    match usage:
        case "ENCRYPT_DECRYPT":
            return _sealing(client, name, key.encryption_algorithms[-1])
        case "SIGN_VERIFY":
            return _signing(client, name, key.signing_algorithms)
        case "KEY_AGREEMENT":
            peer = ec.generate_private_key(_CURVES[spec]).public_key()
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            public = peer.public_bytes(serialization.Encoding.DER, form)
            return _same(name, (), client, lambda c: c.derive_shared_secret(name, public).secret)
    return _same(name, key.mac_algorithms, client, lambda c: c.generate_mac(name, MESSAGE).mac)


def _same(key: str, algorithms: tuple[str, ...], client: Client, again: Callable[[Client], bytes]) -> Use:
    return Use(key, algorithms, again, again(client))


def _sealing(client: Client, key: str, algorithm: str) -> Use:
    sealed = client.encrypt(key, MESSAGE, algorithm=algorithm).ciphertext
    name = "" if algorithm == "SYMMETRIC_DEFAULT" else key
    open_ = lambda c: c.decrypt(sealed, key=name, algorithm=algorithm).plaintext  # noqa: E731
    return Use(key, (algorithm,), open_, MESSAGE)


def _signing(client: Client, key: str, algorithms: tuple[str, ...]) -> Use:
    """Old signatures verify, and new ones too."""
    old = client.sign(key, MESSAGE, algorithm=algorithms[0]).signature

    def again(c: Client) -> bytes:
        c.verify(key, MESSAGE, old, algorithm=algorithms[0])
        new = c.sign(key, MESSAGE, algorithm=algorithms[-1]).signature
        c.verify(key, MESSAGE, new, algorithm=algorithms[-1])
        return b"both verify"

    return Use(key, algorithms, again, b"both verify")


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of one worker that holds two handles only: nearly every use finds its key evicted."""

    def edit(text: str) -> str:
        return text.replace("[hsm]\n", "[hsm]\nhandles = 2\nsubkeys = 2\n").replace("reflection = true", "")

    with running(make_folder(tmp_path_factory.mktemp("cramped"), 1, edit)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def uses(cramped: Daemon) -> list[Use]:
    with cramped.client(timeout=60.0) as client:
        return [make(client, *case) for case in CASES]


def test_every_spec_is_among_the_cases() -> None:
    assert {(s, m) for s, _, m in CASES} == {(s.value, m) for s in SPECS for m in (_W, _R)} - {
        ("ECC_NIST_EDWARDS25519", _W)
    }
    assert {(s, u) for s, u, _ in CASES} == {(s.value, u.value) for s, f in SPECS.items() for u in f.usages}


def test_every_key_gives_the_same_answer_evicted_and_after_a_restart(
    cramped: Daemon, uses: list[Use]
) -> None:
    with cramped.client(timeout=60.0) as client:
        evicted = [use.again(client) == use.expected for use in uses]
    cramped.stop()
    cramped.start()
    with cramped.client(timeout=60.0) as client:
        restarted = [use.again(client) == use.expected for use in uses]

    assert (evicted, restarted) == ([True] * len(uses), [True] * len(uses))


def test_a_spec_that_the_token_cannot_wrap_is_made_resident_and_says_so(cramped: Daemon) -> None:
    with cramped.client() as client:
        key = client.create_key(spec="ECC_NIST_EDWARDS25519")

        assert key.custody_mode == "RESIDENT"
        assert "CKM_" in key.custody_note
        with refused("UNSUPPORTED_BY_TOKEN"):
            client.create_key(spec="ECC_NIST_EDWARDS25519", custody_mode="WRAPPED")
        with refused("UNSUPPORTED_BY_TOKEN"):
            client.create_key(spec="ECC_NIST_EDWARDS25519", exportable=True)


def openssl(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")


def test_openssl_verifies_signatures_of_every_algorithm_of_every_spec(
    cramped: Daemon, uses: list[Use], tmp_path: Path
) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    verified = []
    with cramped.client(timeout=60.0) as client:
        for use, (spec, usage, mode) in zip(uses, CASES, strict=True):
            if usage != _SIGN:
                continue
            (tmp_path / "public.pem").write_text(client.get_public_key(use.key).public_key_pem)
            for algorithm in use.algorithms:
                signature = client.sign(use.key, MESSAGE, algorithm=algorithm).signature
                (tmp_path / "signature").write_bytes(signature)
                verified.append((spec, mode, algorithm, _verifies(algorithm, tmp_path)))

    assert len(verified) == 4 * 6 + 9
    assert [v for v in verified if not v[3]] == []


def _verifies(algorithm: str, folder: Path) -> bool:
    if algorithm == "ED25519_SHA_512":
        text = openssl(
            "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message",
            "-sigfile", "signature", folder=folder,
        )  # fmt: skip
        return "Success" in text
    padding = _PSS if "PSS" in algorithm else ()
    digest = "-sha" + algorithm[-3:]
    text = openssl(
        "dgst", digest, *padding, "-verify", "public.pem", "-signature", "signature", "message", folder=folder
    )
    return "Verified OK" in text


def test_what_openssl_encrypts_decrypts(cramped: Daemon, uses: list[Use], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(MESSAGE)
    opened = []
    with cramped.client(timeout=60.0) as client:
        for use, (spec, usage, _) in zip(uses, CASES, strict=True):
            if not spec.startswith("RSA") or usage != _SEAL:
                continue
            (tmp_path / "public.pem").write_text(client.get_public_key(use.key).public_key_pem)
            for digest in ("1", "256"):
                openssl(
                    "pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", "-in", "secret", "-out", "sealed",
                    "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:sha{digest}",
                    "-pkeyopt", f"rsa_mgf1_md:sha{digest}", folder=tmp_path,
                )  # fmt: skip
                sealed = (tmp_path / "sealed").read_bytes()
                algorithm = f"RSAES_OAEP_SHA_{digest}"
                opened.append(client.decrypt(sealed, key=use.key, algorithm=algorithm).plaintext)
                with refused("INVALID_CIPHERTEXT"):
                    client.decrypt(bytes(len(sealed)), key=use.key, algorithm=algorithm)

    assert opened == [MESSAGE] * 8


def test_a_digest_signs_as_its_message(cramped: Daemon, uses: list[Use]) -> None:
    with cramped.client(timeout=60.0) as client:
        for use, (spec, usage, _) in zip(uses, CASES, strict=True):
            if usage != _SIGN or spec == "ECC_NIST_EDWARDS25519":
                continue
            for algorithm in use.algorithms[:1]:
                digest = hashlib.new("sha" + algorithm[-3:], MESSAGE).digest()
                made = client.sign(use.key, digest, algorithm=algorithm, message_type="DIGEST").signature
                client.verify(use.key, MESSAGE, made, algorithm=algorithm)
                with refused("INVALID_SIGNATURE"):
                    client.verify(use.key, MESSAGE + b".", made, algorithm=algorithm)
                with refused("INVALID_FIELD", "message"):
                    client.sign(use.key, digest[:-1], algorithm=algorithm, message_type="DIGEST")


def test_services_do_not_describe_themselves_unless_configured(cramped: Daemon) -> None:
    with Wire.connect(cramped, "admin") as wire:
        assert wire.reflected() == {"UNIMPLEMENTED"}


def test_public_keys_are_spki_of_the_right_kind(cramped: Daemon, uses: list[Use]) -> None:
    with cramped.client(timeout=60.0) as client:
        for use, (spec, usage, _) in zip(uses, CASES, strict=True):
            if spec.startswith(("SYM", "HMAC")):
                with refused("INVALID_KEY_USAGE"):
                    client.get_public_key(use.key)
                continue
            found = client.get_public_key(use.key)
            loaded = serialization.load_der_public_key(found.public_key)
            size = getattr(loaded, "key_size", 25519)
            assert str(size) in spec or (spec, size) == ("ECC_SECG_P256K1", 256)
            assert (found.spec, found.usage) == (spec, usage)
            assert serialization.load_pem_public_key(found.public_key_pem.encode()) == loaded
