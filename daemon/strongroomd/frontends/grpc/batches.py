"""CryptoService on the wire: batches, and the stream of single operations."""

import asyncio
import dataclasses
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strongroom.v1 import crypto_pb2 as pb
from strongroomd.custody.batches import Batches
from strongroomd.custody.crypto import Crypto
from strongroomd.custody.sealing import Ciphertext, Opened, Sealed
from strongroomd.custody.signing import Signature, Signing
from strongroomd.domain.context import Context
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import MAX_BATCH
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.convert import crc
from strongroomd.frontends.grpc.crypto import CryptoMethods, encryption, to_sign
from strongroomd.frontends.grpc.door import Call, Refused, grant_tokens
from strongroomd.frontends.grpc.status import retry_delay
from strongroomd.telemetry import logs

if TYPE_CHECKING:
    from google.protobuf.message import Message

_log = logs.get("grpc")
T = TypeVar("T")
STREAM_IN_FLIGHT: Final = 64


class CryptoServicer(CryptoMethods):
    """The whole of CryptoService."""

    def __init__(
        self,
        crypto: Crypto,
        signing: Signing,
        batches: Batches,
        stream_seconds: float,
        count_items: Callable[[str, str, int], None] = lambda _method, _outcome, _number: None,
    ) -> None:
        super().__init__(crypto, signing)
        self._count_items = count_items
        self._batches = batches
        self._stream_seconds = stream_seconds
        self._operations: dict[str, Callable[[Any, Call], Awaitable[Message]]] = {
            "encrypt": self.Encrypt,
            "decrypt": self.Decrypt,
            "re_encrypt": self.ReEncrypt,
            "generate_data_key": self.GenerateDataKey,
            "sign": self.Sign,
            "verify": self.Verify,
            "generate_mac": self.GenerateMac,
            "verify_mac": self.VerifyMac,
        }

    async def BatchEncrypt(self, request: pb.BatchEncryptRequest, call: Call) -> pb.BatchEncryptResponse:
        """Encrypt many plaintexts under one key."""
        items = _items(request.items, _plaintext)
        batch = await self._batches.encrypt(
            call.caller, request.key, items, encryption(request.encryption_algorithm), dry_run=request.dry_run
        )
        self._count("BatchEncrypt", batch.results)
        results = [_encrypted(i, r) for i, r in zip(request.items, batch.results, strict=True)]
        made = next((r for r in batch.results if isinstance(r, Sealed)), None)
        if made is None:
            return pb.BatchEncryptResponse(results=results)
        return pb.BatchEncryptResponse(
            results=results,
            key_arn=made.key_arn,
            key_version=made.version,
            encryption_algorithm=convert.to_wire(made.algorithm),
        )

    async def BatchDecrypt(self, request: pb.BatchDecryptRequest, call: Call) -> pb.BatchDecryptResponse:
        """Decrypt many ciphertexts."""

        def ciphertext(item: pb.BatchDecryptItem) -> Ciphertext:
            convert.checked(
                item.ciphertext, item.HasField("ciphertext_crc32c"), item.ciphertext_crc32c, "ciphertext"
            )
            context = convert.context(item.encryption_context)
            return Ciphertext(item.ciphertext, request.key, context=context)

        items = _items(request.items, ciphertext)
        batch = await self._batches.decrypt(call.caller, items, dry_run=request.dry_run)
        self._count("BatchDecrypt", batch.results)
        results = [_decrypted(i, r) for i, r in zip(request.items, batch.results, strict=True)]
        return pb.BatchDecryptResponse(results=results)

    async def BatchSign(self, request: pb.BatchSignRequest, call: Call) -> pb.BatchSignResponse:
        """Sign many messages under one key."""
        items = _items(request.items, _message)
        batch = await self._batches.sign(
            call.caller, request.key, items, to_sign(request), dry_run=request.dry_run
        )
        self._count("BatchSign", batch.results)
        results = [_signed(i, r) for i, r in zip(request.items, batch.results, strict=True)]
        made = next((r for r in batch.results if isinstance(r, Signature)), None)
        if made is None:
            return pb.BatchSignResponse(results=results)
        return pb.BatchSignResponse(
            results=results,
            key_arn=made.key_arn,
            key_version=made.version,
            signing_algorithm=convert.to_wire(made.algorithm),
        )

    def _count(self, method: str, results: Sequence[object]) -> None:
        outcomes = Counter(r.reason.value if isinstance(r, StrongroomError) else "OK" for r in results)
        for outcome, number in outcomes.items():
            self._count_items(method, outcome, number)

    async def Operate(
        self, requests: AsyncIterator[pb.OperateRequest | Refused], call: Call
    ) -> AsyncIterator[pb.OperateResponse]:
        """Answer operations as they finish, at most 64 at once; each passes the gate by itself.

        The certificate is asked about anew for each: one that speaks for nobody any more ends the stream,
        once what had begun is answered.
        """
        replies: asyncio.Queue[pb.OperateResponse | None] = asyncio.Queue()
        room = asyncio.Semaphore(STREAM_IN_FLIGHT)

        async def answer(request: pb.OperateRequest | Refused, now: Call) -> None:
            replies.put_nowait(await self._operate(request, now))

        async def read() -> None:
            refused: StrongroomError | None = None
            try:
                async with asyncio.TaskGroup() as running:
                    async for request in requests:
                        await room.acquire()
                        try:
                            now = _renewed(call)
                        except StrongroomError as error:
                            refused = error
                            break
                        running.create_task(answer(request, now))
                if refused is not None:
                    raise refused
            finally:
                replies.put_nowait(None)

        reader = asyncio.ensure_future(read())
        try:
            while (reply := await replies.get()) is not None:
                room.release()
                yield reply
            await reader
        finally:
            reader.cancel()

    async def _operate(self, request: pb.OperateRequest | Refused, call: Call) -> pb.OperateResponse:
        deadline = min(call.caller.deadline, time.monotonic() + self._stream_seconds)
        caller = dataclasses.replace(call.caller, request_id=secrets.token_hex(8), deadline=deadline)
        number = 0 if isinstance(request, Refused) else request.id
        try:
            return await self._answer(request, dataclasses.replace(call, caller=caller))
        except StrongroomError as error:
            answer = error
            if call.settle is not None:
                answer = await call.settle(error, "Operate", caller.request_id, caller)
        except Exception:  # noqa: BLE001 - a bug in one request must not end the others
            _log.exception("call failed", method="Operate", request_id=caller.request_id)
            answer = StrongroomError(Reason.INTERNAL)
        return pb.OperateResponse(id=number, error=item_error(answer))

    async def _answer(self, request: pb.OperateRequest | Refused, call: Call) -> pb.OperateResponse:
        if isinstance(request, Refused):
            raise request.error
        which = request.WhichOneof("operation")
        if which is None:
            raise invalid("operation", "must be set")
        operation = getattr(request, which)
        call.caller.grant_tokens = grant_tokens(operation)
        answer = pb.OperateResponse(id=request.id)
        getattr(answer, which).CopyFrom(await self._operations[which](operation, call))
        return answer


