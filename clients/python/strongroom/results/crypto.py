"""CryptoService: what keys make and open, each with the version that did it."""

from dataclasses import dataclass, field

from strongroom.errors import StrongroomError


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A ciphertext and the key version that made it."""

    ciphertext: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Decrypted:
    """A plaintext and the key version that opened it."""

    plaintext: bytes = field(repr=False)
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class ReEncrypted:
    """A new ciphertext, the key version that made it, and the one that opened the old ciphertext."""

    ciphertext: bytes
    key_arn: str
    key_version: int
    algorithm: str
    source_key_arn: str
    source_key_version: int
    source_algorithm: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the key version that made it."""

    signature: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature or MAC that is valid: one that is not raises NotGenuine."""

    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Mac:
    """A MAC and the key version that made it."""

    mac: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """The raw ECDH secret: put it through a key derivation function before use."""

    secret: bytes = field(repr=False)
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class RandomBytes:
    """Random bytes from the HSM."""

    data: bytes = field(repr=False)


EncryptResult = Encrypted | StrongroomError
DecryptResult = Decrypted | StrongroomError
SignResult = Signature | StrongroomError
"""What became of one item of a batch: its answer, or why it has none (returned, not raised)."""
