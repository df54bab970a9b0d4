"""One XKS call: which store, who, until when, what; and an answer in time whatever happens.

The order is that of the specification and its test client: the path first (an unknown prefix is 404
whatever the signature), then the method, the signature, and only then the body. What is refused before the
gate is written down by `custody.threshold`. KMS gives up after 250 ms: `Exchange.late` is the answer when
`Exchange.run` has none by then.
"""

import asyncio
import itertools
import math
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from strongroomd.custody.threshold import NOBODY, Attempt, Threshold
from strongroomd.custody.xks.proxy import Proxy, XksCall
from strongroomd.custody.xks.shelf import KeyStore
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller
from strongroomd.domain.xks import names
from strongroomd.frontends.sigv4 import Claim, HttpParts, Verifier
from strongroomd.frontends.xks import errors, replies, requests, routes
from strongroomd.frontends.xks.courtesy import Courtesy
from strongroomd.frontends.xks.crowd import Crowd
from strongroomd.frontends.xks.errors import NAMES, ErrorName
from strongroomd.frontends.xks.interfaces import Meter
from strongroomd.frontends.xks.rests import LONG, SHORT
from strongroomd.frontends.xks.routes import Operation, Route
from strongroomd.telemetry import logs
from strongroomd.telemetry.lag import Lag