def _renewed(call: Call) -> Call:
    """Make the call as it would begin now."""
    peer = call.renew()
    return dataclasses.replace(
        call, peer=peer, caller=dataclasses.replace(call.caller, principal=peer.principal)
    )


def _items(items: Sequence[Any], convert_item: Callable[[Any], T]) -> list[T | StrongroomError]:
    """Convert a batch's items; one that is wrong stays in its place as an error."""
    if len(items) > MAX_BATCH:
        raise too_large("items", MAX_BATCH, "items")
    converted: list[T | StrongroomError] = []
    for item in items:
        try:
            converted.append(convert_item(item))
        except StrongroomError as error:
            converted.append(error)
    return converted


def _plaintext(item: pb.BatchEncryptItem) -> tuple[bytes, Context]:
    convert.checked(item.plaintext, item.HasField("plaintext_crc32c"), item.plaintext_crc32c, "plaintext")
    return item.plaintext, convert.context(item.encryption_context)


def _message(item: pb.BatchSignItem) -> bytes:
    convert.checked(item.message, item.HasField("message_crc32c"), item.message_crc32c, "message")
    return item.message


def _encrypted(item: pb.BatchEncryptItem, result: Sealed | StrongroomError) -> pb.BatchEncryptResult:
    if isinstance(result, StrongroomError):
        return pb.BatchEncryptResult(error=item_error(result))
    return pb.BatchEncryptResult(
        success=pb.BatchEncryptSuccess(
            ciphertext=result.ciphertext,
            ciphertext_crc32c=crc(result.ciphertext),
            verified_plaintext_crc32c=item.HasField("plaintext_crc32c"),
        )
    )


def _decrypted(item: pb.BatchDecryptItem, result: Opened | StrongroomError) -> pb.BatchDecryptResult:
    if isinstance(result, StrongroomError):
        return pb.BatchDecryptResult(error=item_error(result))
    return pb.BatchDecryptResult(
        success=pb.BatchDecryptSuccess(
            plaintext=result.plaintext,
            key_arn=result.key_arn,
            key_version=result.version,
            plaintext_crc32c=crc(result.plaintext),
            verified_ciphertext_crc32c=item.HasField("ciphertext_crc32c"),
        )
    )


def _signed(item: pb.BatchSignItem, result: Signature | StrongroomError) -> pb.BatchSignResult:
    if isinstance(result, StrongroomError):
        return pb.BatchSignResult(error=item_error(result))
    return pb.BatchSignResult(
        success=pb.BatchSignSuccess(
            signature=result.signature,
            signature_crc32c=crc(result.signature),
            verified_message_crc32c=item.HasField("message_crc32c"),
        )
    )


def item_error(error: StrongroomError) -> pb.ItemError:
    """Spell an error of one item; only public text goes on the wire."""
    wait = None if error.retry_after is None else retry_delay(error.retry_after)
    return pb.ItemError(
        reason=error.reason.value, message=error.message, field=error.field or "", retry_after=wait
    )
