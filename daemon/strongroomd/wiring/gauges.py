"""What is measured by looking, now and then, rather than when it happens."""

import math
import time
from collections.abc import Iterable
from pathlib import Path

from strongroomd.config import Settings, token_plans
from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.housekeys import HouseKey
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.xks.health import HealthBoard, Status
from strongroomd.custody.xks.shelf import Shelf
from strongroomd.domain.algorithms import QuotaClass
from strongroomd.domain.housekeys import KEKS
from strongroomd.domain.quotarequests import QuotaRequestRecord, RequestState
from strongroomd.domain.records import HouseState, KeyState, LimitScope, RewrapRecord, RewrapState
from strongroomd.domain.tokens import spelled
from strongroomd.frontends.grpc import pki
from strongroomd.frontends.grpc.server import Certificates
from strongroomd.ports import Store
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics

STEP_SECONDS = 2.0
_log = logs.get("gauges")


class Gauges:
    """Looks at what one worker holds.

    Args:
        metrics: where the values go.
        settings: names the account whose quota is watched, and the size of the session pool.
        admission: how much work is inside.
        quotas: how full the classes are.
        store: counts keys.
    """

    def __init__(
        self, metrics: Metrics, settings: Settings, admission: Admission, quotas: Quotas, store: Store
    ) -> None:
        self._metrics = metrics
        self._account = settings.daemon.account
        self._admission = admission
        self._quotas = quotas
        self._store = store
        self._backups = _backup_marks(settings)
        self._drift = time.time() - time.monotonic()
        for plan in token_plans(settings):
            metrics.hsm_sessions_max.labels(spelled(plan.name)).set(settings.hsm.sessions)

    def quick(self) -> None:
        """Look at what changes from moment to moment."""
        admission = self._admission
        queued = admission.inside(Lane.RSA) + admission.inside(Lane.BIRTH) + admission.waiting(Lane.QUICK)
        self._metrics.hsm_queue_depth.set(queued)
        self._metrics.loop_lag_seconds.set(admission.lag.now(time.monotonic()))
        drift = time.time() - time.monotonic()
        if abs(drift - self._drift) > STEP_SECONDS:
            self._metrics.clock_steps.inc()
            _log.warning("the wall clock stepped", seconds=round(drift - self._drift, 1))
        self._drift = drift

    async def leading(self) -> None:
        """Look at what is the same for all workers; one of them is enough."""
        for class_ in QuotaClass:
            rate, available = self._quotas.available(LimitScope.CLASS, f"{self._account}/{class_}")
            self._metrics.quota_utilisation.labels(class_.value).set(1 - available / rate.burst)
        counts = await self._store.key_states()
        for state in KeyState:
            self._metrics.keys.labels(state.value).set(counts.get(state.value, 0))
        self._metrics.pending_deletions.set(counts.get(KeyState.PENDING_DELETION.value, 0))
        expiry = await self._store.next_expiry()
        left = expiry / 1000 - time.time() if expiry else math.inf
        self._metrics.material_expiry_seconds.set(left)
        waiting = await self._store.how_many(QuotaRequestRecord, {"state": RequestState.PENDING.value})
        self._metrics.quota_requests_pending.set(waiting)

    def house(self, house: Iterable[HouseKey], jobs: Iterable[RewrapRecord]) -> None:
        """Look at the daemon's own keys, and at what moves between them."""
        for key in house:
            record, token = key.record, spelled(key.record.token)
            if key.in_use and record.created_at:
                age = time.time() - record.created_at / 1000
                self._metrics.house_key_age.labels(record.role, token).set(max(age, 0.0))
            if record.role in KEKS and record.state is HouseState.ACTIVE:
                labels = (record.role, token, str(record.generation))
                self._metrics.kek_versions.labels(*labels).set(key.versions)
        for job in jobs:
            left = max(job.total - job.rewrapped - job.failed, 0)
            running = job.state is RewrapState.RUNNING
            self._metrics.rewrap_left.labels(spelled(job.token)).set(left if running else 0)
            self._metrics.rewrap_failed.labels(spelled(job.token)).set(job.failed)

    def key_stores(self, shelf: Shelf, board: HealthBoard, tokens: Iterable[str]) -> None:
        """Look at external key stores and the tokens behind them."""
        stores = shelf.stores()
        blocked = sum(store.record.blocked for store in stores)
        self._metrics.xks_stores.labels("blocked").set(blocked)
        self._metrics.xks_stores.labels("active").set(len(stores) - blocked)
        born = [credential.created_at for store in stores for credential in store.credentials.values()]
        age = time.time() - min(born) / 1000 if born else 0.0
        self._metrics.xks_credential_age.set(max(age, 0.0))
        for token in tokens:
            now = board.status(token)
            for state in Status:
                self._metrics.xks_token_state.labels(spelled(token), state.value).set(state is now)

    def backups(self) -> None:
        """Note how old the newest backup set is, or, as long as there is none, the house."""
        made = (path.stat().st_mtime for path in self._backups if path.exists())
        age = time.time() - next(made, time.time())
        self._metrics.backup_age_seconds.set(max(age, 0.0))

    def certificates(self, used: Certificates) -> None:
        """Note when the certificates in use expire."""
        for name, pem in (("server", used.chain), ("client_ca", used.client_ca)):
            left = pki.expires_at(pem) - time.time()
            self._metrics.cert_expiry_seconds.labels(name).set(left)


def _backup_marks(settings: Settings) -> tuple[Path, ...]:
    """Name the files whose age tells how long ago there was a backup, the best first."""
    if settings.backup.directory is None:
        return ()
    return settings.last_backup, settings.checkpoint_public_key