SERVICE: Final = "kms-xks-proxy"
DOOR: Final = "xks"
KMS_SECONDS: Final = 0.25
"""After this long KMS takes no answer any more."""
_LEEWAY_SECONDS: Final = (
    0.02  # between a call's deadline, which it mostly keeps itself, and the answer for it
)
_LATEST_SECONDS: Final = KMS_SECONDS - 0.005
_RETRY_SECONDS: Final = 0.1
_FLOOD_SECONDS: Final = 1.0
_PROCESS: Final = secrets.token_hex(8)
_REQUEST_IDS: Final = (f"{_PROCESS}{number:08x}" for number in itertools.count())
_UNKNOWN: Final = "Unknown"
_log = logs.get("xks")


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request as the server read it; its body may hold plaintext.

    Attributes:
        parts: as sent; the body is empty if it was `too_large`.
        address, port: the peer's.
        arrived: `time.monotonic()` seconds of its first byte.
        too_large: whether the body passed the server's limit, and was not kept.
    """

    parts: HttpParts
    address: str
    port: int
    arrived: float
    too_large: bool = False

    @property
    def source(self) -> str:
        """The peer in the form of the native door's."""
        return (
            f"ipv6:[{self.address}]:{self.port}"
            if ":" in self.address
            else f"ipv4:{self.address}:{self.port}"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An answer.

    Attributes:
        status: of HTTP.
        body: JSON.
        authenticated: whether the request's signature was good.
        allow: the only method allowed, for status 405.
        rest: seconds, at most, that a connection whose call was shed need not be read.
    """

    status: int
    body: bytes
    authenticated: bool = False
    allow: str = ""
    rest: float = 0.0


class Door:
    """What all calls share.

    Args:
        proxy: the use cases.
        verifier: of signatures for this service.
        threshold: writes down what is refused here.
        meter: counts calls.
        deadline: seconds that a call may take from its first byte; can be replaced.
        most: how many calls may be served at once.

    Attributes:
        in_flight: calls being served, those included that were answered as late and have not ended yet.
        courtesy: calls that let others go first.
        crowd: requests being answered, those included that will be refused. A late one leaves with its
            answer: this bounds what the loop has to do, and `in_flight` what the core has.
        require_time: refuses a deadline that the worker is too late for already. Raises OVERLOADED.
    """

    def __init__(
        self,
        proxy: Proxy,
        verifier: Verifier,
        threshold: Threshold,
        meter: Meter,
        *,
        deadline: float,
        most: int,
    ) -> None:
        self.proxy = proxy
        self.verifier = verifier
        self.meter = meter
        self.deadline = deadline
        self.most = most
        self.in_flight = 0
        self.crowd = Crowd(Lag(), most)
        self.courtesy = Courtesy(lambda: self.in_flight > 0)
        self.require_time: Callable[[float], None] = _enough
        self._of_stores: Counter[str] = Counter()
        self._shed_last = -math.inf
        self._threshold = threshold
        self._pending: set[asyncio.Task[StrongroomError]] = set()

    def open(self, request: Request) -> "Exchange":
        """Begin a call."""
        return Exchange(self, request)

    def is_shedding(self, now: float) -> bool:
        """Say whether calls are or will be shed; while none are, it is not worth looking for more."""
        crowd = self.crowd
        return now - self._shed_last < _FLOOD_SECONDS or 2 * crowd.inside > crowd.limit

    def shed(self, route: Route | None, arrived: float, *, waited: bool = False) -> Reply | None:
        """Answer a call that could not be done in time anyway, before any work on it; None for any other.

        Under a flood most calls end here: to look at a signature first would cost those that can be done.
        What is shed is counted, and not written down one by one.

        Args:
            route: where it goes, if anywhere.
            arrived: `time.monotonic()` seconds of its first byte.
            waited: whether it has let all others go first, and has its place inside.
        """
        ahead = 0 if waited or route is None else self.courtesy.ahead(route.prefix)
        rest, by_room = LONG if self.crowd.is_cut else SHORT, True
        try:
            self._require_time(arrived)
            if not waited:
                self._require_room("" if route is None else route.prefix)
            rest, by_room = SHORT, False
            self._require_turn(route, arrived + self.deadline, ahead)
        except StrongroomError as error:
            if route is not None and error.reason is Reason.QUOTA_EXCEEDED and not ahead:
                self.courtesy.refused(route.prefix)
            name = NAMES[error.reason]
            operation = _UNKNOWN if route is None else route.operation.value
            self._shed_last = time.monotonic()
            self.crowd.refused(by_room=by_room)
            self.meter.finished(operation, "", name.wire, self._shed_last - arrived)
            return Reply(name.status, errors.body_of(error), rest=rest)
        return None

    def _require_time(self, arrived: float) -> None:
        if time.monotonic() >= arrived + self.deadline:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED)
        self.require_time(arrived + self.deadline)

    def _require_room(self, prefix: str) -> None:
        if self.crowd.is_full(prefix):
            raise StrongroomError(Reason.OVERLOADED, detail="too many calls", retry_after=_RETRY_SECONDS)

    def _require_turn(self, route: Route | None, deadline: float, ahead: int) -> None:
        store = None if route is None else self.proxy.store(route.prefix)
        if route is not None and store is not None and route.operation in _WORK:
            self.proxy.require_turn(store, deadline, ahead)

    def take(self, store_id: str) -> None:
        """Take a place for a store's call; once half of all are taken no store may have more than half.

        Raises:
            StrongroomError: OVERLOADED with a retry hint.
        """
        half = self.most / 2
        if self.in_flight > half and self._of_stores[store_id] >= half:
            raise StrongroomError(Reason.OVERLOADED, detail="too many calls", retry_after=_RETRY_SECONDS)
        self._of_stores[store_id] += 1

    def give_back(self, store_id: str) -> None:
        """Give a place back."""
        self._of_stores[store_id] -= 1
        if not self._of_stores[store_id]:
            del self._of_stores[store_id]

    async def _refuse(self, attempt: Attempt, error: StrongroomError) -> StrongroomError:
        try:
            return await self._threshold.refuse(attempt, error)
        except StrongroomError as unwritten:
            return unwritten

    def refuse(self, attempt: Attempt, error: StrongroomError) -> "asyncio.Task[StrongroomError]":
        """Write a refusal down, whatever becomes of the call; gives what the caller is told."""
        task = asyncio.create_task(self._refuse(attempt, error))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def settle(self) -> None:
        """Wait for what is still being written down."""
        await asyncio.gather(*self._pending, return_exceptions=True)


class Exchange:
    """One call, from its request to its one reply.

    Attributes:
        answer_by: `time.monotonic()` seconds at which `late` must be called if `run` has not returned.
    """

    __slots__ = (
        "_caller",
        "_counted",
        "_door",
        "_kms_operation",
        "_operation",
        "_refusing",
        "_request",
        "_request_id",
        "_store_id",
        "_told",
        "answer_by",
    )

    def __init__(self, door: Door, request: Request) -> None:
        self._door = door
        self._request = request
        self._request_id = next(_REQUEST_IDS)
        self._operation = _UNKNOWN
        self._store_id = ""
        self._kms_operation = ""
        self._caller: Caller | None = None
        self._told: dict[str, str] = {}
        self._counted = False
        self._refusing = False
        self.answer_by = request.arrived + min(door.deadline + _LEEWAY_SECONDS, _LATEST_SECONDS)

    async def run(self) -> Reply:
        """Serve the call; raises nothing but CancelledError."""
        door = self._door
        door.in_flight += 1
        try:
            return await self._served()
        except StrongroomError as error:
            return self._refused(await self._settled(error))
        except Exception:  # noqa: BLE001 - the caller gets a typed error whatever happened
            _log.exception("call failed", operation=self._operation, request_id=self._request_id)
            return self._refused(StrongroomError(Reason.INTERNAL))
        finally:
            door.in_flight -= 1
            if self._store_id:
                door.give_back(self._store_id)
            door.courtesy.idle()

    def late(self) -> Reply:
        """Answer for a call that takes too long; it is to be cancelled then."""
        error = StrongroomError(Reason.DEADLINE_EXCEEDED)
        if not self._written:
            self._door.refuse(self._attempt(), error)
        return self._refused(error)

    async def _served(self) -> Reply:
        request, door = self._request, self._door
        if door.in_flight > door.most:
            raise StrongroomError(Reason.OVERLOADED, detail="too many calls", retry_after=_RETRY_SECONDS)
        route, store = self._found()
        if request.parts.method != "POST":
            return self._wrong_method()
        door.take(store.store_id)
        self._store_id = store.store_id
        if request.too_large:
            raise StrongroomError(Reason.FIELD_TOO_LARGE, "at most 65536 bytes are allowed", field="body")
        claim = await self._authenticated(store)
        document = requests.parse(request.parts.body)
        metadata = requests.metadata(document, route.operation)
        self._kms_operation = metadata.kms_operation
        self._told |= metadata.told()
        call = XksCall(store, route.external_key_id, metadata, claim.region)
        body = await _SERVE[route.operation](door.proxy, self._known(), call, document)
        self._count("")
        return Reply(200, body, authenticated=True)

    def _found(self) -> tuple[Route, KeyStore]:
        """Find the store and what is asked of it. Raises NOT_FOUND."""
        parts = self._request.parts
        route = None if parts.query else routes.find(parts.path)
        store = None if route is None else self._door.proxy.store(route.prefix)
        if route is None or store is None:
            raise StrongroomError(Reason.NOT_FOUND, "there is no such path", field="uri")
        self._operation = route.operation.value
        self._told = {"key_store": store.store_id}
        if route.external_key_id:
            self._told["external_key"] = route.external_key_id
        return route, store

    async def _authenticated(self, store: KeyStore) -> Claim:
        """Find who signed the request. Raises UNAUTHENTICATED_PEER."""
        door, request = self._door, self._request
        claim = door.verifier.read(request.parts)
        possible = names.is_access_key_id(claim.access_key_id)
        signer = await door.proxy.secrets(store, claim.access_key_id) if possible else None
        door.verifier.verify(request.parts, claim, signer)
        self._caller = Caller(
            store.principal,
            self._request_id,
            request.arrived + door.deadline,
            request.source,
            DOOR,
            identity=f"xks-credential:{claim.access_key_id}",
        )
        door.proxy.used(store, claim.access_key_id)
        return claim

    def _known(self) -> Caller:
        if self._caller is None:
            raise StrongroomError(Reason.UNAUTHENTICATED_PEER)
        return self._caller

    async def _settled(self, error: StrongroomError) -> StrongroomError:
        """Settle what the caller is told; what never reached the gate is written down first.

        A worker with too much to do does not also write down whom it sent away. Who is refused very often has
        no record for each time, but hears the same each time: KMS would take "slow down" for a fault of ours.
        """
        if self._written or error.reason is Reason.OVERLOADED:
            return _why(error)
        self._refusing = True
        answer = await asyncio.shield(self._door.refuse(self._attempt(), error))
        return error if answer.reason is Reason.QUOTA_EXCEEDED else answer

    @property
    def _written(self) -> bool:
        """Whether somebody writes down already how the call ends."""
        return self._refusing or (self._caller is not None and self._caller.passed)

    def _attempt(self) -> Attempt:
        caller = self._caller
        arn, told = (NOBODY, {}) if caller is None else (caller.principal.arn, caller.told())
        return Attempt(DOOR, self._operation, self._request_id, self._request.source, arn, told | self._told)

    def _refused(self, error: StrongroomError) -> Reply:
        name = NAMES[error.reason]
        self._count(name.wire)
        body = errors.body_of(error, self._request_id)
        return Reply(name.status, body, authenticated=self._caller is not None)

    def _wrong_method(self) -> Reply:
        """Answer any method but POST (specification, "HTTP method")."""
        name = ErrorName.UNSUPPORTED_OPERATION
        self._count(name.wire)
        return Reply(405, errors.spelt(name, "only POST is served here", self._request_id), allow="POST")

    def _count(self, error: str) -> None:
        """Count the call once: a late answer is the only one that is sent."""
        if not self._counted:
            self._counted = True
            seconds = time.monotonic() - self._request.arrived
            self._door.meter.finished(self._operation, self._kms_operation, error, seconds)


def _why(error: StrongroomError) -> StrongroomError:
    """Give what was refused, where the gate says that it was refused too often."""
    cause = error.__cause__
    return cause if error.reason is Reason.QUOTA_EXCEEDED and isinstance(cause, StrongroomError) else error


def _enough(_: float) -> None:
    """Find that there is time for everybody."""


async def _health(proxy: Proxy, caller: Caller, call: XksCall, _document: dict[str, Any]) -> bytes:
    return replies.health(await proxy.health(caller, call))


async def _metadata(proxy: Proxy, caller: Caller, call: XksCall, _document: dict[str, Any]) -> bytes:
    return replies.metadata(await proxy.metadata(caller, call))


async def _encrypt(proxy: Proxy, caller: Caller, call: XksCall, document: dict[str, Any]) -> bytes:
    asked = requests.encrypt(document)
    parts = await proxy.encrypt(caller, call, asked.plaintext.value, asked.aad, integrity=asked.integrity)
    return replies.encrypted(parts)


async def _decrypt(proxy: Proxy, caller: Caller, call: XksCall, document: dict[str, Any]) -> bytes:
    asked = requests.decrypt(document)
    return replies.decrypted(await proxy.decrypt(caller, call, asked.parts, asked.aad))


_WORK: Final = frozenset({Operation.ENCRYPT, Operation.DECRYPT})
"""What a token is asked for: shed before its signature is looked at, which would cost more than shedding."""

_Serve = Callable[[Proxy, Caller, XksCall, dict[str, Any]], Awaitable[bytes]]
_SERVE: Final[dict[Operation, _Serve]] = {
    Operation.HEALTH: _health,
    Operation.METADATA: _metadata,
    Operation.ENCRYPT: _encrypt,
    Operation.DECRYPT: _decrypt,
}
