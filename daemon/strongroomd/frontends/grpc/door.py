"""The native door: turns each gRPC call into a caller and a use case, and each error into a status.

Handlers are registered from the service descriptors: an RPC without a method here stops the daemon at start.
A message that does not parse, or is over the size limit, is answered with a typed error like any other bad
input.
"""

import dataclasses
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from strongroomd.custody.sessions import Sessions, void
from strongroomd.custody.threshold import NOBODY, Attempt, Threshold
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import MAX_GRANT_TOKENS, MAX_REQUEST_NATIVE
from strongroomd.domain.principals import Behalf, Caller, Principal, RoleSession
from strongroomd.frontends.grpc.claims import NO_CLAIMS, read_claims, require_trusted
from strongroomd.frontends.grpc.identity import Identities, Peer
from strongroomd.frontends.grpc.status import CODES, wire_status
from strongroomd.telemetry import logs

_log = logs.get("grpc")
_PROCESS: Final = secrets.token_hex(8)
TOKENS: Final = "grant_tokens"
"""The field of every request that a grant can bear on."""
_NEVER: Final = float("inf")
_RETRY_SECONDS: Final = 0.1
_REQUEST_IDS: Final = (f"{_PROCESS}{number:08x}" for number in itertools.count())
"""Unique over workers and restarts, without a system call for each."""
BIRTHS: Final = frozenset(
    {"CreateKey", "RotateKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
)
"""Methods that may make RSA keys, which takes seconds."""


class Meter(Protocol):
    """Counts finished calls of one method."""

    def observe(self, code: str, seconds: float) -> None:
        """Count one call."""
        ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Longest time in seconds that a call may take, whatever its client allows."""

    crypto: float
    management: float
    birth: float = 60.0


def kind_of(method: MethodDescriptor) -> str:
    """Say which of the deadlines bounds a method."""
    if method.name in BIRTHS:
        return "birth"
    return "crypto" if method.containing_service.name == "CryptoService" else "management"


class Door:
    """What all handlers share.

    Args:
        identities: principals of certificates; replaced when certificates or configuration are reloaded.
        deadlines: limits of time.
        meter: gives each method's meter.
        threshold: writes down what is refused here.
        stranger: told of each call whose certificate names nobody.
        sessions: opens role sessions; None where there are no roles.
        most: how many unary calls, and how many streams, may be served at once.

    Attributes:
        in_flight: unary calls being served.
        streams: streams being served.
        require_time: refuses a deadline that the worker is too late for already. Raises OVERLOADED.
    """

    def __init__(
        self,
        identities: Identities,
        deadlines: Deadlines,
        meter: Callable[[str], Meter],
        threshold: Threshold,
        stranger: Callable[[], None] = lambda: None,
        sessions: Sessions | None = None,
        *,
        most: int,
    ) -> None:
        self.in_flight = 0
        self.streams = 0
        self.require_time: Callable[[float], None] = _enough
        self._most = most
        self._stranger = stranger
        self._threshold = threshold
        self._sessions = sessions
        self.identities = identities
        self.deadlines = deadlines
        self.meter = meter

    def require_room(self, number: int) -> None:
        """Refuse a call that makes `number` at once, if that is too many.

        Raises:
            StrongroomError: OVERLOADED with a hint when to try again.
        """
        if number > self._most:
            raise StrongroomError(
                Reason.OVERLOADED, detail="too many calls in flight", retry_after=_RETRY_SECONDS
            )

    async def answer(
        self, context: "_Context", error: StrongroomError, name: str, request_id: str, caller: Caller | None
    ) -> StrongroomError:
        """Settle what the caller is told; what never reached the gate is written down first.

        A worker with too much to do does not also write down whom it sent away.
        """
        if (caller is not None and caller.passed) or error.reason is Reason.OVERLOADED:
            return error
        arn, told = (NOBODY, {}) if caller is None else (caller.principal.arn, caller.told())
        attempt = Attempt("grpc", name, request_id, context.peer(), arn, told)
        try:
            return await self._threshold.refuse(attempt, error)
        except StrongroomError as unwritten:
            return unwritten

    def peer(self, context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
        """Find who holds the other end. Raises UNAUTHENTICATED_PEER."""
        return self.holder(certificate_of(context))

    def holder(self, pem: bytes) -> Peer:
        """Find for whom a certificate (PEM) speaks now. Raises UNAUTHENTICATED_PEER."""
        try:
            return self.identities.peer(pem)
        except StrongroomError as error:
            if error.reason is Reason.UNAUTHENTICATED_PEER:
                self._stranger()
                _log.warning("a peer is nobody that is known", detail=error.detail)
            raise

    def caller(
        self, context: grpc.aio.ServicerContext[Any, Any], request_id: str, limit: float
    ) -> tuple[Caller, Peer]:
        """Make the caller of a call, with its deadline."""
        peer = self.peer(context)
        remaining = context.time_remaining()
        seconds = min(limit, _NEVER if remaining is None else remaining)  # type: ignore[redundant-expr]
        deadline = time.monotonic() + seconds
        identity = f"certificate:{peer.fingerprint}"
        return Caller(peer.principal, request_id, deadline, context.peer(), "grpc", identity=identity), peer

    async def believe(self, caller: Caller, peer: Peer, context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
        """Take over what the call's metadata says of its caller, where it may say it.

        Returns:
            The peer as which the call is made: in a role session the role.

        Raises:
            StrongroomError: ACCESS_DENIED, INVALID_FIELD, FIELD_TOO_LARGE; UNAUTHENTICATED_PEER for a session
                that is not valid.
        """
        claims = read_claims(context.invocation_metadata())
        if claims is NO_CLAIMS:
            return peer
        require_trusted(claims.behalf, peer.principal)
        caller.behalf = claims.behalf
        if claims.session:
            session = await self._opened(claims.session)
            caller.principal = self._role(session, peer)
            caller.session = session
        return dataclasses.replace(peer, principal=caller.principal)

    async def _opened(self, token: str) -> RoleSession:
        if self._sessions is None:
            raise void("there are no roles")
        return await self._sessions.open(token)

    def _role(self, session: RoleSession, peer: Peer) -> Principal:
        if self._sessions is None:
            raise void("there are no roles")
        return self._sessions.role(session, peer.principal, peer.fingerprint)

    def renewed(self, pem: bytes, session: RoleSession | None, behalf: Behalf) -> Peer:
        """Find as whom a stream goes on: its certificate, role session and trust must all still hold."""
        peer = self.holder(pem)
        require_trusted(behalf, peer.principal)
        if session is None:
            return peer
        return dataclasses.replace(peer, principal=self._role(session, peer))


def _enough(_: float) -> None:
    """Find that there is time for everybody."""


def certificate_of(context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    """Give the peer's certificate (PEM); it is the connection's, and does not change while that lives."""
    return next(iter(context.auth_context().get("x509_pem_cert", ())), b"")


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is no message; the error says why."""

    error: StrongroomError


@dataclass(slots=True)
class Call:
    """One call as servicer methods see it.

    Attributes:
        caller: who calls.
        peer: the certificate behind it.
        renew: asks anew for whom the certificate speaks, for streams, which may outlive what was so when they
            began. Raises UNAUTHENTICATED_PEER.
        settle: `Door.answer` for one operation of a stream: error, method, request id and caller.
    """

    caller: Caller
    peer: Peer
    renew: Callable[[], Peer]
    settle: "Settle | None" = None


Settle = Callable[[StrongroomError, str, str, Caller], Awaitable[StrongroomError]]


def generic_handler(service: ServiceDescriptor, servicer: object, door: Door) -> grpc.GenericRpcHandler:
    """Make the handler of a whole service.

    Raises:
        AttributeError: the servicer lacks a method of the service.
    """
    handlers = {
        method.name: _method_handler(method, getattr(servicer, method.name), door)
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _method_handler(method: MethodDescriptor, function: Any, door: Door) -> Any:  # noqa: ANN401 - what grpc's registration functions give
    if TOKENS in method.input_type.fields_by_name:
        function = _with_tokens(function)
    parse, dump = _parser(method), message_factory.GetMessageClass(method.output_type).SerializeToString
    register, shape = _SHAPES[method.client_streaming, method.server_streaming]
    handler = shape(function, door, method.name, kind_of(method))
    return register(handler, request_deserializer=parse, response_serializer=dump)


def _with_tokens(function: Callable[[Any, Call], Any]) -> Callable[[Any, Call], Any]:
    def call(request: Any, of: Call) -> Any:  # noqa: ANN401 - any method of the API
        of.caller.grant_tokens = grant_tokens(request)
        return function(request, of)

    return call


def grant_tokens(request: Any) -> tuple[str, ...]:  # noqa: ANN401 - any request that has them
    """Take the grant tokens of a request.

    Raises:
        StrongroomError: FIELD_TOO_LARGE.
    """
    if len(request.grant_tokens) > MAX_GRANT_TOKENS:
        raise too_large(TOKENS, MAX_GRANT_TOKENS, "tokens")
    return tuple(request.grant_tokens)


def _parser(method: MethodDescriptor) -> Callable[[bytes], Message | Refused]:
    from_string = message_factory.GetMessageClass(method.input_type).FromString

    def parse(data: bytes) -> Message | Refused:
        if len(data) > MAX_REQUEST_NATIVE:
            return Refused(too_large("request", MAX_REQUEST_NATIVE))
        try:
            return from_string(data)
        except (DecodeError, ValueError):
            return Refused(invalid("request", "must be a valid message of this method"))

    return parse


def _accepted(request: Any) -> Any:  # noqa: ANN401 - any message of the API
    if isinstance(request, Refused):
        raise request.error
    return request


Unary = Callable[[Any, Call], Awaitable[Message]]
Stream = Callable[[Any, Call], AsyncIterator[Message]]
_Context = grpc.aio.ServicerContext[Any, Any]


def _unary(function: Unary, door: Door, name: str, kind: str) -> Callable[[Any, _Context], Any]:
    meter = door.meter(name)

    async def handle(request: Any, context: _Context) -> Message:  # noqa: ANN401
        started = time.perf_counter()
        request_id = next(_REQUEST_IDS)
        code, caller = "CANCELLED", None
        door.in_flight += 1
        try:
            door.require_room(door.in_flight)
            caller, peer = door.caller(context, request_id, getattr(door.deadlines, kind))
            door.require_time(caller.deadline)
            peer = await door.believe(caller, peer, context)
            reply = await function(_accepted(request), Call(caller, peer, lambda: peer))
            code = "OK"
        except StrongroomError as error:
            answer = await door.answer(context, error, name, request_id, caller)
            code = CODES[answer.reason].name
            await context.abort_with_status(wire_status(answer, request_id))
        except Exception:  # noqa: BLE001 - the caller gets a typed error whatever happened
            code = "INTERNAL"
            _log.exception("call failed", method=name, request_id=request_id)
            await context.abort_with_status(wire_status(StrongroomError(Reason.INTERNAL), request_id))
        finally:
            door.in_flight -= 1
            meter.observe(code, time.perf_counter() - started)
        return reply

    return handle


def _unary_stream(function: Stream, door: Door, name: str, _kind: str) -> Callable[[Any, _Context], Any]:
    async def handle(request: Any, context: _Context) -> AsyncIterator[Message]:  # noqa: ANN401
        async for reply in _streamed(function, _accepted_later(request), door, name, context):
            yield reply

    return handle


def _stream_stream(function: Stream, door: Door, name: str, _kind: str) -> Callable[[Any, _Context], Any]:
    async def handle(requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Message]:
        async for reply in _streamed(function, lambda: requests, door, name, context):
            yield reply

    return handle


def _accepted_later(request: Any) -> Callable[[], Any]:  # noqa: ANN401
    return lambda: _accepted(request)


async def _streamed(
    function: Stream, argument: Callable[[], Any], door: Door, name: str, context: _Context
) -> AsyncIterator[Message]:
    meter, request_id = door.meter(name), next(_REQUEST_IDS)
    started, code, caller = time.perf_counter(), "CANCELLED", None
    door.streams += 1
    try:
        door.require_room(door.streams)
        caller, peer = door.caller(context, request_id, _NEVER)
        peer = await door.believe(caller, peer, context)
        renew = partial(door.renewed, certificate_of(context), caller.session, caller.behalf)
        async for reply in function(argument(), Call(caller, peer, renew, partial(door.answer, context))):
            yield reply
        code = "OK"
    except StrongroomError as error:
        answer = await door.answer(context, error, name, request_id, caller)
        code = CODES[answer.reason].name
        await context.abort_with_status(wire_status(answer, request_id))
    except Exception:  # noqa: BLE001 - the caller gets a typed error whatever happened
        code = "INTERNAL"
        _log.exception("call failed", method=name, request_id=request_id)
        await context.abort_with_status(wire_status(StrongroomError(Reason.INTERNAL), request_id))
    finally:
        door.streams -= 1
        meter.observe(code, time.perf_counter() - started)


_SHAPES: Final[dict[tuple[bool, bool], tuple[Callable[..., Any], Callable[..., Any]]]] = {
    (False, False): (grpc.unary_unary_rpc_method_handler, _unary),
    (False, True): (grpc.unary_stream_rpc_method_handler, _unary_stream),
    (True, True): (grpc.stream_stream_rpc_method_handler, _stream_stream),
}
"""How each shape of method (client streams, server streams) is registered and handled."""
