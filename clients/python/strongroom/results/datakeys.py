"""CryptoService: data keys and pairs that are made for use outside the HSM."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in clear and encrypted. Use the plaintext, then forget it."""

    plaintext: bytes = field(repr=False)
    ciphertext: bytes
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class SealedDataKey:
    """A data key that only Decrypt can open."""

    ciphertext: bytes
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class DataKeyPair:
    """A key pair: the private half (PKCS#8 DER) in clear and encrypted, the public half in DER."""

    private_key: bytes = field(repr=False)
    sealed_private_key: bytes
    public_key: bytes
    spec: str
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class SealedDataKeyPair:
    """A key pair whose private half only Decrypt can open."""

    sealed_private_key: bytes
    public_key: bytes
    spec: str
    key_arn: str
    key_version: int
