"""What the rooms report, turned into metrics."""

import time
from collections.abc import Callable
from typing import Any, Final

from strongroomd.custody.admission import Lane
from strongroomd.custody.alarms import Alarms
from strongroomd.domain.audit import Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import ExportLevel
from strongroomd.domain.records import LimitScope
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.server import CAUSES
from strongroomd.ports import AuditLog
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics
from strongroomd.telemetry.tally import CounterTally, HistogramTally

_BREAKER = {"closed": 0, "half-open": 1, "open": 2, "fatal": 2}
_SHED = {Reason.OVERLOADED: "overload", Reason.DEADLINE_EXCEEDED: "deadline"}
_log = logs.get("hsm")


class GateMetrics:
    """Counts the gate's refusals, and tells of each."""

    def __init__(self, metrics: Metrics, alarms: Alarms) -> None:
        self._metrics = metrics
        self._alarms = alarms

    def refused(self, error: StrongroomError) -> None:
        """Count one refusal."""
        self._alarms.refused(error)
        if error.reason is Reason.QUOTA_EXCEEDED:
            self._throttled(error)
        elif error.reason is Reason.STORE_UNAVAILABLE:
            self._metrics.store_errors.labels("request").inc()
        elif error.reason in _SHED:
            self._metrics.shed.labels(_SHED[error.reason]).inc()

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        """Count one call for a key that waits for its deletion."""
        self._metrics.wanted_while_pending.inc()
        self._alarms.wanted_while_pending(key_id, principal)

    def _throttled(self, error: StrongroomError) -> None:
        """Count a refusal by its bucket's scope and class; a key's or principal's bucket has no class."""
        scope, _, subject = error.violations[0][0].partition("/")
        class_ = subject.rpartition("/")[2] if scope == LimitScope.CLASS else "own"
        self._metrics.throttled.labels(scope, class_).inc()
        self._metrics.retry_after_seconds.observe(error.retry_after or 0.0)


class AdmissionMetrics:
    """Times the waits of calls that had to wait for their turn."""

    def __init__(self, metrics: Metrics) -> None:
        self._lanes = {lane: metrics.admission_wait_seconds.labels(lane.value) for lane in Lane}

    def waited(self, lane: Lane, seconds: float) -> None:
        """Observe one wait."""
        self._lanes[lane].observe(seconds)


class UpkeepMetrics:
    """Counts what upkeep finds."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def reconciled(self, kind: str) -> None:
        """Count one difference between store and token."""
        self._metrics.reconcile_items.labels(kind).inc()

    def checkpointed(self, time_ms: int) -> None:
        """Note the newest checkpoint's time."""
        self._metrics.audit_checkpoint_time.set(time_ms / 1000)

    def chain_ok(self, *, ok: bool) -> None:
        """Note whether the chains verify."""
        self._metrics.audit_chain_ok.set(ok)


class RewrapMetrics:
    """Counts key versions that moved to another KEK."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def moved(self, versions: int) -> None:
        """Count some."""
        self._metrics.rewrapped.inc(versions)


class WearMetrics:
    """Counts reservations of invocations, and the keys that used most of theirs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def reserved(self) -> None:
        """Count one block."""
        self._metrics.invocation_blocks.inc()

    def worn(self, percent: int, keys: int) -> None:
        """Note how many keys are worn so far."""
        self._metrics.worn_keys.labels(str(percent)).set(keys)

    def overdue(self, keys: int) -> None:
        """Note how many keys wait for their automatic rotation."""
        self._metrics.rotations_overdue.set(keys)

    def waiting(self, versions: int) -> None:
        """Note how many versions have waited long for replicas."""
        self._metrics.replica_versions_waiting.set(versions)


