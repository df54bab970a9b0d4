"""Known-answer tests at every start: each mechanism in use must give what software gives.

The keys here are public and guard nothing. A mechanism that the token lacks is not tested: keys that need it
are refused at creation.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import DIGESTS, KeyFamily, KeySpec, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm import handles
from strongroomd.hsm.checks import LABEL, encrypt_block
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.mechanisms import CURVES, SIGNING, Offer
from strongroomd.hsm.oaep import Padding, raw_decrypt
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import CURVES as SOFTWARE_CURVES
from strongroomd.hsm.publickeys import PublicKey, verifies
from strongroomd.hsm.signatures import encode_signature
from strongroomd.hsm.templates import GCM_DUTY, HMACS, MASK, SUBKEY, Duty, Life, template
from strongroomd.hsm.xaes import derivation_blocks, mask_of

M = Mechanism
A = Attribute
Test = Callable[[Session, DirectCalls], bool]

_PRIME_1: Final = int(
    "da8a34b24bd21353e8e0cac227fa91722e105a6b94aa44e713624e8fba5efdc4"
    "6b2e262c16f784491f57a330c45ea56d94718e636e1877fe123ab82db9df9c20"
    "acaeb3f4a36b85a60f5573988afdcd47900342057d57ecb6f67faf0842db37cb"
    "8a9f16283a19e5ae404095e8f8211c003942ee54859333b7c8a892c75f09918d",
    16,
)
_PRIME_2: Final = int(
    "ca5171b00d51a75a1d9223be0358eb22d530ab6bdb4ffd2ade7cc9f04df8078a"
    "52e87d737e6076badc0dfcf51c94ffbcc133f5a64fb6a3109f653c4defa4c35f"
    "97143b322858a255da7e5572524ac4eeb1fbfdf943c25d6c29a2eb8ac0135e97"
    "98c71303ab963ea1a73f8d6a90fa90d8b0c9f0b9cc96a37cf7a5616f7a282c33",
    16,
)
_SCALAR: Final = 0x1F2E3D4C5B6A79880102030405060708090A0B0C0D0E0F101112131415161718
_SECRET: Final = bytes(range(32))
_MAC_SECRET: Final = bytes(range(64))  # SoftHSM refuses HMAC-SHA-512 keys that are shorter than the digest
_MAC_NAMES: Final = {
    M.SHA224_HMAC: "sha224",
    M.SHA256_HMAC: "sha256",
    M.SHA384_HMAC: "sha384",
    M.SHA512_HMAC: "sha512",
}
_EC_SIGNING: Final = {
    KeySpec.ECC_NIST_P256: SigningAlgorithm.ECDSA_SHA_256,
    KeySpec.ECC_NIST_P384: SigningAlgorithm.ECDSA_SHA_384,
    KeySpec.ECC_NIST_P521: SigningAlgorithm.ECDSA_SHA_512,
    KeySpec.ECC_SECG_P256K1: SigningAlgorithm.ECDSA_SHA_256,
}


def run_selftest(session: Session, offer: Offer, calls: DirectCalls) -> None:
    """Run the tests of every mechanism that the token offers; some 20 ms.

    Raises:
        StrongroomError: HSM_UNAVAILABLE naming the mechanism whose answer is wrong.
        PKCS11Error: the token fails.
    """
    for mechanisms, test in _TESTS:
        if offer.has(*mechanisms) and not test(session, calls):
            names = ", ".join(f"CKM_{m.name}" for m in mechanisms)
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=f"self-test: {names} gives a wrong answer")


def _random(session: Session, _: DirectCalls) -> bool:
    return bool(session.generate_random(256) != session.generate_random(256))


def _xaes(session: Session, calls: DirectCalls) -> bool:
    """Vector 1 of C2SP's XAES-256-GCM, and a forgery that must not open."""
    root = _secret(session, KeyFamily.AES, bytes([1] * 32), Duty((A.DERIVE,), (M.AES_ECB_ENCRYPT_DATA,)))
    mask = mask_of(encrypt_block(session, root.handle, bytes(16)))
    blocks = derivation_blocks(mask, b"ABCDEFGHIJKL")
    subkey = handles.derive_blocks(session, root.handle, blocks, SUBKEY)
    root.destroy()
    sealed = calls.encrypt_gcm(session, subkey.handle, b"MNOPQRSTUVWX", b"", b"XAES-256-GCM")
    opened = calls.decrypt_gcm(session, subkey.handle, b"MNOPQRSTUVWX", b"", sealed)
    forged = _opens(session, calls, subkey.handle, bytes([sealed[0] ^ 1]) + sealed[1:])
    subkey.destroy()
    return sealed.hex() == _XAES_ANSWER and opened == b"XAES-256-GCM" and not forged


_XAES_ANSWER: Final = "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"


def _opens(session: Session, calls: DirectCalls, handle: int, sealed: bytes, aad: bytes = b"") -> bool:
    try:
        calls.decrypt_gcm(session, handle, b"MNOPQRSTUVWX", aad, sealed)
    except PKCS11Error:
        return False
    return True


