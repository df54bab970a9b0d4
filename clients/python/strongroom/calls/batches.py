"""CryptoService: one call with up to 500 items, each with its own result.

These functions are the RPCs as they stand. `Client.encrypt_many` and its sisters (strongroom.bulk) cut any
number of items into such calls and ask again for those that only had to wait.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, Protocol, TypeVar

from google.protobuf.message import Message

from strongroom import _enums as enums
from strongroom import results
from strongroom._faults import from_item
from strongroom._rpc import Call, Rpc, check_reply, make
from strongroom.calls.crypto import Context
from strongroom.errors import StrongroomError, damaged
from strongroom.v1 import crypto_pb2 as pb

WithContext = tuple[bytes, Context]
"""An item of a batch with an encryption context of its own."""

Success_co = TypeVar("Success_co", bound=Message, covariant=True)
Answer = TypeVar("Answer")


class _Result(Protocol[Success_co]):
    """One result of a batch answer: a oneof of success and error."""

    @property
    def success(self) -> Success_co: ...
    @property
    def error(self) -> pb.ItemError: ...
    def WhichOneof(self, oneof_group: Literal["result"], /) -> str | None: ...  # noqa: N802 - protobuf's name


_SERVICE: Final = "CryptoService"
_ENCRYPT: Final = Rpc(_SERVICE, "BatchEncrypt", pb.BatchEncryptRequest, pb.BatchEncryptResponse)
_DECRYPT: Final = Rpc(_SERVICE, "BatchDecrypt", pb.BatchDecryptRequest, pb.BatchDecryptResponse)
_SIGN: Final = Rpc(_SERVICE, "BatchSign", pb.BatchSignRequest, pb.BatchSignResponse)


def batch_encrypt(
    key: str,
    items: Sequence[bytes | WithContext],
    *,
    context: Context | None = None,
    algorithm: str = "",
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[tuple[results.EncryptResult, ...]]:
    """Encrypt 1 to 500 plaintexts under one key; `context` is that of items that carry none of their own."""
    request = _ENCRYPT.make(
        key=key,
        items=[
            make(pb.BatchEncryptItem, plaintext=data, encryption_context=own)
            for data, own in with_contexts(items, context)
        ],
        encryption_algorithm=enums.ENCRYPTION.number(algorithm, "encryption_algorithm"),
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )

    def read(reply: pb.BatchEncryptResponse) -> tuple[results.EncryptResult, ...]:
        algorithm = enums.ENCRYPTION.name(reply.encryption_algorithm)

        def encrypted(success: pb.BatchEncryptSuccess) -> results.Encrypted:
            return results.Encrypted(success.ciphertext, reply.key_arn, reply.key_version, algorithm)

        return _results(len(items), reply.results, encrypted)

    return _ENCRYPT.call(request, read)


def batch_decrypt(
    items: Sequence[bytes | WithContext],
    *,
    key: str = "",
    context: Context | None = None,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[tuple[results.DecryptResult, ...]]:
    """Open 1 to 500 symmetric ciphertexts, which may be of different keys unless `key` is given."""
    request = _DECRYPT.make(
        items=[
            make(pb.BatchDecryptItem, ciphertext=data, encryption_context=own)
            for data, own in with_contexts(items, context)
        ],
        key=key,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )
    return _DECRYPT.call(request, lambda reply: _results(len(items), reply.results, _decrypted))


def batch_sign(
    key: str,
    messages: Sequence[bytes],
    *,
    algorithm: str = "",
    message_type: str = "",
    key_version: int = 0,
    dry_run: bool = False,
    grant_tokens: Sequence[str] = (),
) -> Call[tuple[results.SignResult, ...]]:
    """Sign 1 to 500 messages or digests with one key."""
    request = _SIGN.make(
        key=key,
        items=[make(pb.BatchSignItem, message=message) for message in messages],
        message_type=enums.MESSAGE_TYPE.number(message_type, "message_type"),
        signing_algorithm=enums.SIGNING.number(algorithm, "signing_algorithm"),
        key_version=key_version,
        dry_run=dry_run,
        grant_tokens=grant_tokens,
    )

    def read(reply: pb.BatchSignResponse) -> tuple[results.SignResult, ...]:
        algorithm = enums.SIGNING.name(reply.signing_algorithm)

        def signed(success: pb.BatchSignSuccess) -> results.Signature:
            return results.Signature(success.signature, reply.key_arn, reply.key_version, algorithm)

        return _results(len(messages), reply.results, signed)

    return _SIGN.call(request, read)


def with_contexts(
    items: Iterable[bytes | WithContext], context: Context | None
) -> Iterable[tuple[bytes, Context]]:
    """Give every item its context: its own, or the one that all share."""
    shared = context or {}
    return (item if isinstance(item, tuple) else (item, shared) for item in items)


def _decrypted(success: pb.BatchDecryptSuccess) -> results.Decrypted:
    # A batch opens symmetric ciphertexts only.
    return results.Decrypted(success.plaintext, success.key_arn, success.key_version, "SYMMETRIC_DEFAULT")


def _results(
    asked: int, found: Sequence[_Result[Success_co]], read: Callable[[Success_co], Answer]
) -> tuple[Answer | StrongroomError, ...]:
    """Read the items of an answer, in order; one that was damaged fails the whole answer."""
    if len(found) != asked:
        raise damaged("the answer has not as many results as the request has items", "results")
    return tuple(_result(each, read) for each in found)


def _result(found: _Result[Success_co], read: Callable[[Success_co], Answer]) -> Answer | StrongroomError:
    kind = found.WhichOneof("result")
    if kind == "error":
        return from_item(found.error)
    if kind != "success":
        raise damaged("an item of the answer has neither success nor error", "results")
    check_reply(found.success)
    return read(found.success)
