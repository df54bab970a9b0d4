"""Every metric of the daemon, in one place, so that dashboards and alerts can be held to it.

Names begin with `strongroom_`, units are base units, label sets are fixed and small; no key id and no
principal is ever a label (they are many, and they are sensitive). `series` has how they are shared and shown.
"""

import json
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from strongroomd import __version__
from strongroomd.telemetry.series import PREFIX, Series
from strongroomd.telemetry.tally import CounterTally, HistogramTally

REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5)
CALL_BUCKETS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0)
WAIT_BUCKETS: Final = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
RETRY_BUCKETS: Final = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0)


class RpcMeter:
    """Meters one method; `Metrics.flush` hands over what it counted."""

    def __init__(self, method: str, requests: Counter, seconds: Histogram) -> None:
        self._method = method
        self._requests = requests
        self._seconds = HistogramTally(seconds.labels(method))
        self._codes: dict[str, CounterTally] = {}

    def observe(self, code: str, seconds: float) -> None:
        """Count one finished call.

        Args:
            code: the status code's name, of a closed list, e.g. `OK`.
            seconds: how long the call took.
        """
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = CounterTally(self._requests.labels(self._method, code))
        counter.inc()
        self._seconds.observe(seconds)

    def flush(self) -> None:
        """Hand over what was counted."""
        self._seconds.flush()
        for counter in self._codes.values():
            counter.flush()