class HsmMetrics:
    """Hears what the HSM room says of one token (its `Observer`).

    Args:
        metrics: where it is counted.
        token: the token's name, as records have it.
    """

    def __init__(self, metrics: Metrics, token: str = MAIN) -> None:
        self._metrics = metrics
        self._token = spelled(token)
        self._calls: dict[str, HistogramTally] = {}
        self._lookups: dict[tuple[str, str], CounterTally] = {}
        self.leaked_objects = 0
        self._inline = True
        self._tell_pace: Callable[[bool], None] = lambda _: None
        metrics.hsm_breaker_state.labels(self._token).set(0)
        metrics.hsm_pin_failures.labels(self._token)
        self.logged_in(yes=False)

    def logged_in(self, *, yes: bool) -> None:
        """Note whether the token is logged in to and proved."""
        self._metrics.hsm_logged_in.labels(self._token).set(yes)

    def answers(self, *, yes: bool) -> None:
        """Note whether the token passed its last probe."""
        self._metrics.hsm_sentinel_ok.labels(self._token).set(yes)

    def called(self, function: str, seconds: float, ckr: int) -> None:
        """Observe one token call."""
        calls = self._calls.get(function)
        if calls is None:
            calls = self._calls[function] = HistogramTally(
                self._metrics.hsm_call_seconds.labels(function, self._token)
            )
        calls.observe(seconds)
        if ckr:
            self._metrics.hsm_errors.labels(f"0x{ckr:x}", self._token).inc()

    def waited(self, seconds: float) -> None:
        """Observe a wait for a thread."""
        self._metrics.hsm_queue_wait_seconds.observe(seconds)

    def cached(self, cache: str, outcome: str) -> None:
        """Count a cache look-up."""
        lookups = self._lookups.get((cache, outcome))
        if lookups is None:
            child = self._metrics.hsm_cache_lookups.labels(f"{cache}_{outcome}")
            lookups = self._lookups[cache, outcome] = CounterTally(child)
        lookups.inc()

    def flush(self) -> None:
        """Hand over what was counted; to be called about twice a second."""
        for calls in tuple(self._calls.values()):
            calls.flush()
        for lookups in tuple(self._lookups.values()):
            lookups.flush()

    def sessions(self, opened: int, idle: int) -> None:
        """Note the pool's state."""
        self._metrics.hsm_sessions_used.labels(self._token).set(opened - idle)

    def discarded(self, reason: str) -> None:
        """Log a session thrown away."""
        _log.warning("session discarded", reason=reason, token=self._token)

    def leaked(self, objects: int) -> None:
        """Count session objects made, each of which leaks a little in SoftHSM."""
        self.leaked_objects += objects
        self._metrics.hsm_unwraps.inc(objects)

    def breaker(self, state: str) -> None:
        """Note the breaker."""
        self._metrics.hsm_breaker_state.labels(self._token).set(_BREAKER.get(state, 2))
        _log.warning("breaker", state=state, token=self._token)

    def away(self) -> None:
        """Note that the token, a further one, cannot be used."""
        self._metrics.hsm_breaker_state.labels(self._token).set(_BREAKER["open"])
        self._metrics.hsm_sessions_used.labels(self._token).set(0)
        self.logged_in(yes=False)
        self.answers(yes=False)

    def back(self) -> None:
        """Note that it can be used."""
        self._metrics.hsm_breaker_state.labels(self._token).set(_BREAKER["closed"])
        self.logged_in(yes=True)
        self.answers(yes=True)

    def paced(self, *, inline: bool) -> None:
        """Note where the token's short calls run."""
        self._metrics.hsm_inline.labels(self._token).set(inline)
        if inline != self._inline:
            _log.warning("pace", inline=inline, token=self._token)
        self._inline = inline
        self._tell_pace(inline)

    def follow_pace(self, tell: Callable[[bool], None]) -> None:
        """Have somebody told where short calls run, now and whenever it changes."""
        self._tell_pace = tell
        tell(self._inline)

    def alert(self, event: str, text: str) -> None:
        """Log what an operator must see, and count what has a counter."""
        _log.error("alert", alert=event, text=text, token=self._token)
        if event == "token_object_repaired":
            self._metrics.hsm_token_repairs.inc()
        elif "pin" in event:
            self._metrics.hsm_pin_failures.labels(self._token).inc()


