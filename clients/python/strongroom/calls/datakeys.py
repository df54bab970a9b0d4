"""CryptoService: data keys and data key pairs, for envelope encryption."""

from collections.abc import Sequence
from typing import Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls.crypto import Context
from strongroom.errors import invalid
from strongroom.v1 import crypto_pb2 as pb

_SERVICE: Final = "CryptoService"
_DATA_KEY: Final = Rpc(_SERVICE, "GenerateDataKey", pb.GenerateDataKeyRequest, pb.GenerateDataKeyResponse)
_SEALED: Final = Rpc(
    _SERVICE,
    "GenerateDataKeyWithoutPlaintext",
    pb.GenerateDataKeyWithoutPlaintextRequest,
    pb.GenerateDataKeyWithoutPlaintextResponse,
)
_PAIR: Final = Rpc(
    _SERVICE, "GenerateDataKeyPair", pb.GenerateDataKeyPairRequest, pb.GenerateDataKeyPairResponse
)
_SEALED_PAIR: Final = Rpc(
    _SERVICE,
    "GenerateDataKeyPairWithoutPlaintext",
    pb.GenerateDataKeyPairWithoutPlaintextRequest,
    pb.GenerateDataKeyPairWithoutPlaintextResponse,
)


def generate_data_key(
    key: str,
    *,
    spec: str = "",
    number_of_bytes: int = 0,
    context: Context | None = None,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.DataKey]:
    """Make a random data key, answered in clear and encrypted under a symmetric key.

    Args:
        key: key id, key ARN, alias or alias ARN.
        spec: AES_256 or AES_128; without spec and number_of_bytes AES_256.
        number_of_bytes: instead of `spec`, 1 to 1,024.
        context: encryption context; opening the data key by Decrypt needs the same.
        dry_run: make the checks only; raises DryRunSucceeded if they pass.
        grant_tokens: tokens of grants that allow this, at most 10, so that they count at once.
    """
    request = _DATA_KEY.make(
        key=key,
        encryption_context=context or {},
        dry_run=dry_run,
        grant_tokens=grant_tokens,
        **_length(spec, number_of_bytes),
    )
    return _DATA_KEY.call(request, _data_key)


def generate_data_key_without_plaintext(
    key: str,
    *,
    spec: str = "",
    number_of_bytes: int = 0,
    context: Context | None = None,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.SealedDataKey]:
    """Make a random data key, answered encrypted only; arguments as of generate_data_key."""
    request = _SEALED.make(
        key=key,
        encryption_context=context or {},
        dry_run=dry_run,
        grant_tokens=grant_tokens,
        **_length(spec, number_of_bytes),
    )
    return _SEALED.call(request, _sealed)


def generate_data_key_pair(
    key: str,
    spec: str,
    *,
    context: Context | None = None,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.DataKeyPair]:
    """Make a key pair (a DataKeyPairSpec); the private half comes in clear and encrypted."""
    request = _PAIR.make(
        key=key,
        key_pair_spec=enums.DATA_KEY_PAIR_SPEC.number(spec, "key_pair_spec"),
        encryption_context=context or {},
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _PAIR.call(request, _pair)


def generate_data_key_pair_without_plaintext(
    key: str,
    spec: str,
    *,
    context: Context | None = None,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[results.SealedDataKeyPair]:
    """Make a key pair (a DataKeyPairSpec); the private half comes encrypted only."""
    request = _SEALED_PAIR.make(
        key=key,
        key_pair_spec=enums.DATA_KEY_PAIR_SPEC.number(spec, "key_pair_spec"),
        encryption_context=context or {},
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _SEALED_PAIR.call(request, _sealed_pair)


def _length(spec: str, number_of_bytes: int) -> dict[str, int]:
    """Choose the member of the request's oneof."""
    if spec and number_of_bytes:
        raise invalid("length", "give data_key_spec or number_of_bytes, not both")
    if number_of_bytes:
        return {"number_of_bytes": number_of_bytes}
    return {"data_key_spec": enums.DATA_KEY_SPEC.number(spec or "AES_256", "data_key_spec")}


def _data_key(reply: pb.GenerateDataKeyResponse) -> results.DataKey:
    return results.DataKey(reply.plaintext, reply.ciphertext, reply.key_arn, reply.key_version)


def _sealed(reply: pb.GenerateDataKeyWithoutPlaintextResponse) -> results.SealedDataKey:
    return results.SealedDataKey(reply.ciphertext, reply.key_arn, reply.key_version)


def _pair(reply: pb.GenerateDataKeyPairResponse) -> results.DataKeyPair:
    return results.DataKeyPair(
        private_key=reply.private_key_plaintext,
        sealed_private_key=reply.private_key_ciphertext,
        public_key=reply.public_key,
        spec=enums.DATA_KEY_PAIR_SPEC.name(reply.key_pair_spec),
        key_arn=reply.key_arn,
        key_version=reply.key_version,
    )


def _sealed_pair(reply: pb.GenerateDataKeyPairWithoutPlaintextResponse) -> results.SealedDataKeyPair:
    return results.SealedDataKeyPair(
        sealed_private_key=reply.private_key_ciphertext,
        public_key=reply.public_key,
        spec=enums.DATA_KEY_PAIR_SPEC.name(reply.key_pair_spec),
        key_arn=reply.key_arn,
        key_version=reply.key_version,
    )