def _gcm(session: Session, calls: DirectCalls) -> bool:
    """AES-256-GCM under the key itself, by both ways into the module, and a forgery that must not open."""
    key, iv = _secret(session, KeyFamily.AES, _SECRET, GCM_DUTY), b"MNOPQRSTUVWX"
    answers = {
        handles.encrypt_gcm(session, key.handle, iv, _MAC_SECRET, LABEL),
        calls.encrypt_gcm(session, key.handle, iv, _MAC_SECRET, LABEL),
    }
    right = AESGCM(_SECRET).encrypt(iv, LABEL, _MAC_SECRET)
    opened = {
        handles.decrypt_gcm(session, key.handle, iv, _MAC_SECRET, right),
        calls.decrypt_gcm(session, key.handle, iv, _MAC_SECRET, right),
    }
    forged = _opens(session, calls, key.handle, bytes([right[0] ^ 1]) + right[1:], _MAC_SECRET)
    key.destroy()
    return answers == {right} and opened == {LABEL} and not forged


def _hmac(mechanism: Mechanism) -> Test:
    def test(session: Session, calls: DirectCalls) -> bool:
        key = _secret(session, KeyFamily.HMAC, _MAC_SECRET, Duty((A.SIGN,), (mechanism,)))
        answers = {
            handles.sign(session, key.handle, mechanism, None, LABEL),
            calls.sign(session, key.handle, mechanism, LABEL),
        }
        key.destroy()
        return answers == {hmac.digest(_MAC_SECRET, LABEL, _MAC_NAMES[mechanism])}

    return test


def _key_wrap(session: Session, _: DirectCalls) -> bool:
    """RFC 5649 against software, in both directions; a damaged blob must not unwrap."""
    kek = _secret(session, KeyFamily.AES, bytes(32), Duty((A.WRAP, A.UNWRAP), (M.AES_KEY_WRAP_PAD,)))
    key = session.create_object({**_BORN_SECRET, A.VALUE: _SECRET})
    blob = handles.wrap(session, kek.handle, M.AES_KEY_WRAP_PAD, key.handle)
    key.destroy()
    back = handles.take_value(handles.unwrap(session, kek.handle, blob, MASK))
    damaged = _unwraps(session, kek.handle, bytes([blob[0] ^ 1]) + blob[1:])
    kek.destroy()
    return blob == keywrap.aes_key_wrap_with_padding(bytes(32), _SECRET) and back == _SECRET and not damaged


_BORN_SECRET: Final = pack(template(KeyFamily.HMAC, Life.BORN, Duty((A.SIGN,), (M.SHA256_HMAC,))))


def _unwraps(session: Session, kek: int, blob: bytes) -> bool:
    try:
        handles.unwrap(session, kek, blob, MASK).destroy()
    except PKCS11Error:
        return False
    return True


def _ecdsa(session: Session, calls: DirectCalls) -> bool:
    return all(_signs(session, calls, spec, algorithm) for spec, algorithm in _EC_SIGNING.items())


def _signs(session: Session, calls: DirectCalls, spec: KeySpec, algorithm: SigningAlgorithm) -> bool:
    """Sign by both ways into the module."""
    public = ec.derive_private_key(_SCALAR, SOFTWARE_CURVES[spec]).public_key()
    key = _curve_key(session, spec, KeyFamily.EC, _scalar(spec), Duty((A.SIGN,), (M.ECDSA,)))
    digest = hashlib.new(DIGESTS[algorithm], LABEL).digest()
    direct = encode_signature(algorithm, calls.sign(session, key.handle, M.ECDSA, digest))
    good = _signature_verifies(session, key, algorithm, public)
    key.destroy()
    return good and verifies(public, algorithm, digest, direct)


def _ecdh(session: Session, _: DirectCalls) -> bool:
    software = ec.derive_private_key(_SCALAR, ec.SECP256R1())
    peer = ec.derive_private_key(_SCALAR + 1, ec.SECP256R1()).public_key()
    point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    duty = Duty((A.DERIVE,), (M.ECDH1_DERIVE,))
    key = _curve_key(session, KeySpec.ECC_NIST_P256, KeyFamily.EC, _scalar(KeySpec.ECC_NIST_P256), duty)
    answer = handles.take_value(handles.derive_ecdh(session, key.handle, point, 32, MASK))
    key.destroy()
    return answer == software.exchange(ec.ECDH(), peer)


def _eddsa(session: Session, calls: DirectCalls) -> bool:
    software = ed25519.Ed25519PrivateKey.from_private_bytes(_SECRET)
    duty = Duty((A.SIGN,), (M.EDDSA,))
    key = _curve_key(session, KeySpec.ECC_NIST_EDWARDS25519, KeyFamily.EDWARDS, _SECRET, duty)
    answers = {
        handles.sign(session, key.handle, M.EDDSA, None, LABEL),
        calls.sign(session, key.handle, M.EDDSA, LABEL),
    }
    key.destroy()
    return answers == {software.sign(LABEL)}


