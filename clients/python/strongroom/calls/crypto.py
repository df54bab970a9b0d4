"""CryptoService: encryption, signatures, MACs, key agreement and random bytes."""

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.v1 import crypto_pb2 as pb

Context = Mapping[str, str]
"""Encryption context: bound to the ciphertext, never secret; the audit log has its names in clear."""

_SERVICE: Final = "CryptoService"
_ENCRYPT: Final = Rpc(_SERVICE, "Encrypt", pb.EncryptRequest, pb.EncryptResponse)
_DECRYPT: Final = Rpc(_SERVICE, "Decrypt", pb.DecryptRequest, pb.DecryptResponse)
_RE_ENCRYPT: Final = Rpc(_SERVICE, "ReEncrypt", pb.ReEncryptRequest, pb.ReEncryptResponse)
_SIGN: Final = Rpc(_SERVICE, "Sign", pb.SignRequest, pb.SignResponse)
_VERIFY: Final = Rpc(_SERVICE, "Verify", pb.VerifyRequest, pb.VerifyResponse)
_GENERATE_MAC: Final = Rpc(_SERVICE, "GenerateMac", pb.GenerateMacRequest, pb.GenerateMacResponse)
_VERIFY_MAC: Final = Rpc(_SERVICE, "VerifyMac", pb.VerifyMacRequest, pb.VerifyMacResponse)
_DERIVE: Final = Rpc(
    _SERVICE, "DeriveSharedSecret", pb.DeriveSharedSecretRequest, pb.DeriveSharedSecretResponse
)
_RANDOM: Final = Rpc(_SERVICE, "GenerateRandom", pb.GenerateRandomRequest, pb.GenerateRandomResponse)