class Metrics(Series):
    """All metrics of one process. Make one per process, before anything is measured.

    Args:
        index: the worker's index; None outside a worker, where nothing is shared.
    """

    def __init__(self, index: int | None = None) -> None:
        super().__init__(index)
        self._rpcs: dict[str, RpcMeter] = {}
        self._requests()
        self._tokens()
        self._hsm_calls()
        self._quota()
        self._integrity()
        self._audit()
        self._keys()
        self._versions()
        self._house_keys()
        self._process()
        self._events()
        self._key_stores()

    def rpc(self, method: str) -> RpcMeter:
        """Give the meter of an RPC method, e.g. `Encrypt`; always the same one."""
        meter = self._rpcs.get(method)
        if meter is None:
            meter = self._rpcs[method] = RpcMeter(method, self.requests, self.request_seconds)
        return meter

    def flush(self) -> None:
        """Hand over what the meters counted since the last time; to be called about twice a second."""
        for meter in tuple(self._rpcs.values()):
            meter.flush()

    def exposition(self, extra: Iterable[Collector] = ()) -> bytes:
        """Render what Prometheus scrapes: all workers' values where they are shared, else this process's.

        Args:
            extra: collectors of values that no worker keeps, such as `SupervisorCollector`.
        """
        self.flush()
        return self.rendered(extra)

    def _requests(self) -> None:
        """Rate, errors, duration of the doors, and what admission turned away."""
        self.requests = self._counter("requests_total", "Finished calls.", ("method", "code"))
        self.request_seconds = self._histogram(
            "request_seconds", "Time from a call's arrival to its answer.", REQUEST_BUCKETS, ("method",)
        )
        self.in_flight = self._gauge("requests_in_flight", "Calls being served.", "livesum")
        self.items = self._counter("items_total", "Items of batch and stream calls.", ("method", "outcome"))
        self.shed = self._counter(
            "shed_total", "Calls refused early because the HSM could not serve them in time.", ("cause",)
        )
        self.admission_wait_seconds = self._histogram(
            "admission_wait_seconds", "Wait for a turn of calls that had to wait.", WAIT_BUCKETS, ("lane",)
        )
        self.loop_lag_seconds = self._gauge(
            "loop_lag_seconds", "How late the latest worker's event loop is.", "livemax"
        )
        self.connections_refused = self._counter(
            "connections_refused_total", "Peers whose certificate names no principal.", ("cause",)
        )

    def _tokens(self) -> None:
        """How the tokens are; `token` is a name of the configuration."""
        self.hsm_sessions_used = self._gauge(
            "hsm_sessions_used", "PKCS#11 sessions in use.", "livesum", ("token",)
        )
        self.hsm_sessions_max = self._gauge(
            "hsm_sessions_max", "PKCS#11 sessions allowed.", "livesum", ("token",)
        )
        self.hsm_breaker_state = self._gauge(
            "hsm_breaker_state",
            "Worst breaker: 0 closed, 1 half open, 2 open or away.",
            "livemax",
            ("token",),
        )
        self.hsm_logged_in = self._gauge(
            "hsm_logged_in", "1 while every worker is logged in to the token.", "livemin", ("token",)
        )
        self.hsm_sentinel_ok = self._gauge(
            "hsm_sentinel_ok", "1 while every worker sees the token's sentinel object.", "livemin", ("token",)
        )
        self.hsm_pin_failures = self._counter(
            "hsm_pin_failures_total", "Logins refused for their PIN.", ("token",)
        )
        self.hsm_token_repairs = self._counter(
            "hsm_token_repairs_total", "Times that a damaged token file was restored from its copy."
        )

    def _hsm_calls(self) -> None:
        """Utilisation, saturation and errors of the calls into tokens."""
        self.hsm_queue_depth = self._gauge("hsm_queue_depth", "Operations waiting for the HSM.", "livesum")
        self.hsm_queue_wait_seconds = self._histogram(
            "hsm_queue_wait_seconds", "Wait of an operation for a session.", WAIT_BUCKETS
        )
        self.hsm_call_seconds = self._histogram(
            "hsm_call_seconds", "Time inside the PKCS#11 module.", CALL_BUCKETS, ("function", "token")
        )
        self.hsm_inline = self._gauge(
            "hsm_inline",
            "1 while every worker makes the token's short calls on its loop, 0 where they take long.",
            "livemin",
            ("token",),
        )
        self.hsm_errors = self._counter("hsm_errors_total", "Failed PKCS#11 calls.", ("ckr", "token"))
        self.hsm_cached_keys = self._gauge("hsm_cached_keys", "Keys loaded into the token.", "livesum")
        self.hsm_cache_lookups = self._counter("hsm_cache_lookups_total", "Handle lookups.", ("outcome",))
        self.hsm_unwraps = self._counter("hsm_unwraps_total", "Keys unwrapped into the token.")

    def _quota(self) -> None:
        """What is throttled, and how full the account classes are."""
        self.throttled = self._counter("throttled_total", "Calls refused by a quota.", ("scope", "class"))
        self.quota_utilisation = self._gauge(
            "quota_utilisation_ratio",
            "Fullest account's use of a class: 1 is throttled.",
            "mostrecent",
            ("class",),
        )
        self.retry_after_seconds = self._histogram(
            "retry_after_seconds", "Waits that throttled callers were told.", RETRY_BUCKETS
        )
        self.quota_requests_pending = self._gauge(
            "quota_requests_pending", "Quota requests that nobody answered yet.", "mostrecent"
        )

    def _integrity(self) -> None:
        """Whether store and token still tell the same story."""
        self.row_mac_failures = self._counter(
            "row_mac_failures_total", "Stored records that failed their integrity check.", ("kind",)
        )
        self.reconcile_items = self._counter(
            "reconcile_items_total", "Differences between store and token that were dealt with.", ("kind",)
        )

    def _audit(self) -> None:
        """Whether the audit log is written, whole and signed."""
        self.audit_queue = self._gauge("audit_queue", "Audit records not yet durable.", "livesum")
        self.audit_write_seconds = self._histogram(
            "audit_write_seconds", "Time until an audit record is durable.", WAIT_BUCKETS
        )
        self.audit_failures = self._counter(
            "audit_failures_total", "Calls that failed because their audit record could not be written."
        )
        self.audit_chain_ok = self._gauge(
            "audit_chain_ok", "1 while every worker's audit chain is unbroken and writable.", "livemin"
        )
        self.audit_checkpoint_time = self._gauge(
            "audit_checkpoint_timestamp_seconds",
            "When the newest checkpoint was signed (Unix).",
            "mostrecent",
        )

    def _keys(self) -> None:
        """What keys there are, and which of them somebody should look at."""
        self.keys = self._gauge("keys", "Keys by state.", "mostrecent", ("state",))
        self.pending_deletions = self._gauge("pending_deletions", "Keys waiting for deletion.", "mostrecent")
        self.wanted_while_pending = self._counter(
            "pending_deletion_refusals_total",
            "Calls for keys that wait for their deletion, by who may use them.",
        )
        self.material_expiry_seconds = self._gauge(
            "imported_material_expiry_seconds",
            "Time until the next imported key material expires; +Inf while none will.",
            "mostrecent",
        )
        self.exports = self._counter("exports_total", "Keys that left under dual control.", ("level",))

    def _versions(self) -> None:
        """How worn versions are, and which are late."""
        self.worn_keys = self._gauge(
            "worn_keys",
            "Keys whose version used so many hundredths of its 2^32 invocations.",
            "mostrecent",
            ("percent",),
        )
        self.invocation_blocks = self._counter(
            "invocation_blocks_total", "Blocks of invocations reserved for AES-GCM keys."
        )
        self.rotations_overdue = self._gauge(
            "rotations_overdue", "Keys whose automatic rotation was due over an hour ago.", "mostrecent"
        )
        self.replica_versions_waiting = self._gauge(
            "replica_versions_waiting",
            "Versions of multi-region keys that wait for replicas since over a day.",
            "mostrecent",
        )

    def _house_keys(self) -> None:
        """The daemon's own keys, and what moves between them."""
        self.house_key_age = self._gauge(
            "house_key_age_seconds", "Age of the daemon's own keys in use.", "mostrecent", ("role", "token")
        )
        self.kek_versions = self._gauge(
            "kek_versions",
            "Key versions wrapped under each KEK.",
            "mostrecent",
            ("role", "token", "generation"),
        )
        self.rewrap_left = self._gauge(
            "rewrap_left", "Key versions that a running re-wrap has not moved yet.", "mostrecent", ("token",)
        )
        self.rewrap_failed = self._gauge(
            "rewrap_failed", "Key versions that the last re-wrap could not move.", "mostrecent", ("token",)
        )
        self.rewrapped = self._counter("rewrapped_total", "Key versions moved to another KEK.")

    def _process(self) -> None:
        """The process itself: build, certificates, clock, store, reloads, recycling."""
        self.cert_expiry_seconds = self._gauge(
            "cert_expiry_seconds", "Time until a certificate in use expires.", "livemin", ("certificate",)
        )
        self.backup_age_seconds = self._gauge(
            "backup_age_seconds", "Time since the newest backup set; 0 where no folder is named.", "livemin"
        )
        self.store_seconds = self._histogram(
            "store_transaction_seconds", "Time of a writing transaction.", REQUEST_BUCKETS
        )
        self.store_errors = self._counter("store_errors_total", "Failed store operations.", ("cause",))
        self.reloads = self._counter(
            "config_reloads_total", "Reloads of configuration or files.", ("outcome",)
        )
        self.clock_steps = self._counter("clock_step_total", "Steps of the wall clock over two seconds.")
        self.upkeep_leader = self._gauge("upkeep_leader", "Workers that hold the upkeep lease.", "livesum")
        self.resident_bytes = self._gauge(
            "worker_resident_bytes", "Resident memory by worker index.", "liveall"
        )
        self.build_info = self._gauge(
            "build_info", "1, labelled with versions.", "livemax", ("version", "python")
        )
        self.build_info.labels(__version__, platform.python_version()).set(1)

    def _key_stores(self) -> None:
        """External key stores, parallel to what AWS's CloudWatch shows of them (namespace AWS/KMS)."""
        self.xks_stores = self._gauge("xks_key_stores", "External key stores.", "mostrecent", ("state",))
        self.xks_credential_age = self._gauge(
            "xks_credential_age_seconds", "Age of the oldest credential of any key store.", "mostrecent"
        )
        self.xks_seconds = self._histogram(
            "xks_request_seconds",
            "Time from the first byte of a request of AWS KMS to its answer.",
            REQUEST_BUCKETS,
            ("xks_operation", "kms_operation"),
        )
        self.xks_errors = self._counter(
            "xks_errors_total",
            "Requests of AWS KMS that were answered by an error.",
            ("xks_operation", "kms_operation", "error", "type"),
        )
        self.xks_connections = self._gauge("xks_connections", "Connections to the XKS door.", "livesum")
        self.xks_dropped = self._counter(
            "xks_connections_dropped_total", "Connections to the XKS door that it ended.", ("cause",)
        )
        self.xks_token_state = self._gauge(
            "xks_token_state",
            "1 for the state in which some worker finds a token, as it tells AWS KMS.",
            "livemax",
            ("token", "state"),
        )

    def _events(self) -> None:
        """What happened, and who has heard of it."""
        self.events_emitted = self._counter("events_emitted_total", "Events written.", ("type",))
        self.events_delivered = self._counter("events_delivered_total", "Events delivered.", ("sink",))
        self.events_failed = self._counter(
            "events_failed_total", "Tries that failed, by whose failure it was.", ("sink", "blame")
        )
        self.events_dead_lettered = self._counter(
            "events_dead_lettered_total", "Events that were given up.", ("sink",)
        )
        self.events_backlog = self._gauge(
            "events_backlog", "Events that a sink has not got yet.", "mostrecent", ("sink",)
        )
        self.events_oldest_seconds = self._gauge(
            "events_oldest_seconds",
            "Age of the oldest event that a sink has not got.",
            "mostrecent",
            ("sink",),
        )
        self.events_dead_letters = self._gauge(
            "events_dead_letters", "Dead letters that are kept.", "mostrecent", ("sink",)
        )
        self.rule_actions = self._counter(
            "rule_actions_total", "Actions of rules, by what became of them.", ("rule", "outcome")
        )
        self.compliance_findings = self._gauge(
            "compliance_findings", "Keys of which a compliance check speaks.", "mostrecent", ("check",)
        )