def _rsa_signing(session: Session, _: DirectCalls) -> bool:
    """PKCS#1 v1.5 and PSS over each digest, verified in software."""
    key = _rsa_key(session, Duty((A.SIGN,), (M.RSA_PKCS, M.RSA_PKCS_PSS)))
    public = _RSA.public_key()
    good = all(
        _signature_verifies(session, key, algorithm, public)
        for algorithm in SigningAlgorithm
        if algorithm.startswith("RSASSA")
    )
    key.destroy()
    return good


def _rsa_decryption(session: Session, _: DirectCalls) -> bool:
    """OAEP with SHA-1 in the token, and with SHA-256 by raw RSA and libcrypto."""
    key = _rsa_key(session, Duty((A.DECRYPT,), (M.RSA_PKCS_OAEP, M.RSA_X_509)))
    public = _RSA.public_key()
    sha1 = hashes.SHA1()  # noqa: S303 - OAEP needs no collision resistance (RFC 8017, 7.1)
    inside = handles.decrypt_rsa(session, key.handle, M.RSA_PKCS_OAEP, public.encrypt(LABEL, _oaep(sha1)))
    block = raw_decrypt(session, key.handle, public, public.encrypt(LABEL, _oaep(hashes.SHA256())))
    key.destroy()
    return inside == LABEL and Padding().remove(block) == LABEL


def _oaep(digest: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(digest), digest, None)


def _signature_verifies(
    session: Session, key: TokenObject, algorithm: SigningAlgorithm, public: PublicKey
) -> bool:
    how = SIGNING[algorithm]
    digest = hashlib.new(DIGESTS[algorithm], LABEL).digest()
    raw = handles.sign(session, key.handle, how.mechanism, how.parameter, how.prefix + digest)
    return verifies(public, algorithm, digest, encode_signature(algorithm, raw))


def _secret(session: Session, family: KeyFamily, value: bytes, duty: Duty) -> TokenObject:
    return session.create_object(pack({**template(family, Life.SEALED, duty), A.VALUE: value}))


def _curve_key(session: Session, spec: KeySpec, family: KeyFamily, value: bytes, duty: Duty) -> TokenObject:
    parts = {A.EC_PARAMS: CURVES[spec], A.VALUE: value}
    return session.create_object(pack({**template(family, Life.SEALED, duty), **parts}))


def _scalar(spec: KeySpec) -> bytes:
    return _SCALAR.to_bytes((SOFTWARE_CURVES[spec].key_size + 7) // 8, "big")


def _rsa_key(session: Session, duty: Duty) -> TokenObject:
    numbers = _RSA.private_numbers()
    parts = {
        A.MODULUS: numbers.public_numbers.n,
        A.PUBLIC_EXPONENT: numbers.public_numbers.e,
        A.PRIVATE_EXPONENT: numbers.d,
        A.PRIME_1: numbers.p,
        A.PRIME_2: numbers.q,
        A.EXPONENT_1: numbers.dmp1,
        A.EXPONENT_2: numbers.dmq1,
        A.COEFFICIENT: numbers.iqmp,
    }
    octets = {name: number.to_bytes((number.bit_length() + 7) // 8, "big") for name, number in parts.items()}
    return session.create_object(pack({**template(KeyFamily.RSA, Life.SEALED, duty), **octets}))


def _make_rsa() -> rsa.RSAPrivateKey:
    exponent = 65_537
    d = pow(exponent, -1, (_PRIME_1 - 1) * (_PRIME_2 - 1))
    return rsa.RSAPrivateNumbers(
        p=_PRIME_1,
        q=_PRIME_2,
        d=d,
        dmp1=d % (_PRIME_1 - 1),
        dmq1=d % (_PRIME_2 - 1),
        iqmp=pow(_PRIME_2, -1, _PRIME_1),
        public_numbers=rsa.RSAPublicNumbers(exponent, _PRIME_1 * _PRIME_2),
    ).private_key()


_RSA: Final = _make_rsa()

_TESTS: Final[tuple[tuple[tuple[Mechanism, ...], Test], ...]] = (
    ((), _random),
    ((M.AES_ECB_ENCRYPT_DATA, M.AES_GCM), _xaes),
    ((M.AES_GCM,), _gcm),
    *(((mechanism,), _hmac(mechanism)) for mechanism in HMACS.values()),
    ((M.AES_KEY_WRAP_PAD,), _key_wrap),
    ((M.ECDSA,), _ecdsa),
    ((M.ECDH1_DERIVE,), _ecdh),
    ((M.EDDSA,), _eddsa),
    ((M.RSA_PKCS, M.RSA_PKCS_PSS), _rsa_signing),
    ((M.RSA_PKCS_OAEP, M.RSA_X_509), _rsa_decryption),
)