def encrypt(
    key: str,
    plaintext: bytes,
    *,
    context: Context | None = None,
    algorithm: str = "",
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Encrypted]:
    """Encrypt a small plaintext under the current version of a key.

    Args:
        key: key id, key ARN, alias or alias ARN.
        plaintext: 1 to 4,096 bytes (the daemon may allow more); under RSA what the scheme allows.
        context: encryption context; Decrypt must be given the same. Symmetric keys only.
        algorithm: an EncryptionAlgorithm; required for an RSA key.
        dry_run: make the checks only; raises DryRunSucceeded if they pass.
        grant_tokens: tokens of grants that allow this, at most 10, so that they count at once.
    """
    request = _ENCRYPT.make(
        key=key,
        plaintext=plaintext,
        encryption_context=context or {},
        encryption_algorithm=enums.ENCRYPTION.number(algorithm, "encryption_algorithm"),
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _ENCRYPT.call(request, _encrypted)


def decrypt(
    ciphertext: bytes,
    *,
    key: str = "",
    context: Context | None = None,
    algorithm: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Decrypted]:
    """Open a ciphertext; a symmetric one names its key itself, an RSA one needs `key` and `algorithm`.

    A `key` that is given must be the ciphertext's: KEY_MISMATCH otherwise. Any other mistake, and any
    forgery, is INVALID_CIPHERTEXT.
    """
    request = _DECRYPT.make(
        ciphertext=ciphertext,
        key=key,
        encryption_context=context or {},
        encryption_algorithm=enums.ENCRYPTION.number(algorithm, "encryption_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _DECRYPT.call(request, _decrypted)


def re_encrypt(  # noqa: PLR0913
    ciphertext: bytes,
    destination_key: str,
    *,
    source_key: str = "",
    source_key_version: int = 0,
    source_context: Context | None = None,
    source_algorithm: str = "",
    destination_context: Context | None = None,
    destination_algorithm: str = "",
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.ReEncrypted]:
    """Open a ciphertext and encrypt it under another key or context; the plaintext stays in the daemon."""
    request = _RE_ENCRYPT.make(
        ciphertext=ciphertext,
        source_key=source_key,
        source_key_version=source_key_version,
        source_encryption_context=source_context or {},
        source_encryption_algorithm=enums.ENCRYPTION.number(source_algorithm, "source_encryption_algorithm"),
        destination_key=destination_key,
        destination_encryption_context=destination_context or {},
        destination_encryption_algorithm=enums.ENCRYPTION.number(
            destination_algorithm, "destination_encryption_algorithm"
        ),
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _RE_ENCRYPT.call(request, _re_encrypted)


def sign(
    key: str,
    message: bytes,
    *,
    algorithm: str = "",
    message_type: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Signature]:
    """Sign a message of at most 4,096 bytes, or its digest.

    Args:
        key: key id, key ARN, alias or alias ARN.
        message: the message, or its digest if `message_type` is DIGEST.
        algorithm: a SigningAlgorithm; may be left empty for a curve key, which has one only.
        message_type: RAW (the default) or DIGEST.
        key_version: 0 means the current one.
        dry_run: make the checks only; raises DryRunSucceeded if they pass.
        grant_tokens: tokens of grants that allow this, at most 10, so that they count at once.
    """
    request = _SIGN.make(
        key=key,
        message=message,
        message_type=enums.MESSAGE_TYPE.number(message_type, "message_type"),
        signing_algorithm=enums.SIGNING.number(algorithm, "signing_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _SIGN.call(request, _signature)


def verify(  # noqa: PLR0913
    key: str,
    message: bytes,
    signature: bytes,
    *,
    algorithm: str = "",
    message_type: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Verified]:
    """Verify a signature; an answer means that it is valid, else NotGenuine is raised."""
    request = _VERIFY.make(
        key=key,
        message=message,
        message_type=enums.MESSAGE_TYPE.number(message_type, "message_type"),
        signature=signature,
        signing_algorithm=enums.SIGNING.number(algorithm, "signing_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _VERIFY.call(request, _verified)


def generate_mac(
    key: str,
    message: bytes,
    *,
    algorithm: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Mac]:
    """Make the MAC of a message of 1 to 4,096 bytes."""
    request = _GENERATE_MAC.make(
        key=key,
        message=message,
        mac_algorithm=enums.MAC.number(algorithm, "mac_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _GENERATE_MAC.call(request, _mac)


def verify_mac(
    key: str,
    message: bytes,
    mac: bytes,
    *,
    algorithm: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.Verified]:
    """Verify a MAC in constant time; an answer means that it is valid, else NotGenuine is raised."""
    request = _VERIFY_MAC.make(
        key=key,
        message=message,
        mac=mac,
        mac_algorithm=enums.MAC.number(algorithm, "mac_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _VERIFY_MAC.call(request, _verified_mac)


def derive_shared_secret(
    key: str,
    public_key: bytes,
    *,
    algorithm: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.SharedSecret]:
    """Agree on a secret with the owner of a public key (SubjectPublicKeyInfo, DER) on the same curve."""
    request = _DERIVE.make(
        key=key,
        public_key=public_key,
        key_agreement_algorithm=enums.KEY_AGREEMENT.number(algorithm, "key_agreement_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _DERIVE.call(request, _shared_secret)


def generate_random(number_of_bytes: int, *, dry_run: bool = False) -> Call[results.RandomBytes]:
    """Draw 1 to 1,024 random bytes from the HSM."""
    request = _RANDOM.make(number_of_bytes=number_of_bytes, dry_run=dry_run)
    return _RANDOM.call(request, lambda reply: results.RandomBytes(reply.plaintext))


def _encrypted(reply: pb.EncryptResponse) -> results.Encrypted:
    algorithm = enums.ENCRYPTION.name(reply.encryption_algorithm)
    return results.Encrypted(reply.ciphertext, reply.key_arn, reply.key_version, algorithm)


def _decrypted(reply: pb.DecryptResponse) -> results.Decrypted:
    algorithm = enums.ENCRYPTION.name(reply.encryption_algorithm)
    return results.Decrypted(reply.plaintext, reply.key_arn, reply.key_version, algorithm)


def _re_encrypted(reply: pb.ReEncryptResponse) -> results.ReEncrypted:
    return results.ReEncrypted(
        ciphertext=reply.ciphertext,
        key_arn=reply.destination_key_arn,
        key_version=reply.destination_key_version,
        algorithm=enums.ENCRYPTION.name(reply.destination_encryption_algorithm),
        source_key_arn=reply.source_key_arn,
        source_key_version=reply.source_key_version,
        source_algorithm=enums.ENCRYPTION.name(reply.source_encryption_algorithm),
    )


def _signature(reply: pb.SignResponse) -> results.Signature:
    algorithm = enums.SIGNING.name(reply.signing_algorithm)
    return results.Signature(reply.signature, reply.key_arn, reply.key_version, algorithm)


def _verified(reply: pb.VerifyResponse) -> results.Verified:
    algorithm = enums.SIGNING.name(reply.signing_algorithm)
    return results.Verified(reply.key_arn, reply.key_version, algorithm)


def _mac(reply: pb.GenerateMacResponse) -> results.Mac:
    algorithm = enums.MAC.name(reply.mac_algorithm)
    return results.Mac(reply.mac, reply.key_arn, reply.key_version, algorithm)


def _verified_mac(reply: pb.VerifyMacResponse) -> results.Verified:
    return results.Verified(reply.key_arn, reply.key_version, enums.MAC.name(reply.mac_algorithm))


def _shared_secret(reply: pb.DeriveSharedSecretResponse) -> results.SharedSecret:
    algorithm = enums.KEY_AGREEMENT.name(reply.key_agreement_algorithm)
    return results.SharedSecret(reply.shared_secret, reply.key_arn, reply.key_version, algorithm)
