"""The vault's duties, on a real SoftHSM token (acceptance 2)."""

import asyncio
import hashlib
import os
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.hsmkeys import MADE, OpenedVault, altered, make, soon

from strongroomd.domain.algorithms import (
    DIGEST_BYTES,
    DIGESTS,
    MAC_DIGESTS,
    OAEP_DIGESTS,
    SPECS,
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    SigningAlgorithm,
    encryption_algorithms,
    mac_algorithms,
    oaep_limit,
    signing_algorithms,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm.cache import LoadedKey
from strongroomd.hsm.device import Device
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.loading import Loader
from strongroomd.hsm.publickeys import HASHES, load_public_key, verifies

pytestmark = pytest.mark.softhsm

QUICK = [s for s in KeySpec if not s.startswith("RSA")] + [KeySpec.RSA_2048]
BIG = [KeySpec.RSA_3072, KeySpec.RSA_4096]
PLACES = [
    (spec, usage, mode)
    for spec in QUICK
    for usage in SPECS[spec].usages
    for mode in MADE
    if not (spec is KeySpec.ECC_NIST_EDWARDS25519 and mode is CustodyMode.WRAPPED)
] + [(spec, usage, CustodyMode.WRAPPED) for spec in BIG for usage in SPECS[spec].usages]


async def use(vault: TokenVault, key: BoundVersion) -> None:
    """Use a key in every way that its usage allows, and check each result in software."""
    match key.usage:
        case KeyUsage.SIGN_VERIFY:
            for algorithm in signing_algorithms(key.spec, key.usage):
                await sign_and_verify(vault, key, algorithm)
        case KeyUsage.GENERATE_VERIFY_MAC:
            hmac = mac_algorithms(key.spec, key.usage)[0]
            mac = await vault.mac(key, hmac, b"message", deadline=soon())
            assert len(mac) == DIGEST_BYTES[MAC_DIGESTS[hmac]]
            assert mac == await vault.mac(key, hmac, b"message", deadline=soon())
        case KeyUsage.KEY_AGREEMENT:
            await agree_with_software(vault, key)
        case KeyUsage.ENCRYPT_DECRYPT if key.spec is KeySpec.SYMMETRIC_DEFAULT:
            sealed = await vault.seal(key, b"plaintext", b"aad", deadline=soon())
            assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"plaintext"
        case KeyUsage.ENCRYPT_DECRYPT:
            for oaep in encryption_algorithms(key.spec, key.usage):
                await decrypt_what_software_encrypted(vault, key, oaep)


async def sign_and_verify(vault: TokenVault, key: BoundVersion, algorithm: SigningAlgorithm) -> None:
    data = os.urandom(DIGEST_BYTES[DIGESTS[algorithm]] if algorithm in DIGESTS else 100)
    signature = await vault.sign(key, algorithm, data, deadline=soon())
    assert verifies(load_public_key(key.record.public_key), algorithm, data, signature)


async def agree_with_software(vault: TokenVault, key: BoundVersion) -> None:
    public = load_public_key(key.record.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(public.curve)
    point = peer.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert await vault.agree(key, point, deadline=soon()) == peer.exchange(ec.ECDH(), public)


async def decrypt_what_software_encrypted(
    vault: TokenVault, key: BoundVersion, algorithm: EncryptionAlgorithm
) -> None:
    public = load_public_key(key.record.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    digest = HASHES[OAEP_DIGESTS[algorithm]]
    for size in (1, oaep_limit(key.spec, algorithm)):
        plaintext = os.urandom(size)
        ciphertext = public.encrypt(plaintext, padding.OAEP(padding.MGF1(digest), digest, None))
        assert await vault.rsa_decrypt(key, algorithm, ciphertext, deadline=soon()) == plaintext


@pytest.mark.parametrize(("spec", "usage", "mode"), PLACES)
async def test_key_of_every_spec_and_mode_works_and_works_again_after_eviction(
    vault: TokenVault, spec: KeySpec, usage: KeyUsage, mode: CustodyMode
) -> None:
    key = await make(vault, spec, usage, mode)

    await use(vault, key)
    vault.forget(key.key_id)
    await use(vault, key)


async def test_ciphertext_opens_after_eviction(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"secret", b"aad", deadline=soon())

    vault.forget(key.key_id)

    assert await vault.open(key, sealed, b"aad", deadline=soon()) == b"secret"


async def test_sealed_form_is_nonce_ciphertext_tag(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)

    sealed = {await vault.seal(key, b"x" * 100, b"", deadline=soon()) for _ in range(50)}

    assert {len(s) for s in sealed} == {24 + 100 + 16}
    assert len({s[12:24] for s in sealed}) == 50
    assert len({s[:12] for s in sealed}) == 1


async def test_every_flipped_bit_is_refused_with_the_same_error(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"secret", b"aad", deadline=soon())
    texts = set()

    for position in range(len(sealed)):
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(key, altered(sealed, position), b"aad", deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
        texts.add(str(refusal.value))

    assert len(texts) == 1


@pytest.mark.parametrize("length", [0, 1, 12, 24, 39])
async def test_short_ciphertext_is_refused(vault: TokenVault, length: int) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)

    with pytest.raises(StrongroomError) as refusal:
        await vault.open(key, bytes(length), b"", deadline=soon())

    assert refusal.value.reason is Reason.INVALID_CIPHERTEXT


async def test_other_context_and_other_key_are_refused(vault: TokenVault) -> None:
    key, other = await make(vault, KeySpec.SYMMETRIC_DEFAULT), await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"secret", b"aad", deadline=soon())

    for candidate, aad in ((key, b""), (key, b"aad2"), (other, b"aad")):
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(candidate, sealed, aad, deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT


async def test_empty_plaintext_and_large_ones_seal(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)

    for size in (0, 1, 4_096, 65_536):
        sealed = await vault.seal(key, bytes(size), b"", deadline=soon())
        assert await vault.open(key, sealed, b"", deadline=soon()) == bytes(size)


@pytest.mark.parametrize("algorithm", list(EncryptionAlgorithm)[1:])
async def test_bad_rsa_ciphertexts_are_all_refused_alike(
    vault: TokenVault, algorithm: EncryptionAlgorithm
) -> None:
    key = await make(vault, KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT)
    public = load_public_key(key.record.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    digest = HASHES[OAEP_DIGESTS[algorithm]]
    good = public.encrypt(b"secret", padding.OAEP(padding.MGF1(digest), digest, None))
    labelled = public.encrypt(b"secret", padding.OAEP(padding.MGF1(digest), digest, b"label"))
    modulus = public.public_numbers().n
    bad = [
        b"",
        good[:-1],
        good + b"\0",
        b"\0" + good,
        bytes(256),
        (1).to_bytes(256, "big"),
        (modulus - 1).to_bytes(256, "big"),
        modulus.to_bytes(256, "big"),
        b"\xff" * 256,
        labelled,
        public.encrypt(b"secret", padding.PKCS1v15()),
        *(altered(good, position) for position in (0, 1, 128, 255)),
    ]
    texts = set()

    for ciphertext in bad:
        with pytest.raises(StrongroomError) as refusal:
            await vault.rsa_decrypt(key, algorithm, ciphertext, deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
        texts.add(str(refusal.value))

    assert len(texts) == 1
    assert await vault.rsa_decrypt(key, algorithm, good, deadline=soon()) == b"secret"


async def test_point_off_the_curve_is_refused_and_harms_nothing(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.ECC_NIST_P256, KeyUsage.KEY_AGREEMENT)

    with pytest.raises(StrongroomError) as refusal:
        await vault.agree(key, b"\x04" + bytes(63) + b"\x05", deadline=soon())

    assert refusal.value.reason is Reason.INVALID_FIELD
    await use(vault, key)


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, *(s for s in KeySpec if s.startswith("ECC"))])
async def test_data_key_pair_has_two_halves_of_one_key(vault: TokenVault, spec: KeySpec) -> None:
    private, public = await vault.data_key_pair(spec, deadline=soon())

    loaded = serialization.load_der_private_key(bytes(private), None)
    assert loaded.public_key() == serialization.load_der_public_key(public)


async def test_random_is_fresh_and_bounded(vault: TokenVault) -> None:
    assert len({await vault.random(32) for _ in range(100)}) == 100
    for length in (0, -1, 1_025):
        with pytest.raises(StrongroomError) as refusal:
            await vault.random(length)
        assert refusal.value.reason is Reason.INVALID_FIELD


async def test_row_mac_depends_on_every_bit(vault: TokenVault) -> None:
    data = os.urandom(40)

    mac = await vault.row_mac(data)

    assert len(mac) == 32
    assert mac == await vault.row_mac(data)
    for position in range(len(data)):
        assert mac != await vault.row_mac(altered(data, position))


async def test_checkpoint_signature_verifies_under_the_house_record(opened: OpenedVault) -> None:
    signature = await opened.vault.sign_checkpoint(b"checkpoint 1")

    record = next(r for r in opened.house if r.role == "checkpoint")
    digest = hashlib.sha256(b"checkpoint 1").digest()
    assert verifies(load_public_key(record.public_key), SigningAlgorithm.ECDSA_SHA_256, digest, signature)


async def test_concurrent_first_uses_load_the_key_once(
    opened: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = opened.vault
    key = await make(vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    loads = []
    original = type(vault._held.loader).load

    def counted(self: Loader, device: Device, bound: BoundVersion) -> LoadedKey:
        loads.append(bound)
        return original(self, device, bound)

    monkeypatch.setattr(type(vault._held.loader), "load", counted)
    await asyncio.gather(
        *(vault.sign(key, SigningAlgorithm.RSASSA_PSS_SHA_256, bytes(32), deadline=soon()) for _ in range(20))
    )

    assert len(loads) == 1


async def test_passed_deadline_is_refused_before_work_starts(vault: TokenVault) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await vault.data_key_pair(KeySpec.RSA_2048, deadline=time.monotonic() - 1)

    assert refusal.value.reason is Reason.DEADLINE_EXCEEDED


async def test_caller_is_let_go_at_its_deadline_while_the_token_works_on(vault: TokenVault) -> None:
    start = time.monotonic()

    with pytest.raises(StrongroomError) as refusal:
        await vault.data_key_pair(KeySpec.RSA_3072, deadline=start + 0.01)

    assert refusal.value.reason is Reason.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 1.0
    assert vault.longest_call()[0] == "birth"


async def test_probe_passes_on_a_well_token(vault: TokenVault) -> None:
    await vault.probe()

    assert vault.fatal is None
    assert vault.hanging() is None


def test_placement_says_why_a_key_is_resident(vault: TokenVault) -> None:
    mode, why = vault.placement(KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY, None, exportable=False)

    assert mode is CustodyMode.RESIDENT
    assert "CKM_AES_KEY_WRAP_PAD" in why


@pytest.mark.parametrize(("mode", "exportable"), [(CustodyMode.WRAPPED, False), (None, True)])
def test_placement_refuses_what_the_token_cannot_wrap(
    vault: TokenVault, mode: CustodyMode | None, exportable: bool
) -> None:
    with pytest.raises(StrongroomError) as refusal:
        vault.placement(KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY, mode, exportable=exportable)

    assert refusal.value.reason is Reason.UNSUPPORTED_BY_TOKEN
    assert "CKM_AES_KEY_WRAP_PAD" in refusal.value.message


def test_placement_refuses_an_exportable_resident_key(vault: TokenVault) -> None:
    with pytest.raises(StrongroomError) as refusal:
        vault.placement(KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY, CustodyMode.RESIDENT, exportable=True)

    assert refusal.value.reason is Reason.INVALID_FIELD
    assert refusal.value.field == "exportable"


def test_placement_wraps_by_default(vault: TokenVault) -> None:
    for spec, facts in SPECS.items():
        if spec is not KeySpec.ECC_NIST_EDWARDS25519:
            placed = vault.placement(spec, facts.usages[0], None, exportable=False)
            assert placed == (CustodyMode.WRAPPED, "")


async def test_hmac_224_keeps_its_true_length(vault: TokenVault) -> None:
    key = await make(vault, KeySpec.HMAC_224)

    assert key.record.length == 28
    assert len(key.record.blob) == 40
    await use(vault, key)