class MeteredAuditLog:
    """An audit log whose writes are timed.

    Attributes:
        tell: called for each record that could not be written.
    """

    def __init__(self, log: AuditLog, metrics: Metrics) -> None:
        self.tell: Callable[[], None] = _nobody
        self._log = log
        self._seconds = HistogramTally(metrics.audit_write_seconds)
        self._failures = metrics.audit_failures

    async def write(self, record: dict[str, Any]) -> Head:
        """Append one record."""
        start = time.perf_counter()
        try:
            head = await self._log.write(record)
        except StrongroomError:
            self._failures.inc()
            self.tell()
            raise
        self._seconds.observe(time.perf_counter() - start)
        return head

    def flush(self) -> None:
        """Hand over what was counted."""
        self._seconds.flush()


class ExportMetrics:
    """Counts keys that left."""

    def __init__(self, metrics: Metrics) -> None:
        self._exports = metrics.exports

    def exported(self, level: ExportLevel) -> None:
        """Count one."""
        self._exports.labels(level=level.value).inc()


class LedgerMetrics:
    """Counts what the ledger finds and how long its transactions take.

    Attributes:
        tell: called for each record that does not verify.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.tell: Callable[[], None] = _nobody
        self._metrics = metrics

    def failed(self) -> None:
        """Count a record that does not verify."""
        self._metrics.row_mac_failures.labels("record").inc()
        self.tell()

    def changed(self, seconds: float) -> None:
        """Time a writing transaction."""
        self._metrics.store_seconds.observe(seconds)


class ItemMetrics:
    """Counts the items of batches."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, method: str, outcome: str, number: int) -> None:
        """Count items with one outcome."""
        self._metrics.items.labels(method, outcome).inc(number)


_KMS_OPERATIONS: Final = frozenset(
    {
        "ConnectCustomKeyStore",
        "CreateCustomKeyStore",
        "CreateKey",
        "Decrypt",
        "DescribeKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "KmsHealthCheck",
        "ReEncrypt",
        "UpdateCustomKeyStore",
    }
)
_ERROR_TYPES: Final = {name.wire: "Retryable" if name.retryable else "Non-retryable" for name in ErrorName}


class XksMetrics:
    """Counts the calls of the XKS door, under the names that CloudWatch's metrics have."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seconds: dict[tuple[str, str], HistogramTally] = {}
        for cause in CAUSES:
            metrics.xks_dropped.labels(cause)

    def finished(self, operation: str, kms_operation: str, error: str, seconds: float) -> None:
        """Count a call; of what a request says only known words become labels."""
        known = kms_operation if kms_operation in _KMS_OPERATIONS else "other" if kms_operation else "none"
        tally = self._seconds.get((operation, known))
        if tally is None:
            child = self._metrics.xks_seconds.labels(operation, known)
            tally = self._seconds[operation, known] = HistogramTally(child)
        tally.observe(seconds)
        if error:
            self._metrics.xks_errors.labels(operation, known, error, _ERROR_TYPES[error]).inc()

    def dropped(self, cause: str) -> None:
        """Count a connection that the door ended."""
        self._metrics.xks_dropped.labels(cause).inc()

    def flush(self) -> None:
        """Hand over what was counted."""
        for tally in tuple(self._seconds.values()):
            tally.flush()


class EventMetrics:
    """Counts events and what becomes of them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def emitted(self, type_: str) -> None:
        """Count one event."""
        self._metrics.events_emitted.labels(type_).inc()

    def delivered(self, sink: str) -> None:
        """Count one delivery."""
        self._metrics.events_delivered.labels(sink).inc()

    def undelivered(self, sink: str, blame: str) -> None:
        """Count one failed try."""
        self._metrics.events_failed.labels(sink, blame).inc()

    def dead_lettered(self, sink: str) -> None:
        """Count one dead letter."""
        self._metrics.events_dead_lettered.labels(sink).inc()

    def fired(self, rule: str, outcome: str) -> None:
        """Count a rule's action."""
        self._metrics.rule_actions.labels(rule, outcome).inc()

    def backlog(self, sink: str, waiting: int, oldest_seconds: float, dead: int) -> None:
        """Note what a sink has not got."""
        self._metrics.events_backlog.labels(sink).set(waiting)
        self._metrics.events_oldest_seconds.labels(sink).set(oldest_seconds)
        self._metrics.events_dead_letters.labels(sink).set(dead)

    def found(self, check: str, keys: int) -> None:
        """Note the findings of a check."""
        self._metrics.compliance_findings.labels(check).set(keys)


def _nobody() -> None:
    pass