class SupervisorCollector(Collector):
    """Reports the workers from the file that the supervisor publishes, since it keeps no metrics itself."""

    def __init__(self, daemon_file: Path) -> None:
        self._file = daemon_file

    def collect(self) -> Iterator[Metric]:
        """Yield workers by state and restarts by cause; nothing while the file cannot be read."""
        try:
            daemon = json.loads(self._file.read_bytes())
            states = [str(worker["state"]) for worker in daemon["workers"]]
            causes = {str(cause): int(count) for cause, count in daemon["restarts"].items()}
            refused = int(daemon["refused_reloads"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        workers = GaugeMetricFamily(PREFIX + "workers", "Workers by state.", labels=("state",))
        for state in ("starting", "ready", "draining"):
            workers.add_metric((state,), states.count(state))
        yield workers
        restarts = CounterMetricFamily(
            PREFIX + "worker_restarts", "Workers replaced, by cause.", labels=("cause",)
        )
        for cause, count in causes.items():
            restarts.add_metric((cause,), count)
        yield restarts
        reloads = CounterMetricFamily(
            PREFIX + "config_refused", "Changed configurations that the supervisor refused."
        )
        reloads.add_metric((), refused)
        yield reloads


def exported_names() -> frozenset[str]:
    """List every series name that a scrape can show, for the contract tests of dashboards and alerts."""
    names = {PREFIX + "workers", PREFIX + "worker_restarts_total", PREFIX + "config_refused_total"}
    for metric in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
            metric.type, ("",)
        )
        names.update(metric.name + suffix for suffix in suffixes)
    return frozenset(names)
